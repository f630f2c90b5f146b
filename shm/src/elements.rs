//! Bytes of an arena as elements.

use bytemuck::Pod;

/// Bytes as elements. Those of an arena are aligned for all of them; no bytes may lie anywhere.
pub(crate) fn elements<T: Pod>(bytes: &[u8]) -> &[T] {
    if bytes.is_empty() {
        &[]
    } else {
        bytemuck::cast_slice(bytes)
    }
}

/// As [`elements`], to write.
pub(crate) fn elements_mut<T: Pod>(bytes: &mut [u8]) -> &mut [T] {
    if bytes.is_empty() {
        &mut []
    } else {
        bytemuck::cast_slice_mut(bytes)
    }
}
