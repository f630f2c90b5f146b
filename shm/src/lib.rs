//! Arrays and dataframes in shared memory, which worker processes read and write in place.
//!
//! An [`Arena`] holds the memory. A [`SharedArray`] is reached through guards that deref to ndarray views; its lock
//! survives the death of whoever holds it. Sent to another process, a value is a [`Handle`]: text of some fifty bytes
//! that is opened through its owner's socket, by descriptor, without a name that could be left behind.
//!
//! What it does not do: move bytes between machines, or order the work of processes.
#![forbid(unsafe_code)]

mod arena;
mod array;
mod channel;
mod client;
mod division;
mod dtype;
mod error;
mod frame;
mod graph;
mod handle;
mod host;
mod mutex;
mod named;
mod pool;
mod report;
mod shared;
mod value;

pub use arena::{Arena, ArenaOptions, ArenaUse};
pub use array::{AnyArray, CommitArray, Part, Partition, SharedArray};
pub use error::Error;
pub use frame::{
    Bits, BitsMut, ColumnMut, FlagsMut, FramePart, FramePartGuard, FrameReadGuard, FrameWriteGuard,
    SharedFrame, Texts,
};
pub use graph::{GraphReadGuard, GraphWriteGuard, SharedGraph};
pub use handle::Handle;
pub use mutex::{SharedMutex, SharedMutexGuard};
pub use named::{NamedSegment, reap};
pub use numpush_os::{
    Holder, HugePages, LockError, MAX_HELD, PageOptions, PartGuard, Poison, PoisonCause, ReadGuard,
    WriteGuard,
};
pub use pool::{HeldLock, Pool, PoolError, PoolOptions, Task, TaskError, Tasks, Unordered};
pub use report::{HostReport, LockReport, ValueReport, hosts};
pub use shared::Shared;

/// The graph as petgraph's algorithms see it.
#[cfg(feature = "petgraph")]
pub mod graph_view {
    pub use crate::graph::view::{AllEdges, Edge, Edges, GraphView, Neighbors};
}
