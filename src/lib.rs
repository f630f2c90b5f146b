#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub use numpush_message::{Array, Buffer, Frame, Message, convert, model, wire};
pub use numpush_transports::{
    Connection, Endpoint, Error, Group, Listener, Options, Poller, Transfer, connect, listen,
};

/// What connections report, what their options and endpoints can be, and what their errors name.
pub mod transfer {
    pub use numpush_transports::{
        Acknowledge, Batch, BatchError, Budget, BudgetStatus, Canceller, Capabilities, Connecting,
        EndpointError, Incoming, ListenerStatus, Messages, Meter, Operation, Parameter, PathReason,
        Ready, Received, RecvHalf, Refusal, Scheme, SendHalf, Status, Switch, Tag, TransferPath,
        Usage,
    };
}

/// What a [`Poller`] over many connections and a [`Group`] report and return.
pub mod poller {
    pub use numpush_transports::{Event, Key, Outcome, Removed, Request, Sent, Waker};
}

/// The calls as futures, on tokio.
#[cfg(feature = "tokio")]
pub mod aio {
    #[doc(inline)]
    pub use numpush_transports::aio::*;
}

/// One message, one file: what the `file:` transport does, without a connection.
#[cfg(feature = "file")]
pub mod file {
    pub use numpush_transports::file::{OutputFile, map, read, snapshot, write};
}

#[cfg(feature = "zmq")]
pub use numpush_transports::keys;

/// Memory that is passed to other processes without a copy.
#[cfg(feature = "unix")]
pub mod unix {
    pub use numpush_transports::unix::{SealedBufferError, SealedBufferMut};
}

/// ZeroMQ sockets of any kind, with topics, names and messages of other programs.
#[cfg(feature = "zmq")]
pub mod zmq {
    pub use numpush_transports::zmq::{Content, Kind, Multipart, PeerStatus, Socket, SocketStatus};
}

/// Shared memory: arrays and dataframes that worker processes read and write in place.
#[cfg(feature = "shm")]
pub mod shm {
    #[doc(inline)]
    pub use numpush_shm::*;
}

/// Runs the programs of docs/getting-started.md as tests.
#[cfg(all(
    doctest,
    feature = "tcp",
    feature = "zmq",
    feature = "arrow",
    feature = "ndarray"
))]
#[doc = include_str!("../docs/getting-started.md")]
mod getting_started {}
