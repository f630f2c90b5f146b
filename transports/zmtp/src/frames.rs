//! Frames on their way out.

use std::fmt;
use std::io::IoSlice;

use crate::command::Command;
use crate::frame::FrameHead;
use crate::seal::{SealError, Sealing};
use crate::sealed::Sealed;

/// writev(2) takes no more slices at once (`IOV_MAX` of Linux).
pub(crate) const MOST_SLICES: usize = 1024;

/// Frames that go together: a message, a command, or what a handshake says. The heads are ours, and the bodies lie where they are.
///
/// ```
/// use numpush_zmtp::{Frames, Outbound, WayOut};
///
/// let mut frames = Frames::new();
/// frames.push_copy(b"topic", true);
/// frames.push([7; 300], false);
/// assert_eq!((frames.left(), frames.is_begun()), (2 + 5 + 9 + 300, false));
///
/// // They go where a connection lets them: bare here, after a handshake that seals nothing.
/// let mut outbound = Outbound::<Vec<u8>>::default();
/// outbound.open(WayOut::Bare);
/// let mut slices = Vec::new();
/// assert_eq!(outbound.gather_of(&mut frames, &mut slices, usize::MAX)?, 316);
/// // The topic and both heads in one, and the body.
/// assert_eq!(slices.len(), 2);
/// frames.advance(10);
/// assert_eq!((frames.left(), frames.is_begun()), (306, true));
/// # Ok::<(), numpush_zmtp::SealError>(())
/// ```
#[derive(Clone)]
pub struct Frames<B> {
    /// Heads, and what was copied.
    own: Vec<u8>,
    bodies: Vec<Body<B>>,
    kind: Kind,
    /// Bytes in all, before they are sealed.
    len: u64,
    /// Those of them that were written, or sealed.
    taken: u64,
    /// Where that is: parts `2 * i` are of `own`, and part `2 * i + 1` is body `i`.
    part: usize,
    at: usize,
    /// Bytes that were written.
    written: u64,
    /// Frames that are sealed for one peer.
    sealed: Sealed,
}

/// What frames are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// What is said before anything is sealed.
    Handshake,
    Command,
    Message,
}

#[derive(Clone)]
struct Body<B> {
    /// So many bytes of `own` go before it.
    from: usize,
    bytes: B,
}

impl<B> Default for Frames<B> {
    fn default() -> Self {
        Self {
            own: Vec::new(),
            bodies: Vec::new(),
            kind: Kind::Message,
            len: 0,
            taken: 0,
            part: 0,
            at: 0,
            written: 0,
            sealed: Sealed::default(),
        }
    }
}

impl<B: AsRef<[u8]>> Frames<B> {
    /// A message of no frames.
    pub fn new() -> Self {
        Self::default()
    }

    /// What [`Inbound::says`](crate::Inbound::says) has. It is never sealed.
    pub fn of_handshake(bytes: Vec<u8>) -> Self {
        Self::of_bytes(Kind::Handshake, bytes)
    }

    /// The bytes of a message, heads included.
    pub(crate) fn of_message(bytes: Vec<u8>) -> Self {
        Self::of_bytes(Kind::Message, bytes)
    }

    /// A command behind the handshake.
    pub fn of_command(command: &Command<'_>) -> Self {
        let mut bytes = Vec::new();
        command.write(&mut bytes);
        Self::of_bytes(Kind::Command, bytes)
    }

    fn of_bytes(kind: Kind, bytes: Vec<u8>) -> Self {
        Self {
            len: bytes.len() as u64,
            own: bytes,
            kind,
            ..Self::default()
        }
    }

    /// Appends a command to others.
    pub(crate) fn push_command(&mut self, command: &Command<'_>) {
        let before = self.own.len();
        command.write(&mut self.own);
        self.len += (self.own.len() - before) as u64;
    }

    /// Bytes in all, if they are no message.
    pub(crate) fn said(&self) -> u64 {
        if self.is_message() { 0 } else { self.len }
    }

    /// Appends a frame of a message with a copy of `body`, which is short.
    pub fn push_copy(&mut self, body: &[u8], more: bool) {
        self.push_head(body.len(), more);
        self.own.extend(body);
        self.len += body.len() as u64;
    }

    /// Appends a frame of a message, whose body stays where it lies.
    pub fn push(&mut self, body: B, more: bool) {
        let len = body.as_ref().len();
        self.push_head(len, more);
        self.len += len as u64;
        self.bodies.push(Body {
            from: self.own.len(),
            bytes: body,
        });
    }

    fn push_head(&mut self, len: usize, more: bool) {
        let before = self.own.len();
        FrameHead::message(len as u64, more).write(&mut self.own);
        self.len += (self.own.len() - before) as u64;
    }

    /// Seals frames that are to be written next: at least `least` bytes of them, or all. They are written before more are sealed.
    ///
    /// If it fails the frames before the one at hand are sealed, and it is not.
    pub(crate) fn seal(&mut self, sealing: &mut Sealing, least: usize) -> Result<(), SealError> {
        if self.is_sealed() || self.kind == Kind::Handshake {
            return Ok(());
        }
        while self.sealed.rest().len() < least
            && let Some((head, taken, next)) = self.next_frame()
        {
            let body = match next {
                Next::Copied(from) => {
                    let len = usize::try_from(head.len).unwrap_or(usize::MAX);
                    let behind = self.own.get(from..).unwrap_or(&[]);
                    behind.get(..len).unwrap_or(behind)
                }
                Next::Body(index) => self
                    .bodies
                    .get(index)
                    .map_or(&[][..], |it| it.bytes.as_ref()),
            };
            let len = body.len();
            sealing.seal(head, &[body], self.sealed.spare())?;
            (self.part, self.at) = match next {
                Next::Copied(_) => (self.part, self.at + taken + len),
                Next::Body(_) => (self.part + 2, 0),
            };
            self.taken += (taken + len) as u64;
        }
        Ok(())
    }

