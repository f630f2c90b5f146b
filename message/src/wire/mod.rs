//! The bytes of a message: encoding and decoding without I/O, as `docs/wire.md` describes them.

mod checksum;
mod decode;
mod encode;
mod error;
mod header;
mod layout;
mod limits;
mod msgpack;
mod open;
mod preamble;
mod record;

pub use decode::Decoder;
pub use encode::{Encoder, Payload};
pub use error::{DecodeError, EncodeError};
pub use header::{ColumnHeader, DictionaryHeader, Header, HeaderBody, ValuesHeader};
pub use layout::CHECKSUM_CHUNK;
pub use limits::Limits;
pub use preamble::{Flags, MAGIC, PREAMBLE_LEN, Preamble, RecordKind, VERSION};
pub use record::{Record, Reference};
