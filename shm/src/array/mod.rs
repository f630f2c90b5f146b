//! Arrays that several processes read and write in place.

mod description;
mod double_buffered;
mod dyn_array;
mod layout;
mod locks;
mod make;
mod message;
mod parts;
mod shared_array;

pub use double_buffered::DoubleBufferedArray;
pub use dyn_array::SharedDynArray;
pub use shared_array::SharedArray;

#[cfg(test)]
mod tests;
