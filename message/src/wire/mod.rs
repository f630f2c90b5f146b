//! The bytes of a message: encoding and decoding without I/O, as `docs/wire.md` describes them.

mod checksum;
mod decode;
mod encode;
mod error;
mod header;
mod held;
mod hello;
mod kind;
mod landing;
mod last_head;
mod layout;
mod limits;
mod msgpack;
mod open;
mod preamble;
mod prepared;
mod record;
mod stamp;

pub use decode::Decoder;
pub use encode::{Encoder, Payload};
pub use error::{DecodeError, EncodeError};
pub use header::{
    ArrayHeader, ColumnHeader, DictionaryHeader, FrameHeader, Header, HeaderBody, Part,
    ValuesHeader,
};
pub use hello::Hello;
pub use kind::{Flags, RecordKind};
pub use landing::Landing;
pub use last_head::LastHead;
pub use layout::CHECKSUM_CHUNK;
pub use limits::Limits;
pub use preamble::{MAGIC, PREAMBLE_LEN, Preamble, VERSION};
pub use prepared::Prepared;
pub use record::{Record, Reference};
pub use stamp::Stamp;
