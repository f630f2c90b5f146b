//! How the last message began, if it was short: the next one may begin so too.

use std::ops::Range;

use numpush_zmtp::FrameHead;

/// Longest message whose beginning is remembered, and the longest beginning, in bytes.
const SHORT: u64 = 4 << 10;
const LONGEST: usize = 512;

/// The beginning of a short message of one buffer.
pub(super) struct Again {
    /// All bytes of it up to its only buffer, heads of frames included.
    lead: Vec<u8>,
    /// Its head among them.
    head: Range<usize>,
    /// Bytes of that buffer.
    buffer: usize,
    pub(super) envelope: Vec<Vec<u8>>,
}

impl Again {
    /// The beginning of a message with this head and one buffer, if both are short.
    pub(super) fn of(envelope: &[Vec<u8>], head: &[u8], buffer: u64) -> Option<Self> {
        if buffer > SHORT || head.len() > LONGEST {
            return None;
        }
        let mut lead = Vec::new();
        let mut push = |frame: &[u8]| {
            FrameHead::message(frame.len() as u64, true).write(&mut lead);
            let start = lead.len();
            lead.extend_from_slice(frame);
            start..lead.len()
        };
        for frame in envelope {
            push(frame);
        }
        let head = push(head);
        FrameHead::message(buffer, false).write(&mut lead);
        (lead.len() <= LONGEST).then(|| Self {
            lead,
            head,
            buffer: usize::try_from(buffer).unwrap_or(usize::MAX),
            envelope: Vec::from(envelope),
        })
    }

    /// Head and buffer of the message at the front of `waiting`, if it is there whole and begins so, and its length.
    pub(super) fn find<'a>(&'a self, waiting: &'a [u8]) -> Option<(&'a [u8], &'a [u8], usize)> {
        let (first, rest) = waiting.split_at_checked(self.lead.len())?;
        let buffer = rest.get(..self.buffer)?;
        let head = self.lead.get(self.head.clone())?;
        (first == self.lead).then(|| (head, buffer, first.len() + buffer.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_there_whole_and_begins_so_is_found() {
        let again = Again::of(&[b"topic".into()], b"head", 3).unwrap();
        let whole = b"\x01\x05topic\x01\x04head\x00\x03abc";
        assert_eq!(
            again.find(whole),
            Some((&b"head"[..], &b"abc"[..], whole.len()))
        );
        for at in 0..whole.len() {
            assert_eq!(again.find(&whole[..at]), None);
            let mut other = *whole;
            other[at] ^= 1;
            assert_eq!(again.find(&other).is_some(), at >= whole.len() - 3);
        }
        assert!(Again::of(&[], &[0; LONGEST], 3).is_none());
        assert!(Again::of(&[], b"head", SHORT + 1).is_none());
    }
}
