use crate::model::allocator::AllocError;
use crate::model::column_type::ColumnTypeError;

/// Why bytes are not a message. The blame lies with whoever wrote the bytes.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each field is named in the variant's message")]
pub enum DecodeError {
    /// The first bytes are not a numpush record.
    #[error("not a numpush record: it begins with {}", foreign(.first))]
    ForeignProtocol { first: [u8; 8] },
    /// Another version of the wire format.
    #[error("wire version {theirs}, and this side speaks version {ours} only")]
    Version { theirs: u8, ours: u8 },
    /// A record kind this version does not have.
    #[error("unknown record kind {kind:#04x}")]
    UnknownKind { kind: u8 },
    /// Flag bits this version does not have, or that exclude one another.
    #[error("unknown or contradicting flags {flags:#06x}")]
    UnknownFlags { flags: u16 },
    /// A control record that claims a header, buffers or flags.
    #[error("control record {kind:#04x} with a header, buffers or flags")]
    ControlWithBody { kind: u8 },
    /// The header claims more than it may.
    #[error("header of {len} bytes is longer than the limit of {max}")]
    HeaderTooLong { len: u64, max: u64 },
    /// The payload claims more than the reader accepts.
    #[error("payload of {len} bytes is longer than the limit of {max}")]
    PayloadTooLong { len: u64, max: u64 },
    /// More buffers than any message has.
    #[error("{count} buffers are more than the limit of {max}")]
    TooManyBuffers { count: u32, max: u32 },
    /// Preamble or header were changed on the way.
    #[error("header checksum is {computed:#010x}, the preamble says {claimed:#010x}")]
    HeaderChecksum { claimed: u32, computed: u32 },
    /// Payload bytes were changed on the way.
    #[error("checksum of payload MiB {chunk} is {computed:#010x}, its sender says {claimed:#010x}")]
    PayloadChecksum {
        chunk: usize,
        claimed: u32,
        computed: u32,
    },
    /// The header is not msgpack of the shape its kind wants.
    #[error("header field {field}: expected {expected}")]
    Header {
        field: &'static str,
        expected: &'static str,
    },
    /// The header is valid, but not in the one form the format allows (sorted keys, shortest integers, no tail).
    #[error("header is not in canonical form")]
    NotCanonical,
    /// A value of the header is over its limit.
    #[error("{what} of {value} is over the limit of {max}")]
    OverLimit {
        what: &'static str,
        value: u64,
        max: u64,
    },
    /// The buffer lengths of the header do not fill the payload.
    #[error("buffers and padding make {sum} bytes, the preamble says {claimed}")]
    PayloadLength { sum: u64, claimed: u64 },
    /// Header and preamble do not agree on the number of buffers.
    #[error("{found} buffers where {expected} belong")]
    BufferCount { found: usize, expected: usize },
    /// A buffer whose length does not follow from its type and shape.
    #[error("buffer {index} has {found} bytes where its type and shape want {expected}")]
    BufferLength {
        index: usize,
        found: u64,
        expected: u64,
    },
    /// Shape times item size does not fit an address space.
    #[error("shape {shape:?} of {item} byte elements overflows")]
    ShapeOverflow { shape: Vec<u64>, item: u64 },
    /// Strides that leave gaps, overlap or reach outside the buffer.
    #[error("strides {strides:?} are not a dense layout of shape {shape:?}")]
    Strides { shape: Vec<u64>, strides: Vec<i64> },
    /// The element type is not one of ours.
    #[error(transparent)]
    Dtype(#[from] DtypeError),
    /// The column type is not one of ours.
    #[error(transparent)]
    ColumnType(#[from] ColumnTypeError),
    /// A column's buffers contradict its type.
    #[error("column {column:?}: {fault}")]
    Column { column: String, fault: ColumnFault },
    /// A name that is empty where it must not be, has a NUL, or stands twice.
    #[error("name {name:?} stands twice or has a NUL byte")]
    Name { name: String },
    /// Padding bytes between buffers are not zero.
    #[error("padding behind buffer {index} is not zero")]
    Padding { index: usize },
    /// A reference that names bytes outside its segment, or an unknown segment.
    #[error("reference to {len} bytes at {offset} of segment {segment}, which has {size} bytes")]
    Reference {
        segment: u32,
        offset: u64,
        len: u64,
        size: u64,
    },
    /// The record ended before its bytes did.
    #[error("{missing} bytes are missing at the end")]
    Truncated { missing: u64 },
    /// There is more than the record.
    #[error("{count} bytes follow the record")]
    TrailingBytes { count: u64 },
    /// The caller's allocator refused the bytes.
    #[error(transparent)]
    Alloc(#[from] AllocError),
}

/// What is wrong with a column's buffers.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each field is named in the variant's message")]
pub enum ColumnFault {
    /// The validity bitmap and the null count disagree.
    #[error("bitmap marks {bitmap} nulls, the header says {header}")]
    NullCount { bitmap: u64, header: u64 },
    /// Bits behind the last row are set.
    #[error("bits behind the last row are not zero")]
    BitPadding,
    /// Offsets do not rise from zero to the data's length.
    #[error("offset {index} does not rise from 0 to the data length {data}")]
    Offsets { index: usize, data: u64 },
    /// Text that is not UTF-8, or that is cut inside a character.
    #[error("text is not valid UTF-8")]
    Utf8,
    /// A dictionary code without a dictionary value.
    #[error("code {code} of row {row} has no entry among {entries}")]
    Code {
        row: usize,
        code: i128,
        entries: u64,
    },
}

/// Why a type string is not an element type of ours.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each field is named in the variant's message")]
pub enum DtypeError {
    /// Object arrays hold pointers; their elements cannot be shipped.
    #[error(
        "element type {typestr:?} holds objects, which are never shipped: convert to a fixed-size type"
    )]
    Object { typestr: String },
    /// Not a NumPy type string of a supported type.
    #[error("element type {typestr:?} is not supported")]
    Unsupported { typestr: String },
    /// Record fields that overlap, reach outside the record or share a name.
    #[error("record field {field:?} overlaps, reaches outside {size} bytes or stands twice")]
    Field { field: String, size: usize },
    /// A record without fields or with too many.
    #[error("record of {count} fields, where 1 to {max} are allowed")]
    FieldCount { count: usize, max: usize },
}

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
