//! Messages over a byte stream: what tcp and unix share.
//!
//! The thread that calls drives the connection; there is no other. While it waits to write it reads, so that two peers
//! that send to each other at once both go on; messages that arrive meanwhile wait in the inbox.
//!
//! [`stream`] holds the connection's state and moves records; [`send`] and [`receive`] are its two directions; `calls`
//! is the [`Transport`](crate::transport::Transport) over them. The rules of acknowledgement are in [`outgoing`] and
//! [`incoming`], without a socket.

mod allowance;
mod calls;
mod handshake;
mod incoming;
mod listener;
mod medium;
mod outgoing;
mod receive;
mod send;
mod session;
mod stream;

pub(crate) use listener::{ListeningSocket, SocketAcceptor};
#[cfg(feature = "tcp")]
pub(crate) use medium::SMALL;
#[cfg(feature = "unix")]
pub(crate) use medium::{Announcement, goes_by_file};
pub(crate) use medium::{Medium, Plan, Terms, Ticket, Way};
pub(crate) use stream::Stream;
