use std::borrow::Cow;
use std::fmt;
use std::io;
use std::ops::Range;

use numpush_message::{AllocError, ArrayError, Dtype, FrameError};
use numpush_shm_core::{LockError, NamedError};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::sync::BarrierError;

/// Why something shared could not be made, opened or used.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each field is named in the variant's message")]
pub enum Error {
    /// A lock was not taken.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A thread did not join a barrier, or did not meet the others there.
    #[error(transparent)]
    Barrier(#[from] BarrierError),
    /// The arena's budget or the machine's memory does not have the bytes.
    #[error(transparent)]
    NoRoom(#[from] AllocError),
    /// The kernel refused.
    #[error("{operation}")]
    Io {
        operation: &'static str,
        source: io::Error,
    },
    /// The value of a handle is gone: its owner dropped it, or has ended.
    #[error("stale handle {handle}: {why}")]
    Stale { handle: String, why: &'static str },
    /// Text that is not a handle.
    #[error("{text:?} is not a handle: expected shm:OWNER/NUMBER")]
    Handle { text: String },
    /// The owner of a handle runs as another user.
    #[error("handle {handle} is served by user {found}, not by {wanted}")]
    ForeignUser {
        handle: String,
        found: u32,
        wanted: u32,
    },
    /// The owner of a handle cannot answer now: it is stopped, or has too much to do. The value may be there.
    #[error("the owner of {handle} is busy: {why}")]
    Busy { handle: String, why: &'static str },
    /// The other process does not follow the protocol of this library.
    #[error("{peer} does not follow the protocol: {what}")]
    Protocol { peer: String, what: &'static str },
    /// The other process is of a version of this library with another protocol.
    #[error("{peer} speaks version {found} of the protocol, and this program version {wanted}")]
    ProtocolVersion {
        peer: String,
        found: u32,
        wanted: u32,
    },
    /// The array has elements of another type.
    #[error("a shared array of {found} cannot be used as {wanted}")]
    Dtype { found: Dtype, wanted: Dtype },
    /// The array has another number of axes.
    #[error("a shared array of shape {shape:?} cannot be used with {wanted} axes")]
    Axes { shape: Vec<usize>, wanted: usize },
    /// The shape is too large, or does not fit the data.
    #[error(transparent)]
    Shape(#[from] ArrayError),
    /// The elements begin where no element can. An owner of this library lays none out so; a buffer that was sliced may.
    #[error(
        "elements begin at byte {offset} of their memory, which is no multiple of their alignment, {alignment}"
    )]
    Misaligned { offset: usize, alignment: usize },
    /// The columns do not make a frame, or contradict their types.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The value is of another kind.
    #[error("the handle is of {found}, not of {wanted}")]
    Kind {
        found: Cow<'static, str>,
        wanted: Cow<'static, str>,
    },
    /// The bytes were not received into an arena.
    #[error(
        "the message's buffers lie outside every arena: receive them with `options.allocator(arena)`"
    )]
    NotShared,
    /// Something else still reads the bytes without a lock, or has the value open.
    #[error("the memory is still in use elsewhere: {what}")]
    InUse { what: &'static str },
    /// The message holds another kind of value.
    #[error("the message holds no {wanted}")]
    Body { wanted: &'static str },
    /// Rows or bytes that do not exist.
    #[error("{what} {} to {} are not within {len}", .range.start, .range.end)]
    Range {
        what: &'static str,
        range: Range<usize>,
        len: usize,
    },
    /// More rows than a growable array was made for.
    #[error("no room for {rows} rows in an array that was made for {capacity}")]
    Capacity { rows: usize, capacity: usize },
    /// Rows of another shape than those of the array.
    #[error("rows of shape {found:?} cannot be added to rows of shape {wanted:?}")]
    Rows {
        found: Vec<usize>,
        wanted: Vec<usize>,
    },
    /// The elements lie in memory in an order that does not allow it.
    #[error("an axis of the array runs backwards in memory")]
    Order,
    /// A value that cannot be divided as was asked.
    #[error("cannot divide axis {axis} of an array of shape {shape:?} into {parts} parts: {why}")]
    Division {
        axis: usize,
        parts: usize,
        shape: Vec<usize>,
        why: &'static str,
    },
    /// An array that cannot be divided into these blocks.
    #[error("cannot divide an array of shape {shape:?} into {blocks:?} blocks: {why}")]
    Blocks {
        blocks: Vec<usize>,
        shape: Vec<usize>,
        why: &'static str,
    },
    /// Only the process that made the value can do this.
    #[error("only the process that made the value can {what}")]
    NotOwner { what: &'static str },
    /// A column that does not exist, exists already, or is not of the type.
    #[error("column {name:?} {fault}")]
    Column { name: String, fault: String },
    /// The arrays do not make a graph.
    #[error("not a graph in CSR form: {fault}")]
    Graph { fault: String },
    /// Memory with a name could not be made, opened or used.
    #[error(transparent)]
    Named(#[from] NamedError),
    /// Arrow refuses the columns.
    #[cfg(feature = "arrow")]
    #[error(transparent)]
    Arrow(#[from] numpush_message::ArrowError),
    /// An error that another process returned, in its words: an error is sent as text, except those of locks and barriers.
    #[error("{text}")]
    Remote { text: String },
}

impl Error {
    pub(crate) fn io(operation: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { operation, source }
    }
}

/// An error as processes send it to each other: whole where callers match on it, as text otherwise.
#[derive(Serialize, Deserialize)]
enum SentError {
    Lock(LockError),
    Barrier(BarrierError),
    Text(String),
}

impl Serialize for Error {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let sent = match self {
            Self::Lock(error) => SentError::Lock(error.clone()),
            Self::Barrier(error) => SentError::Barrier(error.clone()),
            error => SentError::Text(with_causes(error)),
        };
        sent.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Error {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match SentError::deserialize(deserializer)? {
            SentError::Lock(error) => Self::Lock(error),
            SentError::Barrier(error) => Self::Barrier(error),
            SentError::Text(text) => Self::Remote { text },
        })
    }
}

/// The error and its causes in one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// A conversion that failed, and the value it was given. `?` turns it into its [`Error`] and drops the value.
///
/// ```
/// use ndarray::Ix1;
/// use numpush_shm::{Arena, SharedArray};
///
/// let array = SharedArray::<f64, Ix1>::zeros(&Arena::shared(), 3)?;
/// let clone = array.clone();
/// let refused = array.into_message().unwrap_err();
/// assert_eq!(
///     refused.to_string(),
///     "the memory is still in use elsewhere: another handle or process has it open"
/// );
/// drop(clone);
/// let message = refused.into_value().into_message()?;
/// # assert!(message.as_array().is_some());
/// # Ok::<(), numpush_shm::Error>(())
/// ```
pub struct ConvertError<V>(Box<(V, Error)>);

impl<V> ConvertError<V> {
    pub(crate) fn new(value: V, error: Error) -> Self {
        Self(Box::new((value, error)))
    }

    /// Why the conversion failed.
    pub fn error(&self) -> &Error {
        &self.0.1
    }

    /// The value, as it was before the conversion.
    pub fn into_value(self) -> V {
        self.0.0
    }

    /// The error, without the value.
    pub fn into_error(self) -> Error {
        self.0.1
    }
}

impl<V> fmt::Debug for ConvertError<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ConvertError").field(self.error()).finish()
    }
}

impl<V> fmt::Display for ConvertError<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error().fmt(f)
    }
}

impl<V> std::error::Error for ConvertError<V> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error().source()
    }
}

impl<V> From<ConvertError<V>> for Error {
    fn from(error: ConvertError<V>) -> Self {
        error.into_error()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(error: Error) -> Error {
        rmp_serde::from_slice(&rmp_serde::to_vec(&error).unwrap()).unwrap()
    }

    #[test]
    fn an_error_of_another_process_says_what_it_said_there() {
        let failed = Error::io("map memory")(io::ErrorKind::OutOfMemory.into());
        assert_eq!(sent(failed).to_string(), "map memory: out of memory");
        let poison = numpush_shm_core::Poison {
            cause: numpush_shm_core::PoisonCause::Died,
            pid: 7,
            dirty: 0..8,
        };
        let poisoned = Error::Lock(LockError::Poisoned(poison.clone()));
        assert!(matches!(sent(poisoned), Error::Lock(LockError::Poisoned(same)) if same == poison));
    }
}
