//! Arrays and dataframes in shared memory, which worker processes read and write in place.
//!
//! An [`Arena`] holds the memory. A [`SharedArray`] is reached through guards that deref to ndarray views; its lock
//! survives the death of its holder. Sent to another process, a value is a [`Handle`]: text of some fifty bytes, which
//! the process opens through the socket of the value's owner. The memory has no name in a file system, so nothing is left
//! when its users are dead.
//!
//! A [`Pool`] runs functions of the program in worker processes, over values and [parts](Part) of them:
//!
//! ```
//! use ndarray::{Axis, Ix1};
//! use numpush_shm::{Arena, Part, Pool, SharedArray, Tasks};
//!
//! fn set(mut part: Part<SharedArray<f64, Ix1>>, value: f64) {
//!     part.write().unwrap().fill(value);
//! }
//!
//! // First in `main`: a worker is the same program, and works here until its pool ends.
//! Tasks::new().with(set).serve();
//! let shared = SharedArray::<f64, Ix1>::zeros(&Arena::shared(), 1 << 20)?;
//! Pool::new(2)?.map(set, &shared.partition(Axis(0), 4)?, &2.0)?;
//! assert!(shared.read()?.iter().all(|&value| value == 2.0));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Every lock is taken with [`LockOptions`] or without, and returns a [`LockError`]; everything else returns an [`Error`],
//! which a task can return too.
//!
//! What the crate does not do: move bytes between machines, schedule the work of processes, or defend against a process of
//! the same user that writes to shared memory what it should not.
//!
//! Features: `arrow` (frames from and to record batches) and `petgraph` (its algorithms over shared graphs), both on by
//! default.
#![forbid(unsafe_code)]

mod arena;
mod array;
mod bool8;
mod dtype;
mod elements;
mod error;
mod frame;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod graph;
mod machine;
mod mutex;
mod named;
mod object;
mod pool;
mod snapshot;
mod sync;
mod value;

pub use arena::{Arena, ArenaOptions, ArenaUsage};
pub use array::{
    DoubleBufferedArray, GrowableArray, GrowableDynArray, SharedArray, SharedDynArray, SharedSlice,
    SliceHandle, StepGuard,
};
pub use bool8::Bool8;
pub use error::{ConvertError, Error};
pub use frame::{
    Bitmap, BitmapMut, BoolColumnMut, ColumnMut, FramePartGuard, FrameReadGuard, FrameWriteGuard,
    SharedFrame, StringColumn,
};
pub use graph::{
    GraphIndex, GraphPartGuard, GraphPartView, GraphReadGuard, GraphWeight, GraphWriteGuard,
    SharedDynGraph, SharedGraph,
};
pub use machine::{MachineMemory, MachineVersions, MemoryGroup, machine_memory, machine_versions};
pub use mutex::{SharedMutex, SharedMutexGuard};
pub use named::reap;
pub use numpush_shm_core::{
    AtomicElement, Holder, HugePages, LockError, LockOptions, LockThreadsError, MAX_HELD,
    MAX_LOCK_THREADS, NamedError, NamedMemory, NodePolicy, PageOptions, PartGuard, Poison,
    PoisonCause, ReadGuard, SharedCell, WriteGuard, set_lock_threads,
};
pub use object::{
    Handle, LeaseOptions, LockReport, ObjectReport, OwnerReport, Part, Partition, Parts,
    list_owners, set_lease_options,
};
pub use pool::{
    HeldLock, LockPurpose, Pool, PoolError, PoolOptions, Task, TaskError, TaskFunction,
    TaskOptions, Tasks, Unordered,
};
pub use sync::{
    AtomicGuard, BarrierError, BarrierMember, CounterGuard, SharedAtomicArray, SharedBarrier,
    SharedCondition, SharedCounter, SharedDynAtomicArray,
};
pub use value::SharedValue;

/// The graph as petgraph's algorithms see it.
#[cfg(feature = "petgraph")]
pub mod graph_view {
    pub use crate::graph::view::{AllEdges, Edge, Edges, GraphView, Neighbors, VisitedNodes};
}
