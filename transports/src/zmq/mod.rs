//! ZeroMQ, spoken by ourselves: PUSH to PULL, PUB to SUB, REQ to REP. The other side may be any program that speaks ZMTP 3.
//!
//! | | send | receive |
//! | --- | --- | --- |
//! | copies by us | none; one of borrowed memory that has to wait | none of payloads over 64 KiB, else one |
//! | copies by the kernel | one | one |
//!
//! A message is a multipart message: preamble and header in one frame, then a frame for each buffer. The header says which
//! frames follow, so each is read to where it stays. The messages of one peer keep their order. Nothing is acknowledged. No checksums
//! go with a message, whatever the options say, and the tag of a message (its channel, and which message it answers) is dropped.
//!
//! A socket has many peers, and one that is gone ends nothing: who connects does so again, and who listens goes on. A call does
//! what the socket owes; while there is none, the `keeper` does: it shakes hands, answers pings and writes what is queued. It
//! takes no message, so that what nobody receives stays with the sender, but for its beginning.
//!
//! # Whom to trust
//!
//! Without keys a peer is not asked who it is, and what is sent can be read on the way. So a listener takes only loopback addresses and
//! ipc paths, unless `?trusted=1` declares that every machine that can reach the port is trusted; or unless each peer proves a key
//! that is known here, by CURVE: `key=` and `allow=`, or `Options::curve`. PLAIN does not count: everybody on the way reads the password.
//!
//! A sealed message costs one copy more to send. It is sealed when it is written, so that another peer can have it if this one
//! dies; a buffer is opened where it lands.

mod arrival;
mod calls;
mod core;
mod dial;
mod endpoints;
mod factory;
mod feed;
mod heartbeat;
mod lost;
mod parcel;
mod pattern;
mod peer;
mod raw;
mod refusals;
mod sealed;
mod secure;
mod short;
mod socket;
mod state;
mod stream;
mod terms;
mod topics;

pub use numpush_zmtp::SocketKind as Kind;

pub use arrival::Content;
pub use socket::{Multipart, PeerStatus, Socket, SocketStatus};

pub(crate) use factory::Zmq;
