//! Arrays and dataframes in shared memory, which worker processes read and write in place.
//!
//! An [`Arena`] holds the memory. A [`SharedArray`] is reached through guards that deref to ndarray views; its lock
//! survives the death of whoever holds it. Sent to another process, a value is a [`Handle`]: text of some fifty bytes
//! that is opened through its owner's socket, by descriptor, without a name that could be left behind.
//!
//! A [`Pool`] runs functions of the program in worker processes, over values and [parts](Part) of them:
//!
//! ```no_run
//! use ndarray::{Axis, Ix1};
//! use numpush_shm::{Arena, Part, Pool, SharedArray, Tasks};
//!
//! fn double(mut part: Part<f64, Ix1>) {
//!     *part.write().unwrap() *= 2.0;
//! }
//!
//! // First in `main`: a worker is the same program, and works here until its pool ends.
//! Tasks::new().with(double).serve();
//! let shared = SharedArray::<f64, Ix1>::zeros(&Arena::shared(), 1 << 20)?;
//! let parts = shared.partition(Axis(0), 4)?;
//! Pool::new(4)?.starmap(double, parts.map(|part| (part,)))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What it does not do: move bytes between machines, order the work of processes, or defend against a process of this
//! user that writes to shared memory what it should not.
//!
//! Features: `arrow` (frames from and to record batches) and `petgraph` (its algorithms over shared graphs), both on by
//! default.
#![forbid(unsafe_code)]

mod arena;
mod array;
mod dtype;
mod elements;
mod error;
mod frame;
mod graph;
mod mutex;
mod named;
mod object;
mod pool;
mod value;

pub use arena::{Arena, ArenaOptions, ArenaUsage};
pub use array::{DoubleBufferedArray, SharedArray, SharedDynArray};
pub use error::{ConvertError, Error};
pub use frame::{
    Bitmap, BitmapMut, BoolColumnMut, ColumnMut, FramePartGuard, FrameReadGuard, FrameWriteGuard,
    SharedFrame, StringColumn,
};
pub use graph::{GraphReadGuard, GraphWriteGuard, SharedGraph};
pub use mutex::{SharedMutex, SharedMutexGuard};
pub use named::{NamedMemory, reap};
pub use numpush_shm_core::{
    Holder, HugePages, LockError, LockOptions, MAX_HELD, PageOptions, PartGuard, Poison,
    PoisonCause, ReadGuard, WriteGuard,
};
pub use object::{Handle, LockReport, ObjectReport, OwnerReport, Part, Partition, list_owners};
pub use pool::{
    HeldLock, LockPurpose, Pool, PoolError, PoolOptions, Task, TaskError, Tasks, Unordered,
};
pub use value::SharedValue;

/// The graph as petgraph's algorithms see it.
#[cfg(feature = "petgraph")]
pub mod graph_view {
    pub use crate::graph::view::{AllEdges, Edge, Edges, GraphView, Neighbors};
}
