use std::collections::BTreeMap;

use crate::model::array::Array;
use crate::model::buffer::Buffer;
use crate::model::column::ColumnData;
use crate::model::frame::Frame;
use crate::model::packed::Packed;

/// What the user says about a message: names and values, both text, sorted by name.
///
/// They travel in the header, which has room for 64 KiB and 1 KiB more for each buffer. A name has at most
/// [`MAX_NAME_LEN`](crate::model::MAX_NAME_LEN) bytes and no NUL; a value is any text.
pub type Attributes = BTreeMap<String, String>;

/// What is shipped: a body and attributes.
///
/// A message may borrow its buffers for as long as a send takes (`'a`); a received one owns them (`'static`). Cloning
/// is cheap: buffers are shared, never copied.
///
/// ```
/// use numpush_message::{Array, Element, Message};
///
/// let array = Array::new(f32::SCALAR, &[2], vec![0; 8].into())?;
/// let message = Message::from(array).with_attribute("unit", "m/s");
/// assert_eq!(message.as_array().map(|array| array.len()), Some(2));
/// assert_eq!(message.attributes["unit"], "m/s");
/// assert_eq!(message.payload_len(), 64); // eight bytes and the padding after them
/// # Ok::<_, numpush_message::ArrayError>(())
/// ```
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

    /// Bytes of each buffer, in the same order. Makes no columns of a frame that has none yet.
    pub(crate) fn buffer_lens(&self) -> impl Iterator<Item = u64> + Clone {
        let packed = self.as_frame().and_then(Frame::packed);
        let buffers = match packed {
            Some(_) => None,
            None => Some(self.buffers()),
        };
        let lens = buffers.into_iter().flatten();
        let lens = lens.map(|buffer| buffer.len() as u64);
        lens.chain(packed.into_iter().flat_map(Packed::lens))
    }

    /// Bytes that were copied to build the message, before any transport saw it: see [`Frame::copied_bytes`].
    pub fn copied_bytes(&self) -> u64 {
        self.as_frame().map_or(0, Frame::copied_bytes)
    }

    /// The same message, of which each buffer is held by itself. A received frame holds its payload whole until then, beside
    /// its columns, and its clones share both.
    #[must_use]
    pub fn unpacked(self) -> Self {
        let Self { body, attributes } = self;
        let body = match body {
            Body::Frame(frame) => Body::Frame(frame.unpacked()),
            body => body,
        };
        Self { body, attributes }
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

impl<'a, B: Into<Body<'a>>> From<B> for Message<'a> {
    fn from(body: B) -> Self {
        Self::new(body)
    }
}
