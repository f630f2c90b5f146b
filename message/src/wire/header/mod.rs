//! The msgpack header: what a message is, apart from the bytes of its buffers.

mod check;
mod keys;
mod parts;
mod read;
mod write;

pub(crate) use check::payload_len;
pub use parts::{ColumnHeader, DictionaryHeader, Header, HeaderBody, ValuesHeader};
pub(crate) use write::write_message;
