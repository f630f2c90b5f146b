//! What came.

use numpush_message::{Buffer, MAGIC, Message};

use crate::transfer::Transfer;
use crate::zmq::terms::{LONGEST_BEFORE, MOST_BEFORE};

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

    /// Takes the way back of a request: all frames up to the first that is empty, or before a message. What they lay in is
    /// left, to be dropped without a lock.
    pub(in crate::zmq) fn take_back(&mut self) -> (Vec<Vec<u8>>, Option<Self>) {
        let mut back = std::mem::take(&mut self.envelope);
        let Content::Frames(frames) = &mut self.content else {
            return (back, None);
        };
        let mut before = frames.iter().take(MOST_BEFORE + 1);
        let Some(end) = before.position(|frame| frame.is_empty()) else {
            return (back, None);
        };
        // A peer that makes the way so long is not answered by it.
        let is_long = |frame: &Buffer<'_>| frame.len() > LONGEST_BEFORE;
        if frames.iter().take(end).any(is_long) {
            return (back, None);
        }
        let taken: Vec<_> = frames.drain(..=end).collect();
        back.extend(taken.iter().map(|frame| Vec::from(&**frame)));
        let left = Self {
            content: Content::Frames(taken),
            transfer: Transfer::default(),
            envelope: Vec::new(),
        };
        (back, Some(left))
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
