use crate::model::{AllocError, ArrayError, ColumnTypeError, DtypeError, FrameError, NameError};

/// Why bytes are not a message. The blame lies with whoever wrote the bytes.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The first bytes are not a numpush record.
    #[error("not a numpush record: it begins with {}", foreign(.first))]
    ForeignProtocol {
        /// The first bytes.
        first: [u8; 8],
    },
    /// Another version of the wire format.
    #[error("the record has wire version {theirs}, and this side reads version {ours} only")]
    Version {
        /// Version of the record.
        theirs: u8,
        /// Version of this crate.
        ours: u8,
    },
    /// A record kind this version does not have.
    #[error("unknown record kind {kind:#04x}")]
    UnknownKind {
        /// The kind's byte.
        kind: u8,
    },
    /// Flag bits this version does not have, or that exclude one another.
    #[error("unknown or contradicting flags {flags:#06x}")]
    UnknownFlags {
        /// All flag bits.
        flags: u16,
    },
    /// A control record that claims buffers or flags.
    #[error("control record {kind:#04x} with buffers or flags")]
    ControlWithBuffers {
        /// The kind's byte.
        kind: u8,
    },
    /// Something that is sent only to those who have offered to take it.
    #[error("{what}, which was not offered")]
    NotOffered {
        /// What it is.
        what: &'static str,
    },
    /// The header claims more than it may.
    #[error("header of {len} bytes is longer than the limit of {max}")]
    HeaderTooLong {
        /// Bytes claimed.
        len: u64,
        /// The limit in bytes.
        max: u64,
    },
    /// The payload claims more than the reader accepts.
    #[error("payload of {len} bytes is longer than the limit of {max}")]
    PayloadTooLong {
        /// Bytes claimed.
        len: u64,
        /// The limit in bytes.
        max: u64,
    },
    /// More buffers than any message has.
    #[error("{count} buffers are more than the limit of {max}")]
    TooManyBuffers {
        /// Buffers claimed.
        count: u32,
        /// The limit.
        max: u32,
    },
    /// Preamble or header were changed on the way.
    #[error("header checksum is {computed:#010x}, the preamble has {claimed:#010x}")]
    HeaderChecksum {
        /// The sender's sum.
        claimed: u32,
        /// The sum of what came.
        computed: u32,
    },
    /// Payload bytes were changed on the way.
    #[error(
        "checksum of payload MiB {chunk} is {computed:#010x}, the sender computed {claimed:#010x}"
    )]
    PayloadChecksum {
        /// Number of the chunk, from zero.
        chunk: usize,
        /// The sender's sum.
        claimed: u32,
        /// The sum of what came.
        computed: u32,
    },
    /// The checksums or the references after a header were changed on the way.
    #[error("checksum of the table is {computed:#010x}, the sender computed {claimed:#010x}")]
    TableChecksum {
        /// The sender's sum.
        claimed: u32,
        /// The sum of what came.
        computed: u32,
    },
    /// A payload that is compressed, and whose codec was not offered.
    #[error("the payload is compressed with {codec:?}, which was not offered")]
    Codec {
        /// The codec.
        codec: String,
    },
    /// A part is no whole message.
    #[error(
        "bytes from {offset} on of message {transfer}: a part, and none was offered to be taken"
    )]
    Part {
        /// Where in its record the part begins.
        offset: u64,
        /// Number of the message.
        transfer: u64,
    },
    /// The header is not msgpack of the shape its kind wants.
    #[error("header field {field}: expected {expected}")]
    Header {
        /// The field.
        field: &'static str,
        /// What belongs there.
        expected: &'static str,
    },
    /// The header is valid, but not in the one form the format allows (sorted keys, shortest integers, no tail).
    #[error("header is not in canonical form")]
    NotCanonical,
    /// A number of the header is over its limit.
    #[error("{what} of {value} is over the limit of {max}")]
    OverLimit {
        /// What the number counts.
        what: &'static str,
        /// The number.
        value: u64,
        /// The limit.
        max: u64,
    },
    /// The buffer lengths of the header do not fill the payload.
    #[error("buffers and padding have {sum} bytes, the preamble claims {claimed}")]
    PayloadLength {
        /// Bytes of the buffers and their padding.
        sum: u64,
        /// Bytes of the payload.
        claimed: u64,
    },
    /// Another number of buffers than the message has.
    #[error("the message has {expected} buffers, and {found} came")]
    BufferCount {
        /// Buffers that are there.
        found: usize,
        /// Buffers of the message.
        expected: usize,
    },
    /// A buffer that is not as long as the header says.
    #[error("buffer {index} has {found} bytes, the header claims {expected}")]
    BufferLength {
        /// Number of the buffer.
        index: usize,
        /// Bytes of the buffer.
        found: u64,
        /// Bytes in the header.
        expected: u64,
    },
    /// The element type is not one of ours.
    #[error(transparent)]
    Dtype(#[from] DtypeError),
    /// Shape, strides and data do not make an array.
    #[error(transparent)]
    Array(#[from] ArrayError),
    /// The column type is not one of ours.
    #[error(transparent)]
    ColumnType(#[from] ColumnTypeError),
    /// The columns do not make a frame, or contradict their types.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A name of a column, field or attribute that cannot be one.
    #[error(transparent)]
    Name(#[from] NameError),
    /// Padding bytes between buffers are not zero.
    #[error("padding after buffer {index} is not zero")]
    Padding {
        /// Number of the buffer.
        index: usize,
    },
    /// A reference that names bytes outside its segment, or an unknown segment.
    #[error("reference to {len} bytes at {offset} of segment {segment}, which has {size} bytes")]
    Reference {
        /// Number of the segment.
        segment: u32,
        /// Byte offset in the segment.
        offset: u64,
        /// Bytes of the buffer.
        len: u64,
        /// Bytes of the segment; zero if it is unknown.
        size: u64,
    },
    /// The record ended before its bytes did.
    #[error("{missing} bytes are missing at the end")]
    Truncated {
        /// Bytes that are missing.
        missing: u64,
    },
    /// There is more than the record.
    #[error("{count} bytes follow the record")]
    TrailingBytes {
        /// Bytes after the record.
        count: u64,
    },
    /// The caller's allocator refused the bytes.
    #[error(transparent)]
    Alloc(#[from] AllocError),
}

impl DecodeError {
    /// Fails if `value`, the number of `what`, is over `max`.
    pub(crate) fn within(what: &'static str, value: usize, max: usize) -> Result<(), Self> {
        if value <= max {
            return Ok(());
        }
        let (value, max) = (value as u64, max as u64);
        Err(Self::OverLimit { what, value, max })
    }
}

/// Why a message cannot be encoded. The blame lies with whoever built the message.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// An attribute's name is not one that every reader takes.
    #[error("attribute: {0}")]
    Attribute(NameError),
    /// The header would be longer than any reader takes.
    #[error("header of {len} bytes is longer than the limit of {max}")]
    HeaderTooLong {
        /// Bytes of the header.
        len: u64,
        /// The limit in bytes.
        max: u64,
    },
    /// More buffers than any reader takes.
    #[error("{count} buffers are more than the limit of {max}")]
    TooManyBuffers {
        /// Buffers of the message.
        count: usize,
        /// The limit.
        max: usize,
    },
    /// More attributes, or more metadata in one place, than any reader takes.
    #[error("{count} {what} are more than the limit of {max}")]
    TooManyEntries {
        /// What they are.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// The limit.
        max: usize,
    },
    /// No power of two from 64 to 2 MiB.
    #[error(
        "buffers cannot begin at multiples of {align}: only at those of a power of two from 64 to 2 MiB"
    )]
    Align {
        /// What was asked for.
        align: usize,
    },
    /// The payload has more bytes than can be counted.
    #[error("the buffers have more bytes than can be counted")]
    PayloadOverflow,
}

/// The bytes as text, and whose they may be.
fn foreign(first: &[u8; 8]) -> String {
    let guess = match first {
        [b'G', b'E', b'T', b' ', ..]
        | [b'P', b'O', b'S', b'T', ..]
        | [b'H', b'T', b'T', b'P', ..] => " (HTTP)",
        [b'S', b'S', b'H', b'-', ..] => " (SSH)",
        [0x16, 0x03, ..] => " (TLS)",
        [0xff, _, _, _, _, _, _, _] => " (ZeroMQ)",
        [0x93, b'N', b'U', b'M', ..] => " (a .npy file)",
        [b'P', b'A', b'R', b'1', ..] => " (a Parquet file)",
        [b'A', b'R', b'R', b'O', ..] => " (an Arrow file)",
        _ => "",
    };
    format!("\"{}\"{guess}", first.escape_ascii())
}
