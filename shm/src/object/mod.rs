//! What every shared value is made of, whatever its kind: bytes under locks, a description of the bytes, a handle by
//! which other processes open it, and the protocol by which they do.
//!
//! Nothing here knows an array, a frame or a graph. A kind implements [`Describe`] and holds an [`Object`].

mod client;
mod enclosed;
#[cfg(any(test, fuzzing))]
mod forged;
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
pub use client::{LeaseOptions, set_lease_options};
pub(crate) use enclosed::{EnclosedParts, values_written, with_values};
#[cfg(any(test, fuzzing))]
pub(crate) use forged::{conversation, hear, offer_of, open_offer};
pub use handle::Handle;
pub use owners::list_owners;
pub(crate) use part::{Divide, divide};
pub use part::{Part, Partition, Parts};
pub use protocol::{LockReport, ObjectReport, OwnerReport};
#[cfg(any(test, fuzzing))]
pub(crate) use raw::find_value;
pub(crate) use raw::{RawObject, Value, owned_values};
pub(crate) use server::{handle_of, handle_of_owned};
pub(crate) use spans::{Spans, check_alignment};
pub(crate) use typed::{Describe, LockSet, Object, Released, make_locks};
