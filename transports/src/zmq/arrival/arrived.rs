//! What came.

use numpush_message::{Buffer, MAGIC, Message};

use crate::transfer::Transfer;

/// A message that came whole.
pub(in crate::zmq) struct Arrived {
    pub(in crate::zmq) content: Content,
    pub(in crate::zmq) transfer: Transfer,
    /// The frames before it: a topic, or the way back.
    pub(in crate::zmq) envelope: Vec<Vec<u8>>,
}

impl Arrived {
    /// One frame, which a socket has made itself.
    pub(in crate::zmq) fn of_frame(frame: Vec<u8>) -> Self {
        Self {
            content: Content::Frames(vec![frame.into()]),
            transfer: Transfer::default(),
            envelope: Vec::new(),
        }
    }

    /// The first frame, or the start of what would be it.
    pub(in crate::zmq) fn first(&self) -> &[u8] {
        let frame = match &self.content {
            Content::Message(_) => &MAGIC,
            Content::Frames(frames) => frames.first().map_or(&[][..], |frame| frame),
        };
        self.envelope.first().map_or(frame, Vec::as_slice)
    }

    /// Takes the way back of a request: all frames up to the first that is empty, or before a message.
    pub(in crate::zmq) fn take_back(&mut self) -> Vec<Vec<u8>> {
        let mut back = std::mem::take(&mut self.envelope);
        if let Content::Frames(frames) = &mut self.content
            && let Some(end) = frames.iter().position(|frame| frame.is_empty())
        {
            back.extend(frames.drain(..=end).map(|frame| Vec::from(&*frame)));
        }
        back
    }
}

/// What came.
#[non_exhaustive]
#[derive(Debug)]
pub enum Content {
    /// A message of numpush.
    Message(Message<'static>),
    /// The frames of a message of another program, in order.
    Frames(Vec<Buffer<'static>>),
}
