//! Arrays that several processes read and write in place.

mod blocks;
mod description;
mod double_buffered;
mod dyn_array;
mod dyn_growable;
mod growable;
mod layout;
mod locks;
mod make;
mod message;
mod parts;
mod place;
mod shared_array;
mod slice;
mod steps;

pub use double_buffered::DoubleBufferedArray;
pub use dyn_array::SharedDynArray;
pub use dyn_growable::GrowableDynArray;
pub use growable::GrowableArray;
pub use place::SliceHandle;
pub use shared_array::SharedArray;
pub use slice::SharedSlice;
pub use steps::StepGuard;

#[cfg(test)]
mod tests;
