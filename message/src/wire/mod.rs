//! The bytes of a message: encoding and decoding without I/O, as `docs/wire.md` describes them.

pub(crate) mod checksum;
pub(crate) mod decode;
pub(crate) mod encode;
pub(crate) mod error;
pub(crate) mod header;
pub(crate) mod layout;
pub(crate) mod limits;
pub(crate) mod msgpack;
pub(crate) mod preamble;

pub use decode::{Decoder, Record, Reference};
pub use encode::{Encoder, Payload};
pub use error::{ColumnFault, DecodeError, DtypeError};
pub use header::{Header, HeaderBody};
pub use layout::{ALIGNMENT, CHECKSUM_CHUNK};
pub use limits::Limits;
pub use preamble::{Flags, MAGIC, PREAMBLE_LEN, Preamble, RecordKind, VERSION};
