//! ZMTP 3.0 and 3.1, the protocol of ZeroMQ, without I/O.
//!
//! A connection has two directions. [`Inbound`] takes the bytes of the peer and returns what they mean: its greeting, its
//! commands, and the frames of its messages, whose bodies go straight to memory of the caller. [`Outbound`] has what
//! is to be written, heads of ours and bodies that lie where they are. Neither makes a system call, holds a lock or reads a
//! clock.
//!
//! The format is that of the ZeroMQ RFCs: [23/ZMTP] for version 3.0, [37/ZMTP] for 3.1, [28/REQREP], [29/PUBSUB],
//! [30/PIPELINE] and [31/EXPAIR] for the kinds of sockets.
//!
//! Nothing that a peer sends is believed: [`Limits`] bound each length before memory is taken for it.
//!
//! [23/ZMTP]: https://rfc.zeromq.org/spec/23/
//! [37/ZMTP]: https://rfc.zeromq.org/spec/37/
//! [28/REQREP]: https://rfc.zeromq.org/spec/28/
//! [29/PUBSUB]: https://rfc.zeromq.org/spec/29/
//! [30/PIPELINE]: https://rfc.zeromq.org/spec/30/
//! [31/EXPAIR]: https://rfc.zeromq.org/spec/31/
#![forbid(unsafe_code)]

mod ahead;
mod batch;
mod command;
mod fault;
mod frame;
mod frames;
mod greeting;
mod handshake;
mod inbound;
mod kind;
mod limits;
mod mechanism;
mod outbound;
mod properties;

pub use command::Command;
pub use fault::Fault;
pub use frame::{FrameHead, LONGEST_HEAD};
pub use frames::Frames;
pub use greeting::{GREETING_LEN, Greeting, Mechanism};
pub use inbound::{Event, Inbound};
pub use kind::SocketKind;
pub use limits::Limits;
pub use mechanism::Security;
pub use outbound::Outbound;
pub use properties::{Properties, Property};