    /// The head of the frame that is sealed next, its length, and where its body is.
    fn next_frame(&self) -> Option<(FrameHead, usize, Next)> {
        let bytes = self.part(self.part)?.get(self.at..)?;
        let (head, taken) = FrameHead::read(bytes).ok()??;
        let index = self.part / 2;
        if bytes.len() == taken && index < self.bodies.len() {
            return Some((head, taken, Next::Body(index)));
        }
        let start = match index.checked_sub(1) {
            None => 0,
            Some(last) => self.bodies.get(last)?.from,
        };
        Some((head, taken, Next::Copied(start + self.at + taken)))
    }

    /// True if sealed bytes wait to be written.
    pub(crate) fn is_sealed(&self) -> bool {
        !self.sealed.rest().is_empty()
    }

    /// True if there is nothing left that could be sealed.
    pub(crate) fn is_sealed_whole(&self) -> bool {
        self.taken == self.len
    }

    /// True for what a handshake says.
    pub(crate) fn is_handshake(&self) -> bool {
        self.kind == Kind::Handshake
    }

    /// True if they are a message.
    pub fn is_message(&self) -> bool {
        self.kind == Kind::Message
    }

    /// Bytes that are not written yet. What is to be sealed grows by that.
    pub fn left(&self) -> u64 {
        self.len - self.taken + self.sealed.rest().len() as u64
    }

    /// Bytes that were written.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// True if a byte was written.
    pub fn is_begun(&self) -> bool {
        self.written > 0
    }

    /// Nothing of it was written: the peer that has a part of it is gone. What was sealed for it is dropped.
    pub fn rewind(&mut self) {
        (self.taken, self.part, self.at, self.written) = (0, 0, 0, 0);
        self.sealed = Sealed::default();
    }

    /// What is sealed and not written.
    pub(crate) fn sealed(&self) -> &[u8] {
        self.sealed.rest()
    }

    /// Appends what comes next to `slices`, as it is, at most `limit` bytes. Returns the number of bytes.
    pub(crate) fn gather<'f>(&'f self, slices: &mut Vec<IoSlice<'f>>, limit: usize) -> usize {
        let (mut at, mut total) = (self.at, 0);
        for part in self.part.. {
            let Some(bytes) = self.part(part) else { break };
            if total == limit || slices.len() == MOST_SLICES {
                break;
            }
            let bytes = bytes.get(at..).unwrap_or(&[]);
            let bytes = bytes.get(..limit - total).unwrap_or(bytes);
            if !bytes.is_empty() {
                slices.push(IoSlice::new(bytes));
            }
            (at, total) = (0, total + bytes.len());
        }
        total
    }

    /// Reports that the next `count` bytes are written. Returns those that were more than there are.
    pub fn advance(&mut self, count: usize) -> usize {
        if self.is_sealed() {
            let step = self.sealed.advance(count);
            self.written += step as u64;
            return count - step;
        }
        self.advance_bare(count)
    }

    fn advance_bare(&mut self, mut count: usize) -> usize {
        while let Some(bytes) = self.part(self.part) {
            let step = count.min(bytes.len() - self.at);
            let is_whole = self.at + step == bytes.len();
            self.written += step as u64;
            self.taken += step as u64;
            count -= step;
            if !is_whole {
                self.at += step;
                return 0;
            }
            (self.part, self.at) = (self.part + 1, 0);
        }
        count
    }

    fn part(&self, part: usize) -> Option<&[u8]> {
        let index = part / 2;
        if part % 2 == 1 {
            return self.bodies.get(index).map(|body| body.bytes.as_ref());
        }
        let before = |index: usize| self.bodies.get(index).map(|body| body.from);
        let start = match index.checked_sub(1) {
            None => 0,
            Some(last) => before(last)?,
        };
        self.own.get(start..before(index).unwrap_or(self.own.len()))
    }

    /// The same frames, as far as they were written, with bodies that `map` makes of these. They have the same bytes.
    pub fn map<C>(self, mut map: impl FnMut(B) -> C) -> Frames<C> {
        let bodies = self.bodies.into_iter().map(|body| Body {
            from: body.from,
            bytes: map(body.bytes),
        });
        Frames {
            own: self.own,
            bodies: bodies.collect(),
            kind: self.kind,
            len: self.len,
            taken: self.taken,
            part: self.part,
            at: self.at,
            written: self.written,
            sealed: self.sealed,
        }
    }
}

/// Where the body of a frame is.
#[derive(Clone, Copy)]
enum Next {
    /// In our own bytes, from this one on.
    Copied(usize),
    Body(usize),
}

/// Lengths only: a handshake may have a password.
impl<B> fmt::Debug for Frames<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frames")
            .field("kind", &self.kind)
            .field("len", &self.len)
            .field("written", &self.written)
            .finish_non_exhaustive()
    }
}
