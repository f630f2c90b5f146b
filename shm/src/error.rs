use std::io;
use std::ops::Range;

use numpush_message::{AllocError, ArrayError, Dtype, FrameError};
use numpush_shm_core::LockError;

/// Why something shared could not be made, opened or used.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each field is named in the variant's message")]
pub enum Error {
    /// A lock was not taken.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// No room in the arena.
    #[error(transparent)]
    NoRoom(#[from] AllocError),
    /// The kernel refused.
    #[error("{operation}")]
    Io {
        operation: &'static str,
        source: io::Error,
    },
    /// A handle whose value is gone: its owner let it go, or has ended.
    #[error("stale handle {handle}: {why}")]
    Stale { handle: String, why: &'static str },
    /// Text that is no handle.
    #[error("{text:?} is no handle: expected shm:OWNER/NUMBER")]
    Handle { text: String },
    /// The owner of a handle runs as somebody else.
    #[error("handle {handle} is served by user {found}, not by {wanted}")]
    ForeignUser {
        handle: String,
        found: u32,
        wanted: u32,
    },
    /// The other side does not speak our protocol.
    #[error("{peer} sent something else than was agreed: {what}")]
    Protocol { peer: String, what: &'static str },
    /// Elements of another type.
    #[error("a shared array of {found} cannot be used as {wanted}")]
    Dtype { found: Dtype, wanted: Dtype },
    /// Another number of axes.
    #[error("a shared array of shape {shape:?} cannot be used with {wanted} axes")]
    Axes { shape: Vec<usize>, wanted: usize },
    /// A shape that is too large, or does not fit its data.
    #[error(transparent)]
    Shape(#[from] ArrayError),
    /// Columns that do not make a frame, or contradict their types.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// Another kind of value.
    #[error("the handle is of {found}, not of {wanted}")]
    Kind {
        found: &'static str,
        wanted: &'static str,
    },
    /// Bytes that did not land in an arena.
    #[error(
        "the message's buffers lie outside every arena: receive them with `options.allocator(arena)`"
    )]
    NotShared,
    /// Somebody else still reads the bytes without a lock, or has the value open.
    #[error("the memory is still in use elsewhere: {what}")]
    InUse { what: &'static str },
    /// A message without the value asked for.
    #[error("the message holds no {wanted}")]
    Body { wanted: &'static str },
    /// A row, column or part that is not there.
    #[error("{what} {} to {} are not within {len}", .range.start, .range.end)]
    Range {
        what: &'static str,
        range: Range<usize>,
        len: usize,
    },
    /// A division into no parts, or along an axis that is not there.
    #[error("cannot divide axis {axis} of an array of shape {shape:?} into {parts} parts")]
    Division {
        axis: usize,
        parts: usize,
        shape: Vec<usize>,
    },
    /// Only the process that made a value can do this.
    #[error("only the process that made the value can {what}")]
    NotOwner { what: &'static str },
    /// A column that is not there, or is there already.
    #[error("column {name:?} {fault}")]
    Column { name: String, fault: String },
    /// A graph whose arrays do not belong together.
    #[error("not a graph in CSR form: {fault}")]
    Graph { fault: String },
    /// A name that cannot be one.
    #[error("{name:?} cannot name shared memory: {why}")]
    Name { name: String, why: &'static str },
    /// Arrow refused what was built.
    #[cfg(feature = "arrow")]
    #[error(transparent)]
    Arrow(#[from] numpush_message::ArrowError),
}

impl Error {
    pub(crate) fn io(operation: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { operation, source }
    }
}
