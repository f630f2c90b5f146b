//! ZMTP 3.0 and 3.1, the protocol of ZeroMQ, without I/O.
//!
//! A connection has two directions. [`Inbound`] takes the bytes of the peer and returns what they mean: its greeting, its
//! commands, and the frames of its messages, whose bodies go straight to memory of the caller. [`Outbound`] has what
//! is to be written, heads of ours and bodies that lie where they are. Neither makes a system call, holds a lock or reads a
//! clock.
//!
//! The format is that of the ZeroMQ RFCs: [23/ZMTP] for version 3.0, [37/ZMTP] for 3.1, [28/REQREP], [29/PUBSUB],
//! [30/PIPELINE] and [31/EXPAIR] for the kinds of sockets, [24/PLAIN] and [26/CURVEZMQ] for who may come in and who may listen.
//!
//! Nothing that a peer sends is believed: [`Limits`] bound each length before memory is taken for it.
//!
//! [23/ZMTP]: https://rfc.zeromq.org/spec/23/
//! [37/ZMTP]: https://rfc.zeromq.org/spec/37/
//! [24/PLAIN]: https://rfc.zeromq.org/spec/24/
//! [26/CURVEZMQ]: https://rfc.zeromq.org/spec/26/
//! [28/REQREP]: https://rfc.zeromq.org/spec/28/
//! [29/PUBSUB]: https://rfc.zeromq.org/spec/29/
//! [30/PIPELINE]: https://rfc.zeromq.org/spec/30/
//! [31/EXPAIR]: https://rfc.zeromq.org/spec/31/
#![forbid(unsafe_code)]

mod ahead;
mod batch;
#[cfg(feature = "curve")]
mod cipher;
mod command;
mod event;
mod fault;
mod frame;
mod frames;
mod greeting;
mod handshake;
mod inbound;
#[cfg(feature = "curve")]
mod keys;
mod kind;
mod limits;
mod mechanism;
mod outbound;
mod properties;
mod ready;
mod seal;
mod sealed;
mod z85;

pub use command::Command;
pub use event::Event;
pub use fault::Fault;
pub use frame::{FrameHead, LONGEST_HEAD};
pub use frames::Frames;
pub use greeting::{GREETING_LEN, Greeting, Mechanism};
pub use inbound::Inbound;
#[cfg(feature = "seed")]
pub use keys::Seed;
#[cfg(feature = "curve")]
pub use keys::{KeyError, NoRandom, PublicKey, SecretKey};
pub use kind::SocketKind;
pub use limits::Limits;
#[cfg(feature = "curve")]
pub use mechanism::{Allowed, CurveClient, CurveServer};
pub use mechanism::{Login, Security};
pub use outbound::Outbound;
pub use properties::{Properties, Property};
pub use seal::{SEALED_LEAD, SealError, Sealing, WayOut};
pub use z85::{Z85Error, z85_decode, z85_encode};
/// What wipes the text of a secret key.
pub use zeroize::Zeroizing;
