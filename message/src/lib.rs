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

#[cfg(target_endian = "big")]
compile_error!("frames travel as they lie in memory, and docs/wire.md has them little-endian");

pub mod convert;
pub mod model;
pub mod wire;

#[cfg(feature = "arrow")]
pub use convert::ArrowError;
#[cfg(feature = "ndarray")]
pub use convert::ViewError;
pub use model::{
    ALIGNMENT, AllocError, Array, ArrayError, ArrowTimeUnit, Attributes, Backing, Body, Buffer,
    BufferAllocator, BufferMut, ByteOrder, Column, ColumnData, ColumnError, ColumnType,
    ColumnTypeError, Dictionary, Dtype, DtypeError, Element, Field, Frame, FrameError,
    HeapAllocator, MAX_NAME_LEN, Message, NameError, NotDense, RecordType, Scalar, ScalarKind,
    Stability, TimeUnit,
};
pub use wire::{
    ArrayHeader, CHECKSUM_CHUNK, ColumnHeader, DecodeError, Decoder, DictionaryHeader, EncodeError,
    Encoder, Flags, FrameHeader, Header, HeaderBody, Hello, Landing, LastHead, Limits, MAGIC,
    PREAMBLE_LEN, Part, Payload, Preamble, Prepared, Record, RecordKind, Reference, Stamp, VERSION,
    ValuesHeader,
};
