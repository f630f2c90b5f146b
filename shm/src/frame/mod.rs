//! Dataframes whose columns several processes read and write in place.

mod bitmap;
mod column;
mod description;
mod guard;
mod message;
mod part_guard;
mod parts;
mod shared_frame;
mod versions;

pub use bitmap::{Bitmap, BitmapMut};
pub use column::{BoolColumnMut, ColumnMut, StringColumn};
pub use guard::{FrameReadGuard, FrameWriteGuard};
pub use part_guard::FramePartGuard;
pub use shared_frame::SharedFrame;

#[cfg(test)]
mod tests;
