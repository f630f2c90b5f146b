//! Sessions over a stream socket: what tcp and unix share.
//!
//! The rules are in the crate `numpush-session`, without a socket. `link` has the two directions of a connection, each
//! behind a lock of its own; `read` and `write` move bytes, `send`, `recv` and `finish` are the calls, `deliver` sees a
//! message that was begun to its end, `batch` sends many in one call, `steps` sends for a task, and `wait` is where calls
//! wait. `listener` has the peers whose hello is awaited, and `handshake` what is done with one of them. The thread that
//! calls drives the connection. While it waits to write it reads, so that two peers that send to each other at once both go
//! on; messages that arrive meanwhile wait in the inbox, up to the credit that the peer has. Acknowledgements that no call
//! would write go by the `janitor`, one thread a process.

mod batch;
mod deliver;
mod ending;
mod finish;
mod handshake;
mod janitor;
mod link;
mod listener;
mod medium;
mod outgoing;
mod poll;
mod read;
mod recv;
mod room;
mod send;
mod spent;
mod spin;
#[cfg(feature = "tokio")]
mod steps;
mod transport;
mod wait;
mod write;

pub(crate) use link::Link;
pub(crate) use listener::{ListeningSocket, SocketAcceptor};
pub(crate) use medium::SMALL;
#[cfg(feature = "tcp")]
pub(crate) use medium::goes_by_file;
#[cfg(feature = "unix")]
pub(crate) use medium::{Announcement, Ticket, has_file};
pub(crate) use medium::{Borrow, Lend, Medium, Plan, Terms, Way};
pub(crate) use transport::SocketTransport;
#[cfg(feature = "tcp")]
pub(crate) use wait::look_every;
