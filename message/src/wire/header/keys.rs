//! Keys of the header's map, in the order of the wire.

pub(super) const ATTRIBUTES: &str = "attrs";
pub(super) const BUFFERS: &str = "bufs";
pub(super) const COLUMNS: &str = "cols";
pub(super) const DTYPE: &str = "dtype";
pub(super) const METADATA: &str = "meta";
pub(super) const ROWS: &str = "rows";
pub(super) const SHAPE: &str = "shape";
pub(super) const STRIDES: &str = "strides";

/// Every key of this version.
pub(super) const ALL: [&str; 8] = [
    ATTRIBUTES, BUFFERS, COLUMNS, DTYPE, METADATA, ROWS, SHAPE, STRIDES,
];
