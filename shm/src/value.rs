use numpush_message::{Body, Message};

use crate::array::{GrowableDynArray, SharedDynArray};
use crate::error::{ConvertError, Error};
use crate::frame::SharedFrame;
use crate::graph::SharedDynGraph;
use crate::mutex::SharedMutex;
use crate::object::{Handle, open_any};
use crate::sync::{SharedBarrier, SharedCondition, SharedDynAtomicArray};

/// A shared value of any kind.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub enum SharedValue {
    /// An array, plain or double-buffered.
    Array(SharedDynArray),
    /// An array to which rows are added.
    Growable(GrowableDynArray),
    /// A dataframe.
    Frame(SharedFrame),
    /// A graph.
    Graph(SharedDynGraph),
    /// A mutex.
    Mutex(SharedMutex),
    /// An atomic array, or a counter.
    Atomics(SharedDynAtomicArray),
    /// A barrier.
    Barrier(SharedBarrier),
    /// A condition.
    Condition(SharedCondition),
}

impl SharedValue {
    /// Opens the value of a handle, whatever its kind.
    ///
    /// # Errors
    /// [`Error::Stale`] if the value is gone; [`Error::Busy`] if its owner does not answer within ten seconds.
    pub fn open(handle: &Handle) -> Result<Self, Error> {
        let raw = open_any(handle)?;
        match raw.kind() {
            SharedDynArray::KIND => SharedDynArray::from_raw(raw).map(Self::Array),
            GrowableDynArray::KIND => GrowableDynArray::from_raw(raw).map(Self::Growable),
            SharedFrame::KIND => SharedFrame::from_raw(raw).map(Self::Frame),
            SharedDynGraph::KIND => SharedDynGraph::from_raw(raw).map(Self::Graph),
            SharedMutex::KIND => SharedMutex::from_raw(raw).map(Self::Mutex),
            SharedDynAtomicArray::KIND => SharedDynAtomicArray::from_raw(raw).map(Self::Atomics),
            SharedBarrier::KIND => SharedBarrier::from_raw(raw).map(Self::Barrier),
            SharedCondition::KIND => SharedCondition::from_raw(raw).map(Self::Condition),
            other => Err(Error::Kind {
                found: other.to_owned().into(),
                wanted: "a value that this program knows".into(),
            }),
        }
    }

    /// Shares the value of a message that was received into an arena. Copies nothing.
    ///
    /// # Errors
    /// As [`SharedArray::from_message`](crate::SharedArray::from_message); [`Error::Body`] if it is only bytes.
    pub fn from_message(message: Message<'static>) -> Result<Self, ConvertError<Message<'static>>> {
        match message.body {
            Body::Frame(_) => SharedFrame::from_message(message).map(Self::Frame),
            _ => SharedDynArray::from_message(message).map(Self::Array),
        }
    }

    /// The handle by which another process opens the value.
    ///
    /// # Errors
    /// As [`SharedArray::handle`](crate::SharedArray::handle).
    pub fn handle(&self) -> Result<Handle, Error> {
        match self {
            Self::Array(array) => array.handle(),
            Self::Growable(array) => array.handle(),
            Self::Frame(frame) => frame.handle(),
            Self::Graph(graph) => graph.handle(),
            Self::Mutex(mutex) => mutex.handle(),
            Self::Atomics(array) => array.handle(),
            Self::Barrier(barrier) => barrier.handle(),
            Self::Condition(condition) => condition.handle(),
        }
    }

    /// Locks the value for reading and calls `with` with a message that borrows it, for example to send it. Copies
    /// nothing.
    ///
    /// # Errors
    /// [`Error::Lock`]; [`Error::Body`] for any other kind, which cannot be a message.
    pub fn with_message<R>(&self, with: impl FnOnce(&Message<'_>) -> R) -> Result<R, Error> {
        match self {
            Self::Array(array) => {
                let held = array.read()?;
                Ok(with(&Message::from(array.array(&held)?)))
            }
            Self::Frame(frame) => {
                let held = frame.read()?;
                Ok(with(&Message::from(held.frame()?)))
            }
            _ => Err(Error::Body {
                wanted: "array or dataframe",
            }),
        }
    }
}
