//! The ways a numpush message moves. One mechanism, one module; what the two socket transports share is in `socket`.
//!
//! Every transport hands out a [`Transport`], a two-way connection, from its `connect` function or from its [`Acceptor`].
//! Each call says in a [`Transfer`] what it cost. What a medium cannot do is in its [`Capabilities`], and the call that needs it
//! returns [`Error::Unsupported`].
#![forbid(unsafe_code)]
#![cfg_attr(
    not(all(feature = "tcp", feature = "unix", feature = "file", feature = "zmq")),
    allow(
        dead_code,
        unused_imports,
        clippy::allow_attributes,
        reason = "what transports share, in a build without some"
    )
)]

mod deadline;
mod error;
mod options;
mod transfer;
mod transport;

#[cfg(feature = "file")]
pub mod file;
pub mod inproc;
#[cfg(any(feature = "tcp", feature = "unix"))]
mod socket;
#[cfg(feature = "tcp")]
pub mod tcp;
#[cfg(feature = "unix")]
pub mod unix;
#[cfg(feature = "zmq")]
pub mod zmq;

pub use error::{Error, Refusal};
pub use options::{Checksums, Options, Sendfile};
pub use transfer::{PathReason, Transfer, TransferPath};
pub use transport::{Acceptor, AllocatorFactory, Capabilities, Received, Transport};
