//! Short messages that wait to be written.

use std::collections::VecDeque;

use crate::frame::FrameHead;
use crate::frames::Frames;

/// A batch that is longer takes no more messages: the next one begins.
const LONG: usize = 64 << 10;

/// Room for a first message, and for more if they are short.
const FIRST: usize = 1 << 10;

/// Short messages in one piece of memory, so that one slice writes many of them.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    /// Where each message ends.
    ends: VecDeque<usize>,
    /// Bytes that were written, and where the message begins of which the next byte is.
    written: usize,
    begin: usize,
}

impl Batch {
    /// True if another message may be appended.
    pub(crate) fn has_room(&self) -> bool {
        self.bytes.len() < LONG
    }

    /// Appends a message of these frames. Returns the number of bytes.
    pub(crate) fn push<'f>(&mut self, frames: impl Iterator<Item = &'f [u8]>) -> usize {
        let before = self.bytes.len();
        if before == self.bytes.capacity() {
            self.bytes.reserve(FIRST);
        }
        let mut frames = frames.peekable();
        while let Some(body) = frames.next() {
            let more = frames.peek().is_some();
            FrameHead::message(body.len() as u64, more).write(&mut self.bytes);
            self.bytes.extend_from_slice(body);
        }
        self.ends.push_back(self.bytes.len());
        self.bytes.len() - before
    }

    /// What is not written.
    pub(crate) fn rest(&self) -> &[u8] {
        self.bytes.get(self.written..).unwrap_or(&[])
    }

    /// Bytes that were written of the message at the front.
    pub(crate) fn begun(&self) -> usize {
        self.written - self.begin
    }

    /// Reports that the next `count` bytes are written. Returns those that were more than there are.
    pub(crate) fn advance(&mut self, count: usize) -> usize {
        let step = count.min(self.rest().len());
        self.written += step;
        while let Some(end) = self.ends.front().filter(|end| **end <= self.written) {
            self.begin = *end;
            self.ends.pop_front();
        }
        count - step
    }

    /// The messages that were not written whole, each from its beginning.
    pub(crate) fn into_messages<B: AsRef<[u8]>>(self) -> impl Iterator<Item = Frames<B>> {
        let Self {
            bytes,
            ends,
            mut begin,
            ..
        } = self;
        ends.into_iter().map(move |end| {
            let message = bytes.get(begin..end).map_or_else(Vec::new, Vec::from);
            begin = end;
            Frames::of_message(message)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled() -> Batch {
        let mut batch = Batch::default();
        let long = [7; 300];
        let messages: [&[&[u8]]; 3] = [&[b"a", b""], &[&long], &[b"b", b"c", b"d"]];
        for frames in messages {
            let before = batch.rest().len();
            let count = batch.push(frames.iter().copied());
            assert_eq!(batch.rest().len(), before + count);
        }
        batch
    }

    #[test]
    fn what_is_not_whole_is_kept_from_its_beginning() {
        let all = filled();
        let lens = [3 + 2, 9 + 300, 9];
        assert_eq!(all.rest().len(), lens.iter().sum());
        for written in 0..=all.rest().len() {
            let mut batch = filled();
            assert_eq!(batch.advance(written), 0);
            assert_eq!(batch.rest(), &all.rest()[written..]);
            let mut left: Vec<u64> = Vec::new();
            let mut end = 0;
            for len in lens {
                end += len;
                if end > written {
                    left.push(len as u64);
                }
            }
            let begun = batch.begun();
            assert_eq!(
                begun == 0,
                left.iter().sum::<u64>() == batch.rest().len() as u64
            );
            let messages: Vec<Frames<Vec<u8>>> = batch.into_messages().collect();
            assert!(messages.iter().all(Frames::is_message));
            assert_eq!(messages.iter().map(Frames::left).collect::<Vec<_>>(), left);
        }
        assert_eq!(filled().advance(1000), 1000 - all.rest().len());
    }
}
