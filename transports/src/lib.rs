//! The ways a numpush message moves: one mechanism, one module.
//!
//! [`connect`] and [`listen`] look up an endpoint's transport in the table of `registry`. A transport is a factory, and what
//! it returns: one side of a connection, or an acceptor (`transport`). [`Connection`] and [`Listener`] do what every
//! transport does alike. What the two socket transports share is in `socket`.
//!
//! Each call reports in a [`Transfer`] what it cost. What a medium cannot do is in its [`Capabilities`], and the call that
//! needs it returns [`Error::Unsupported`].
#![forbid(unsafe_code)]

mod batch;
mod budget;
mod connecting;
mod connection;
mod deadline;
mod endpoint;
mod error;
mod group;
mod halves;
#[cfg(feature = "zmq")]
mod keeper;
mod listener;
#[cfg(any(feature = "tcp", feature = "zmq"))]
mod lookup;
mod options;
mod origin;
mod poller;
mod registry;
mod status;
mod transfer;
mod transport;
#[cfg(feature = "tokio")]
mod watch;

#[cfg(feature = "tokio")]
pub mod aio;
#[cfg(feature = "file")]
pub mod file;
mod inproc;
#[cfg(feature = "zmq")]
pub mod keys;
#[cfg(feature = "zmq")]
mod security;
#[cfg(any(feature = "tcp", feature = "unix"))]
mod socket;
#[cfg(any(feature = "unix", feature = "zmq"))]
mod socket_file;
#[cfg(feature = "tcp")]
mod tcp;
#[cfg(feature = "unix")]
pub mod unix;
#[cfg(feature = "zmq")]
pub mod zmq;

pub use batch::{Batch, BatchError};
pub use budget::{Budget, BudgetStatus, Usage};
pub use connecting::Connecting;
pub use connection::{Connection, Messages};
pub use endpoint::{Endpoint, EndpointError, Scheme};
pub use error::{Error, Operation};
pub use group::{Group, Outcome};
pub use halves::{Canceller, RecvHalf, SendHalf};
pub use listener::{Incoming, Listener};
pub use numpush_os::Ready;
pub use numpush_session::{Acknowledge, Refusal, Tag};
pub use options::{Options, Parameter, Switch};
pub use poller::{Event, Key, Poller, Removed, Request, Sent, Waker};
pub use registry::{connect, listen};
pub use status::{ListenerStatus, Meter, Status};
pub use transfer::{Capabilities, PathReason, Received, Transfer, TransferPath};
