//! What goes to the peer.

use std::collections::VecDeque;
use std::io::IoSlice;

use crate::batch::Batch;
use crate::command::Command;
use crate::frames::{Frames, MOST_SLICES};
use crate::seal::{SealError, WayOut};

/// So many bytes are sealed at once, and a longer frame whole: a write takes many small messages.
const SEALS: usize = 64 << 10;

/// The direction in which this side sends: frames that wait to be written, in order.
///
/// Until it is [opened](Self::open) nothing goes but what the handshake says. Behind that a connection that seals writes nothing
/// that is not sealed. Frames are sealed when they are written, so that another peer can have those of one that is gone.
///
/// ```
/// use numpush_zmtp::{Command, Frames, Outbound, WayOut};
///
/// let mut outbound = Outbound::<Vec<u8>>::default();
/// outbound.push(Frames::of_command(&Command::Pong(b"")));
/// let mut message = Frames::new();
/// message.push(vec![7; 100], false);
/// outbound.push(message);
///
/// let mut slices = Vec::new();
/// assert_eq!(outbound.gather(&mut slices, usize::MAX)?, 0);
/// // The handshake is done; WayOut comes from the other direction.
/// outbound.open(WayOut::Bare);
/// let mut slices = Vec::new();
/// let count = outbound.gather(&mut slices, usize::MAX)?;
/// // A socket takes some of it.
/// assert!(outbound.advance(count - 30).is_empty());
/// assert_eq!(outbound.left(), 30);
/// // Its peer is gone: the message can go to another one.
/// assert_eq!(outbound.take_messages().count(), 1);
/// # Ok::<(), numpush_zmtp::SealError>(())
/// ```
#[derive(Debug)]
pub struct Outbound<B> {
    queue: VecDeque<Item<B>>,
    /// Bytes that are not written.
    left: u64,
    /// Bytes of what is no message.
    said: u64,
    /// `None` until messages may go.
    way_out: Option<WayOut>,
}

#[derive(Debug)]
enum Item<B> {
    Frames(Frames<B>),
    Batch(Batch),
}

/// Commands that go together have so many bytes at least, if there are so many.
const TOGETHER: u64 = 1 << 10;

impl<B> Default for Outbound<B> {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
            left: 0,
            said: 0,
            way_out: None,
        }
    }
}

impl<B: AsRef<[u8]>> Outbound<B> {
    /// Lets commands and messages go, as [`Inbound::way_out`](crate::Inbound::way_out) says.
    pub fn open(&mut self, way_out: WayOut) {
        self.way_out = Some(way_out);
    }

    /// True if what goes is sealed.
    pub fn seals(&self) -> bool {
        matches!(self.way_out, Some(WayOut::Sealed(_)))
    }

    /// Appends frames.
    pub fn push(&mut self, mut frames: Frames<B>) {
        if frames.is_sealed() && !frames.is_begun() {
            // What goes before it is sealed after it: it would be an old one to the peer.
            frames.rewind();
        }
        let left = frames.left();
        if left > 0 {
            self.left += left;
            self.said += frames.said();
            self.queue.push_back(Item::Frames(frames));
        }
    }

    /// Appends a command. Many of them take little more than their bytes.
    pub fn say(&mut self, command: &Command<'_>) {
        match self.queue.back_mut() {
            Some(Item::Frames(last))
                if !last.is_handshake() && (1..TOGETHER).contains(&last.said()) =>
            {
                let before = last.said();
                last.push_command(command);
                let more = last.said() - before;
                self.left += more;
                self.said += more;
            }
            _ => self.push(Frames::of_command(command)),
        }
    }

