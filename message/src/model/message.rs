use std::collections::BTreeMap;

use crate::model::array::Array;
use crate::model::buffer::Buffer;
use crate::model::column::ColumnData;
use crate::model::frame::Frame;

/// The user's own words on a message: names and values, both text.
pub type Attributes = BTreeMap<String, String>;

/// What is shipped: a body and attributes.
///
/// A message may borrow its buffers for as long as a send takes (`'a`); a received one owns them (`'static`). Cloning
/// is cheap: buffers are shared, never copied.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
pub struct Message<'a> {
    /// The value.
    pub body: Body<'a>,
    /// The user's attributes.
    pub attributes: Attributes,
}

/// The value of a message.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
pub enum Body<'a> {
    /// Bytes without a shape.
    Bytes(Buffer<'a>),
    /// An n-dimensional array.
    Array(Array<'a>),
    /// A dataframe.
    Frame(Frame<'a>),
}

impl<'a> Message<'a> {
    /// A message without attributes.
    pub fn new(body: impl Into<Body<'a>>) -> Self {
        Self {
            body: body.into(),
            attributes: Attributes::new(),
        }
    }

    /// Adds an attribute, or replaces the one of that name.
    #[must_use]
    pub fn with_attribute(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.attributes.insert(name.into(), value.into());
        self
    }

    /// The array, if the body is one.
    pub fn as_array(&self) -> Option<&Array<'a>> {
        match &self.body {
            Body::Array(array) => Some(array),
            _ => None,
        }
    }

    /// The dataframe, if the body is one.
    pub fn as_frame(&self) -> Option<&Frame<'a>> {
        match &self.body {
            Body::Frame(frame) => Some(frame),
            _ => None,
        }
    }

    /// The bytes, if the body is plain bytes.
    pub fn as_bytes(&self) -> Option<&Buffer<'a>> {
        match &self.body {
            Body::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Every buffer, in the order of the wire.
    pub fn buffers(&self) -> impl Iterator<Item = &Buffer<'a>> + Clone {
        let (one, frame) = match &self.body {
            Body::Bytes(bytes) => (Some(bytes), None),
            Body::Array(array) => (Some(array.data()), None),
            Body::Frame(frame) => (None, Some(frame)),
        };
        let columns = frame.into_iter().flat_map(Frame::columns);
        let levels = columns.flat_map(|column| column.data().levels());
        one.into_iter().chain(levels.flat_map(ColumnData::buffers))
    }

    /// Bytes that were copied to build the message, before any transport saw it.
    pub fn copied_bytes(&self) -> u64 {
        self.as_frame().map_or(0, Frame::copied_bytes)
    }

    /// The same message without borrows: shared buffers stay where they are, borrowed ones are copied to the heap.
    pub fn into_owned_or_copy(self) -> Message<'static> {
        let body = match self.body {
            Body::Bytes(bytes) => Body::Bytes(bytes.into_owned_or_copy()),
            Body::Array(array) => Body::Array(array.into_owned_or_copy()),
            Body::Frame(frame) => Body::Frame(frame.into_owned_or_copy()),
        };
        Message {
            body,
            attributes: self.attributes,
        }
    }
}

impl<'a> From<Buffer<'a>> for Body<'a> {
    fn from(bytes: Buffer<'a>) -> Self {
        Self::Bytes(bytes)
    }
}

impl<'a> From<Array<'a>> for Body<'a> {
    fn from(array: Array<'a>) -> Self {
        Self::Array(array)
    }
}

impl<'a> From<Frame<'a>> for Body<'a> {
    fn from(frame: Frame<'a>) -> Self {
        Self::Frame(frame)
    }
}

impl<'a> From<Buffer<'a>> for Message<'a> {
    fn from(bytes: Buffer<'a>) -> Self {
        Self::new(bytes)
    }
}

impl<'a> From<Array<'a>> for Message<'a> {
    fn from(array: Array<'a>) -> Self {
        Self::new(array)
    }
}

impl<'a> From<Frame<'a>> for Message<'a> {
    fn from(frame: Frame<'a>) -> Self {
        Self::new(frame)
    }
}

impl<'a> From<Body<'a>> for Message<'a> {
    fn from(body: Body<'a>) -> Self {
        Self::new(body)
    }
}
