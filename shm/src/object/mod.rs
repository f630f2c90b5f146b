//! What every shared value is made of, whatever its kind: bytes under locks, a description of the bytes, a handle by
//! which other processes open it, and the protocol by which they do.
//!
//! Nothing here knows an array, a frame or a graph. A kind implements [`Describe`] and holds an [`Object`].

mod client;
mod enclosed;
mod handle;
mod lessees;
mod offer;
mod owners;
mod part;
mod protocol;
mod quarantine;
mod raw;
mod report;
mod server;
mod share;
mod spans;
mod typed;
mod wire;

pub(crate) use client::open as open_any;
pub(crate) use enclosed::{values_written, with_values};
pub use handle::Handle;
pub use owners::list_owners;
pub(crate) use part::{Divide, divide};
pub use part::{Part, Partition};
pub use protocol::{LockReport, ObjectReport, OwnerReport};
pub(crate) use raw::{RawObject, Value, owned_values};
pub(crate) use server::{handle_of, handle_of_owned};
pub(crate) use spans::Spans;
pub(crate) use typed::{Describe, LockSet, Object, Released, make_locks};