    /// Appends a message with copies of these frames, which are short.
    ///
    /// ```
    /// use numpush_zmtp::{Outbound, WayOut};
    ///
    /// let mut outbound = Outbound::<Vec<u8>>::default();
    /// outbound.open(WayOut::Bare);
    /// for number in 0..1000_u32 {
    ///     outbound.push_copies([&b"topic"[..], &number.to_be_bytes()].into_iter());
    /// }
    /// let mut slices = Vec::new();
    /// assert_eq!(outbound.gather(&mut slices, usize::MAX)?, 13_000);
    /// assert_eq!(slices.len(), 1);
    /// # Ok::<(), numpush_zmtp::SealError>(())
    /// ```
    pub fn push_copies<'f>(&mut self, frames: impl Iterator<Item = &'f [u8]>) {
        let count = match self.queue.back_mut() {
            Some(Item::Batch(batch)) if batch.has_room() => batch.push(frames),
            _ => {
                let mut batch = Batch::default();
                let count = batch.push(frames);
                self.queue.push_back(Item::Batch(batch));
                count
            }
        };
        self.left += count as u64;
    }

    /// Puts frames before all others: somebody else has written a part of them.
    pub fn push_rest(&mut self, frames: Frames<B>) {
        let front = self.queue.front();
        debug_assert!(
            !front.is_some_and(Item::is_sealed),
            "what is sealed first is written first"
        );
        let left = frames.left();
        if left > 0 {
            self.left += left;
            self.said += frames.said();
            self.queue.push_front(Item::Frames(frames));
        }
    }

    /// Bytes that wait.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Bytes that were written of the message at the front.
    pub fn begun(&self) -> u64 {
        match self.queue.front() {
            Some(Item::Frames(frames)) if frames.is_message() => frames.written(),
            Some(Item::Batch(batch)) => batch.begun() as u64,
            _ => 0,
        }
    }

    /// Pieces of memory that wait: long messages, short ones together, and what is no message.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Bytes of what waits and is no message: the handshake, and commands. Those that were said together count until all are written.
    pub fn said(&self) -> u64 {
        self.said
    }

    /// True if nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Appends what comes next to `slices`, sealed if it must be, at most `limit` bytes. Returns the number of bytes.
    ///
    /// # Errors
    /// If frames cannot be sealed. Without memory the same call may do later; what is sealed already is written all the same.
    pub fn gather<'o>(
        &'o mut self,
        slices: &mut Vec<IoSlice<'o>>,
        limit: usize,
    ) -> Result<usize, SealError> {
        self.seal(limit)?;
        let mut total = 0;
        for item in &self.queue {
            let count = gather(self.way_out.as_ref(), item, slices, limit - total);
            total += count;
            if (count as u64) < item.left() {
                break;
            }
        }
        Ok(total)
    }

    /// As [`Self::gather`], for `frames` that somebody writes before they are in the queue, which is empty.
    ///
    /// # Errors
    /// As [`Self::gather`].
    pub fn gather_of<'f, C: AsRef<[u8]>>(
        &mut self,
        frames: &'f mut Frames<C>,
        slices: &mut Vec<IoSlice<'f>>,
        limit: usize,
    ) -> Result<usize, SealError> {
        if let Some(WayOut::Sealed(sealing)) = &mut self.way_out {
            match frames.seal(sealing, limit.min(SEALS)) {
                // What is sealed is written first.
                Err(_) if frames.is_sealed() => {}
                sealed => sealed?,
            }
        }
        Ok(gather_frames(self.way_out.as_ref(), frames, slices, limit))
    }

    /// Seals what is written next.
    fn seal(&mut self, limit: usize) -> Result<(), SealError> {
        let Some(WayOut::Sealed(sealing)) = &mut self.way_out else {
            return Ok(());
        };
        let (mut ready, most) = (0, limit.min(SEALS));
        for item in &mut self.queue {
            let before = item.left();
            let sealed = match item {
                Item::Frames(frames) => frames.seal(sealing, most - ready),
                Item::Batch(batch) => batch.seal(sealing, most - ready),
            };
            self.left = (self.left - before).saturating_add(item.left());
            match sealed {
                // What is sealed is written first.
                Err(_) if ready > 0 || item.is_sealed() => return Ok(()),
                sealed => sealed?,
            }
            ready = ready.saturating_add(usize::try_from(item.left()).unwrap_or(usize::MAX));
            if ready >= most || !item.is_sealed_whole() {
                break;
            }
        }
        Ok(())
    }

    /// Reports that the next `count` bytes are written. Returns the messages that went whole: their memory may be the program's,
    /// which is not to be dropped under a lock.
    pub fn advance(&mut self, mut count: usize) -> Vec<Frames<B>> {
        self.left = self.left.saturating_sub(count as u64);
        let mut spent = Vec::new();
        while let Some(front) = self.queue.front_mut() {
            let is_whole = match front {
                Item::Frames(frames) => {
                    count = frames.advance(count);
                    frames.left() == 0
                }
                Item::Batch(batch) => {
                    count = batch.advance(count);
                    batch.left() == 0
                }
            };
            if !is_whole {
                break;
            }
            if let Some(Item::Frames(frames)) = self.queue.pop_front() {
                self.said -= frames.said();
                spent.extend(Some(frames).filter(Frames::is_message));
            }
        }
        spent
    }

    /// Takes the messages of which a byte or more was not written, from their beginning: the peer has none of them whole.
    pub fn take_messages(&mut self) -> impl Iterator<Item = Frames<B>> + use<B> {
        (self.left, self.said) = (0, 0);
        self.way_out = None;
        let mut messages = Vec::new();
        for item in std::mem::take(&mut self.queue) {
            match item {
                Item::Frames(mut frames) if frames.is_message() => {
                    frames.rewind();
                    messages.push(frames);
                }
                Item::Frames(_) => {}
                Item::Batch(batch) => messages.extend(batch.into_messages()),
            }
        }
        messages.into_iter()
    }
}

impl<B: AsRef<[u8]>> Item<B> {
    /// Bytes that are not written.
    fn left(&self) -> u64 {
        match self {
            Self::Frames(frames) => frames.left(),
            Self::Batch(batch) => batch.left(),
        }
    }

