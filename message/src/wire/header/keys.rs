//! Keys of the header's map, in the order of the wire.

pub(super) const ALIGN: &str = "align";
pub(super) const ATTRIBUTES: &str = "attrs";
pub(super) const BUFFERS: &str = "bufs";
pub(super) const CODEC: &str = "codec";
pub(super) const COLUMNS: &str = "cols";
pub(super) const COUNTS: &str = "counts";
pub(super) const DTYPE: &str = "dtype";
pub(super) const METADATA: &str = "meta";
pub(super) const OFFSET: &str = "offset";
pub(super) const RAW: &str = "raw";
pub(super) const ROWS: &str = "rows";
pub(super) const SCHEMA: &str = "schema";
pub(super) const SHAPE: &str = "shape";
pub(super) const STRIDES: &str = "strides";
pub(super) const TOTAL: &str = "total";
pub(super) const TRANSFER: &str = "transfer";

/// Every key of this version.
pub(super) const ALL: [&str; 16] = [
    ALIGN, ATTRIBUTES, BUFFERS, CODEC, COLUMNS, COUNTS, DTYPE, METADATA, OFFSET, RAW, ROWS, SCHEMA,
    SHAPE, STRIDES, TOTAL, TRANSFER,
];
