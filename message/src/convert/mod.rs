//! Views from and to the types of other libraries, each behind a feature of the same name.

#[cfg(feature = "arrow")]
pub(crate) mod arrow;
#[cfg(feature = "ndarray")]
pub(crate) mod ndarray;