    /// True if sealed bytes wait to be written.
    fn is_sealed(&self) -> bool {
        match self {
            Self::Frames(frames) => frames.is_sealed(),
            Self::Batch(batch) => batch.is_sealed(),
        }
    }

    /// True if nothing of it is left that is to be sealed.
    fn is_sealed_whole(&self) -> bool {
        match self {
            Self::Frames(frames) => frames.is_sealed_whole() || frames.is_handshake(),
            Self::Batch(batch) => batch.is_sealed_whole(),
        }
    }
}

/// Appends what may be written of `item` to `slices`.
fn gather<'f, B: AsRef<[u8]>>(
    way_out: Option<&WayOut>,
    item: &'f Item<B>,
    slices: &mut Vec<IoSlice<'f>>,
    limit: usize,
) -> usize {
    match item {
        Item::Frames(frames) => gather_frames(way_out, frames, slices, limit),
        Item::Batch(batch) => {
            let bytes = match way_out {
                None => &[],
                Some(WayOut::Bare) => batch.bare(),
                Some(WayOut::Sealed(_)) => batch.sealed(),
            };
            gather_bytes(bytes, slices, limit)
        }
    }
}

fn gather_frames<'f, B: AsRef<[u8]>>(
    way_out: Option<&WayOut>,
    frames: &'f Frames<B>,
    slices: &mut Vec<IoSlice<'f>>,
    limit: usize,
) -> usize {
    match way_out {
        _ if frames.is_handshake() => frames.gather(slices, limit),
        None => 0,
        Some(WayOut::Bare) => frames.gather(slices, limit),
        Some(WayOut::Sealed(_)) => gather_bytes(frames.sealed(), slices, limit),
    }
}

fn gather_bytes<'f>(bytes: &'f [u8], slices: &mut Vec<IoSlice<'f>>, limit: usize) -> usize {
    let bytes = bytes.get(..limit).unwrap_or(bytes);
    if bytes.is_empty() || slices.len() == MOST_SLICES {
        return 0;
    }
    slices.push(IoSlice::new(bytes));
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_in_pieces_is_the_same() {
        let filled = || {
            let mut outbound = Outbound::<Vec<u8>>::default();
            outbound.open(WayOut::Bare);
            outbound.push(Frames::of_command(&Command::Pong(b"x")));
            let mut message = Frames::new();
            message.push_copy(b"", true);
            message.push(vec![1; 300], true);
            message.push(Vec::new(), true);
            message.push(vec![2; 5], true);
            message.push_copy(b"end", false);
            outbound.push(message);
            outbound.push_copies([&b"one"[..], b""].into_iter());
            outbound.push_copies([&b"two"[..]].into_iter());
            outbound.say(&Command::Pong(b"y"));
            outbound.push_copies([&[3; 256][..]].into_iter());
            outbound
        };
        let written = |piece: usize| {
            let (mut outbound, mut bytes) = (filled(), Vec::new());
            while !outbound.is_empty() {
                let left = outbound.left();
                let mut slices = Vec::new();
                let count = outbound.gather(&mut slices, piece).unwrap();
                assert!(count > 0 && count as u64 <= left);
                for slice in slices {
                    bytes.extend_from_slice(&slice);
                }
                outbound.advance(count);
            }
            assert_eq!(outbound.left(), 0);
            bytes
        };
        let mut begun = Frames::of_handshake(vec![9; 10]);
        begun.advance(4);
        let mut behind = filled();
        behind.push_rest(begun);
        let mut slices = Vec::new();
        behind.gather(&mut slices, 7).unwrap();
        assert_eq!((slices[0].len(), slices[1].len()), (6, 1));
        let whole = written(usize::MAX);
        assert_eq!(whole.len() as u64, filled().left());
        for piece in [1, 2, 3, 11, 299, 300] {
            assert_eq!(written(piece), whole, "{piece}");
        }
    }

    #[test]
    fn commands_take_their_bytes_and_little_more() {
        let mut outbound = Outbound::<Vec<u8>>::default();
        for _ in 0..1000 {
            outbound.say(&Command::Pong(b"ab"));
        }
        assert!(outbound.queued() < 20);
        assert_eq!((outbound.said(), outbound.left()), (9000, 9000));
        let mut message = Frames::new();
        message.push(vec![1; 10], false);
        outbound.push(message);
        outbound.say(&Command::Pong(b"ab"));
        assert_eq!((outbound.said(), outbound.left()), (9009, 9021));
        // What is written in part is still appended to.
        outbound.advance(9000);
        assert_eq!(outbound.said(), 9);
        assert_eq!(outbound.advance(15).len(), 1);
        outbound.say(&Command::Pong(b"ab"));
        assert_eq!((outbound.left(), outbound.queued()), (15, 1));
        outbound.advance(15);
        assert_eq!((outbound.said(), outbound.is_empty()), (0, true));
    }
}
