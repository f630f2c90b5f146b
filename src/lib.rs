#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod connection;
mod endpoint;
mod error;
mod open;

pub use connection::{Connection, Listener};
pub use endpoint::{Endpoint, EndpointError, Scheme};
pub use error::Error;
#[cfg(feature = "arrow")]
pub use numpush_message::ArrowError;
#[cfg(feature = "ndarray")]
pub use numpush_message::ViewError;
pub use numpush_message::{
    ALIGNMENT, AllocError, Array, ArrayError, ArrowTimeUnit, Attributes, Backing, Body, Buffer,
    BufferAllocator, BufferMut, ByteOrder, Column, ColumnData, ColumnError, ColumnHeader,
    ColumnType, ColumnTypeError, DecodeError, Decoder, Dictionary, Dtype, DtypeError, Element,
    EncodeError, Encoder, Field, Flags, Frame, FrameError, Header, HeaderBody, HeapAllocator,
    Limits, Message, NameError, NotDense, Payload, Preamble, Record, RecordKind, RecordType,
    Reference, Scalar, ScalarKind, Stability, TimeUnit,
};
pub use numpush_message::{model, wire};
pub use numpush_transports::{
    Capabilities, Checksums, Options, PathReason, Received, Refusal, Sendfile, Transfer,
    TransferPath,
};
pub use open::{connect, connect_with, listen, listen_with};

/// One message, one file: what the `file:` transport does, without a link.
#[cfg(feature = "file")]
pub mod file {
    pub use numpush_transports::file::{OutputFile, read, write};
}

/// Shared memory: arrays and dataframes that worker processes read and write in place.
#[cfg(feature = "shm")]
pub mod shm {
    #[doc(inline)]
    pub use numpush_shm::*;
}

/// Memory that is passed to other processes without a copy.
#[cfg(feature = "unix")]
pub use numpush_transports::unix::{SealedBufferError, SealedBufferMut};

/// Errors of the transports, as they are inside [`enum@Error`].
pub use numpush_transports::Error as TransportError;
