use numpush_message::{Body, Message};

use crate::array::SharedDynArray;
use crate::client;
use crate::error::Error;
use crate::frame::SharedFrame;
use crate::graph::SharedGraph;
use crate::handle::Handle;
use crate::mutex::SharedMutex;
use crate::object::Descriptor;

/// A shared value of any kind.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub enum SharedValue {
    /// An array, or a commit array.
    Array(SharedDynArray),
    /// A dataframe.
    Frame(SharedFrame),
    /// A graph.
    Graph(SharedGraph),
    /// A mutex.
    Mutex(SharedMutex),
}

impl SharedValue {
    /// Opens whatever is behind a handle.
    ///
    /// # Errors
    /// [`Error::Stale`] if it is gone.
    pub fn open(handle: &Handle) -> Result<Self, Error> {
        let value = client::open(handle)?;
        Ok(match &value.meta {
            Descriptor::Array(_) => Self::Array(SharedDynArray::new(value)?),
            Descriptor::Frame(_) => Self::Frame(SharedFrame::from_value(value)?),
            Descriptor::Graph(_) => Self::Graph(SharedGraph::from_value(value)?),
            Descriptor::Mutex => Self::Mutex(SharedMutex::from_value(value)?),
        })
    }

    /// The value of a message that was received into an arena. Copies nothing.
    ///
    /// # Errors
    /// As [`SharedArray::from_message`](crate::SharedArray::from_message); [`Error::Body`] if it is only bytes.
    pub fn from_message(message: Message<'static>) -> Result<Self, Error> {
        match message.body {
            Body::Frame(_) => SharedFrame::from_message(message).map(Self::Frame),
            _ => SharedDynArray::from_message(message).map(Self::Array),
        }
    }

    /// The name by which another process opens it.
    ///
    /// # Errors
    /// As [`SharedArray::handle`](crate::SharedArray::handle).
    pub fn handle(&self) -> Result<Handle, Error> {
        match self {
            Self::Array(array) => array.handle(),
            Self::Frame(frame) => frame.handle(),
            Self::Graph(graph) => graph.handle(),
            Self::Mutex(mutex) => mutex.handle(),
        }
    }

    /// Locks the value for reading and calls `with` with it as a message that borrows it: to send it, say. Copies
    /// nothing.
    ///
    /// # Errors
    /// [`Error::Lock`]; [`Error::Body`] for a graph or a mutex, which is no message.
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
            Self::Graph(_) | Self::Mutex(_) => Err(Error::Body {
                wanted: "array or dataframe",
            }),
        }
    }
}
