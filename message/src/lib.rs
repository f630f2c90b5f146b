//! The data model of numpush and its bytes.
//!
//! A [`Message`] is a small header (dtype, shape, schema, attributes) and a few large [`Buffer`]s. This crate turns
//! messages into bytes and back without a system call and without `unsafe`: [`Encoder`] lists the slices to write,
//! [`Decoder`] says where the next bytes belong, so whoever does the I/O moves each payload byte once.
//!
//! The bytes are described in `docs/wire.md`, which is normative: where it and this code differ, this code is wrong.
//!
//! What it does not do: open, connect, map or allocate shared memory. Where received bytes land is the caller's
//! choice, through [`BufferAllocator`].
// `forbid`, but for tests: the macro `s!` of ndarray allows unsafe code inside itself, which `forbid` refuses.
#![cfg_attr(not(test), forbid(unsafe_code))]

mod allocator;
mod array;
mod buffer;
mod checksum;
mod column;
mod convert;
mod decode;
mod dtype;
mod element;
mod encode;
mod error;
mod format;
mod frame;
mod header;
mod layout;
mod limits;
mod message;
mod msgpack;
mod preamble;
mod validate;

pub use allocator::{AllocError, BufferAllocator, BufferMut, HeapAllocator};
pub use array::{Array, NotDense};
pub use buffer::{Backing, Buffer, Stability};
pub use column::{Column, ColumnData, Dictionary};
#[cfg(feature = "arrow")]
pub use convert::arrow::ArrowError;
#[cfg(feature = "ndarray")]
pub use convert::ndarray::ViewError;
pub use decode::{Decoder, Record, Reference};
pub use dtype::{ByteOrder, Dtype, Field, RecordType, Scalar, ScalarKind, TimeUnit};
pub use element::Element;
pub use encode::{Encoder, Payload};
pub use error::{ColumnFault, DecodeError, DtypeError};
pub use format::{ArrowTimeUnit, ColumnType, ColumnTypeError};
pub use frame::Frame;
pub use header::{Header, HeaderBody};
pub use layout::{ALIGNMENT, CHECKSUM_CHUNK};
pub use limits::Limits;
pub use message::{Attributes, Body, Message};
pub use preamble::{Flags, MAGIC, PREAMBLE_LEN, Preamble, RecordKind, VERSION};
