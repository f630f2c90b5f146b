use std::sync::Arc;

use crate::error::Error;
use crate::object::{Handle, RawObject};
use crate::sync::atomics::SharedAtomicArray;

/// A [`SharedAtomicArray`] whose element type is known at run time only.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub enum SharedDynAtomicArray {
    /// Of `u32`.
    U32(SharedAtomicArray<u32>),
    /// Of `i32`.
    I32(SharedAtomicArray<i32>),
    /// Of `u64`.
    U64(SharedAtomicArray<u64>),
    /// Of `i64`.
    I64(SharedAtomicArray<i64>),
}

impl SharedDynAtomicArray {
    pub(crate) const KIND: &str = SharedAtomicArray::<u32>::KIND;

    pub(crate) fn from_raw(raw: Arc<RawObject>) -> Result<Self, Error> {
        let is_other = |error: &Error| matches!(error, Error::Dtype { .. });
        macro_rules! first_of {
            ($($variant:ident)*) => {
                $(match SharedAtomicArray::from_raw(Arc::clone(&raw)) {
                    Err(error) if is_other(&error) => {}
                    array => return array.map(Self::$variant),
                })*
            };
        }
        first_of!(U32 I32 U64);
        SharedAtomicArray::from_raw(raw).map(Self::I64)
    }

    /// The handle by which another process opens the array.
    ///
    /// # Errors
    /// As [`SharedArray::handle`](crate::SharedArray::handle).
    pub fn handle(&self) -> Result<Handle, Error> {
        match self {
            Self::U32(array) => array.handle(),
            Self::I32(array) => array.handle(),
            Self::U64(array) => array.handle(),
            Self::I64(array) => array.handle(),
        }
    }
}
