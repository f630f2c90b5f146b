//! Views from and to the types of other libraries, each with a feature of the same name.

#[cfg(feature = "arrow")]
pub(crate) mod arrow;
#[cfg(feature = "ndarray")]
pub(crate) mod ndarray;

#[cfg(feature = "arrow")]
pub use arrow::ArrowError;
#[cfg(feature = "ndarray")]
pub use ndarray::ViewError;
