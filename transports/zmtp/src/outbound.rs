//! What goes to the peer.

use std::collections::VecDeque;
use std::io::IoSlice;

use crate::frames::Frames;

/// The direction in which this side sends: frames that wait to be written, in order.
///
/// ```
/// use numpush_zmtp::{Command, Frames, Outbound};
///
/// let mut outbound = Outbound::<Vec<u8>>::default();
/// outbound.push(Frames::of_command(&Command::Pong(b"")));
/// let mut message = Frames::new();
/// message.push(vec![7; 100], false);
/// outbound.push(message);
///
/// let mut slices = Vec::new();
/// let count = outbound.gather(&mut slices, usize::MAX);
/// // A socket takes some of it.
/// assert!(outbound.advance(count - 30).is_empty());
/// assert_eq!(outbound.left(), 30);
/// // Its peer is gone: the message can go to another one.
/// assert_eq!(outbound.take_messages().count(), 1);
/// ```
#[derive(Debug)]
pub struct Outbound<B> {
    queue: VecDeque<Frames<B>>,
    /// Bytes that are not written.
    left: u64,
}

impl<B> Default for Outbound<B> {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
            left: 0,
        }
    }
}

impl<B: AsRef<[u8]>> Outbound<B> {
    /// Appends frames, of which some may be written.
    pub fn push(&mut self, frames: Frames<B>) {
        let left = frames.left();
        if left > 0 {
            self.left += left;
            self.queue.push_back(frames);
        }
    }

    /// Puts frames before all others: somebody else has written a part of them.
    pub fn push_rest(&mut self, frames: Frames<B>) {
        let left = frames.left();
        if left > 0 {
            self.left += left;
            self.queue.push_front(frames);
        }
    }

    /// Bytes that wait.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Bytes that were written of the message at the front.
    pub fn begun(&self) -> u64 {
        let front = self.queue.front().filter(|front| front.is_message());
        front.map_or(0, Frames::written)
    }

    /// True if nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Appends what comes next to `slices`, at most `limit` bytes. Returns the number of bytes.
    pub fn gather<'o>(&'o self, slices: &mut Vec<IoSlice<'o>>, limit: usize) -> usize {
        let mut total = 0;
        for frames in &self.queue {
            let count = frames.gather(slices, limit - total);
            total += count;
            if count < usize::try_from(frames.left()).unwrap_or(usize::MAX) {
                break;
            }
        }
        total
    }

    /// Reports that the next `count` bytes are written. Returns the messages that went whole: their memory may be the program's,
    /// which is not to be dropped under a lock.
    pub fn advance(&mut self, mut count: usize) -> Vec<Frames<B>> {
        self.left = self.left.saturating_sub(count as u64);
        let mut spent = Vec::new();
        while let Some(front) = self.queue.front_mut() {
            count = front.advance(count);
            if front.left() > 0 {
                break;
            }
            spent.extend(self.queue.pop_front().filter(Frames::is_message));
        }
        spent
    }

    /// Takes the messages of which a byte or more was not written, from their beginning: the peer has none of them whole.
    pub fn take_messages(&mut self) -> impl Iterator<Item = Frames<B>> + use<B> {
        self.left = 0;
        let messages = std::mem::take(&mut self.queue).into_iter();
        messages.filter(Frames::is_message).map(|mut frames| {
            frames.rewind();
            frames
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Command;

    #[test]
    fn what_is_written_in_pieces_is_the_same() {
        let filled = || {
            let mut outbound = Outbound::<Vec<u8>>::default();
            outbound.push(Frames::of_command(&Command::Pong(b"x")));
            let mut message = Frames::new();
            message.push_copy(b"", true);
            message.push(vec![1; 300], true);
            message.push(Vec::new(), true);
            message.push(vec![2; 5], true);
            message.push_copy(b"end", false);
            outbound.push(message);
            outbound
        };
        let written = |piece: usize| {
            let (mut outbound, mut bytes) = (filled(), Vec::new());
            while !outbound.is_empty() {
                let mut slices = Vec::new();
                let count = outbound.gather(&mut slices, piece);
                assert!(count > 0 && count as u64 <= outbound.left());
                for slice in slices {
                    bytes.extend_from_slice(&slice);
                }
                outbound.advance(count);
            }
            assert_eq!(outbound.left(), 0);
            bytes
        };
        let mut begun = Frames::of_bytes(vec![9; 10]);
        begun.advance(4);
        let mut behind = filled();
        behind.push_rest(begun);
        let mut slices = Vec::new();
        behind.gather(&mut slices, 7);
        assert_eq!((slices[0].len(), slices[1].len()), (6, 1));
        let whole = written(usize::MAX);
        assert_eq!(whole.len() as u64, filled().left());
        for piece in [1, 2, 3, 11, 299, 300] {
            assert_eq!(written(piece), whole, "{piece}");
        }
    }
}
