//! Short messages that wait to be written.

use std::collections::VecDeque;
use std::fmt;

use crate::frame::FrameHead;
use crate::frames::Frames;
use crate::seal::{SealError, Sealing};
use crate::sealed::Sealed;

/// A batch that is longer takes no more messages: the next one begins.
const LONG: usize = 64 << 10;

/// Room for a first message, and for more if they are short.
const FIRST: usize = 1 << 10;

/// Short messages in one piece of memory, so that one slice writes many of them.
#[derive(Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    /// Where each message ends that was not written whole.
    ends: VecDeque<usize>,
    /// Where the first of them begins, and how many bytes of it were written.
    begin: usize,
    begun: usize,
    /// Bytes that were written, or sealed.
    taken: usize,
    sealed: Sealed,
    /// Sealed bytes of each message that was sealed whole, and of the one that is being sealed.
    sealed_lens: VecDeque<usize>,
    sealing: usize,
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

    /// What is not written, as it is.
    pub(crate) fn bare(&self) -> &[u8] {
        self.bytes.get(self.taken..).unwrap_or(&[])
    }

    /// What is sealed and not written.
    pub(crate) fn sealed(&self) -> &[u8] {
        self.sealed.rest()
    }

    /// True if sealed bytes wait to be written.
    pub(crate) fn is_sealed(&self) -> bool {
        !self.sealed().is_empty()
    }

    /// True if there is nothing left that could be sealed.
    pub(crate) fn is_sealed_whole(&self) -> bool {
        self.bare().is_empty()
    }

    /// Bytes that are not written.
    pub(crate) fn left(&self) -> u64 {
        (self.bare().len() + self.sealed().len()) as u64
    }

    /// Bytes that were written of the message at the front.
    pub(crate) fn begun(&self) -> usize {
        self.begun
    }

    /// Seals frames that are to be written next: at least `least` bytes of them, or all. They are written before more are sealed.
    ///
    /// If it fails the frames before the one at hand are sealed, and it is not.
    pub(crate) fn seal(&mut self, sealing: &mut Sealing, least: usize) -> Result<(), SealError> {
        if self.is_sealed() {
            return Ok(());
        }
        while self.sealed.rest().len() < least
            && let Ok(Some((head, taken))) = FrameHead::read(self.bare())
        {
            let behind = self.bytes.get(self.taken + taken..).unwrap_or(&[]);
            let len = usize::try_from(head.len).unwrap_or(usize::MAX);
            let body = behind.get(..len).unwrap_or(behind);
            let before = self.sealed.rest().len();
            sealing.seal(head, &[body], self.sealed.spare())?;
            self.taken += taken + body.len();
            self.sealing += self.sealed.rest().len() - before;
            if !head.more {
                self.sealed_lens.push_back(self.sealing);
                self.sealing = 0;
            }
        }
        Ok(())
    }

    /// Reports that the next `count` bytes are written. Returns those that were more than there are.
    pub(crate) fn advance(&mut self, count: usize) -> usize {
        if self.is_sealed() {
            let step = self.sealed.advance(count);
            self.begun += step;
            while let Some(len) = self.sealed_lens.front().filter(|len| **len <= self.begun) {
                self.begun -= len;
                self.sealed_lens.pop_front();
                self.begin = self.ends.pop_front().unwrap_or(self.begin);
            }
            return count - step;
        }
        let step = count.min(self.bare().len());
        self.taken += step;
        while let Some(end) = self.ends.front().filter(|end| **end <= self.taken) {
            self.begin = *end;
            self.ends.pop_front();
        }
        self.begun = self.taken - self.begin;
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

/// Lengths only.
impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} messages, {} bytes", self.ends.len(), self.left())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::Seal;

    fn filled() -> Batch {
        let mut batch = Batch::default();
        let long = [7; 300];
        let messages: [&[&[u8]]; 3] = [&[b"a", b""], &[&long], &[b"b", b"c", b"d"]];
        for frames in messages {
            let before = batch.bare().len();
            let count = batch.push(frames.iter().copied());
            assert_eq!(batch.bare().len(), before + count);
        }
        batch
    }

    #[test]
    fn what_is_not_whole_is_kept_from_its_beginning() {
        let all = filled();
        let lens = [3 + 2, 9 + 300, 9];
        assert_eq!(all.bare().len(), lens.iter().sum());
        for written in 0..=all.bare().len() {
            let mut batch = filled();
            assert_eq!(batch.advance(written), 0);
            assert_eq!(batch.bare(), &all.bare()[written..]);
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
                left.iter().sum::<u64>() == batch.bare().len() as u64
            );
            let messages: Vec<Frames<Vec<u8>>> = batch.into_messages().collect();
            assert!(messages.iter().all(Frames::is_message));
            assert_eq!(messages.iter().map(Frames::left).collect::<Vec<_>>(), left);
        }
        assert_eq!(filled().advance(1000), 1000 - all.bare().len());
    }

    /// Each sealed frame is longer than it was by as much.
    #[derive(Debug)]
    struct Longer;

    const MORE: usize = 30;

    impl Seal for Longer {
        fn seal(
            &mut self,
            head: FrameHead,
            parts: &[&[u8]],
            to: &mut Vec<u8>,
        ) -> Result<(), SealError> {
            head.write(to);
            to.extend([0; MORE]);
            parts.iter().for_each(|part| to.extend(*part));
            Ok(())
        }
    }

    #[test]
    fn what_is_sealed_and_not_written_whole_is_kept_from_its_beginning() {
        let lens: [u64; 3] = [3 + 2, 9 + 300, 9];
        let sealed = [3 + 2 + 2 * MORE, 9 + 300 + MORE, 9 + 3 * MORE];
        // As much is sealed at once, and as much is written at once, before the peer goes.
        for least in [1, 70, 400, 1000] {
            for written in 0..=sealed.iter().sum() {
                let mut batch = filled();
                let mut sealing = Sealing(Box::new(Longer));
                let mut left = written;
                while left > 0 {
                    batch.seal(&mut sealing, least).unwrap();
                    left = batch.advance(left);
                }
                let mut end = 0;
                let whole = sealed.iter().take_while(|len| {
                    end += **len;
                    end <= written
                });
                let whole = whole.count();
                let begun = written - sealed[..whole].iter().sum::<usize>();
                assert_eq!(batch.begun(), begun, "{written} in {least}");
                let messages: Vec<Frames<Vec<u8>>> = batch.into_messages().collect();
                let kept: Vec<u64> = messages.iter().map(Frames::left).collect();
                let expected = &lens[whole..];
                assert_eq!(kept, expected, "{written} in {least}");
            }
        }
    }
}
