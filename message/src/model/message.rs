use std::collections::BTreeMap;

use crate::model::array::Array;
use crate::model::buffer::Buffer;
use crate::model::column::{Column, ColumnData};
use crate::model::frame::Frame;
use crate::wire::layout::align_up;
use crate::wire::preamble::RecordKind;

/// The user's own words on a message: names and values, both text.
pub type Attributes = BTreeMap<String, String>;

/// What is shipped: a body and attributes.
///
/// A message may borrow its buffers for as long as a send takes (`'a`); a received one owns them (`'static`). Cloning
/// is cheap: buffers are shared, never copied.
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

    /// The kind of record this message is on the wire.
    pub fn kind(&self) -> RecordKind {
        match self.body {
            Body::Bytes(_) => RecordKind::Bytes,
            Body::Array(_) => RecordKind::Array,
            Body::Frame(_) => RecordKind::Frame,
        }
    }

    /// Every buffer, in the order of the wire.
    pub fn buffers(&self) -> Vec<&Buffer<'a>> {
        let mut buffers = Vec::with_capacity(1);
        match &self.body {
            Body::Bytes(bytes) => buffers.push(bytes),
            Body::Array(array) => buffers.push(array.data()),
            Body::Frame(frame) => {
                buffers.reserve(frame.columns.len() * 3);
                let mut push = |buffer| buffers.push(buffer);
                frame.columns.iter().for_each(|column: &Column<'a>| {
                    let data: &ColumnData<'a> = &column.data;
                    data.each_buffer(&mut push);
                });
            }
        }
        buffers
    }

    /// Bytes of all buffers and the padding behind each.
    pub fn payload_len(&self) -> u64 {
        self.buffers()
            .iter()
            .filter_map(|buffer| align_up(buffer.len() as u64))
            .sum()
    }

    /// Bytes that were copied to build the message, before any transport saw it.
    pub fn prepared(&self) -> u64 {
        self.as_frame().map_or(0, |frame| frame.rebased)
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

impl<'a, T: Into<Body<'a>>> From<T> for Message<'a> {
    fn from(body: T) -> Self {
        Self::new(body)
    }
}
