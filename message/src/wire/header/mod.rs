//! The msgpack header: everything about a message except the bytes of its buffers.

mod check;
mod frame;
mod keys;
mod parts;
mod read;
mod seen;
mod write;

pub(crate) use check::payload_len;
pub use parts::{
    ArrayHeader, ColumnHeader, DictionaryHeader, FrameHeader, Header, HeaderBody, Part,
    ValuesHeader,
};
pub(crate) use seen::Seen;
pub(crate) use write::{check_message, write_message, write_part};
