//! Frames on their way out.

use std::io::IoSlice;

use crate::command::Command;
use crate::frame::FrameHead;

/// writev(2) takes no more slices at once (`IOV_MAX` of Linux).
pub(crate) const MOST_SLICES: usize = 1024;

/// Frames that go together: a message, or commands. The heads are ours, and the bodies lie where they are.
///
/// ```
/// use numpush_zmtp::Frames;
///
/// let mut frames = Frames::new();
/// frames.push_copy(b"topic", true);
/// frames.push([7; 300], false);
/// let mut slices = Vec::new();
/// assert_eq!(frames.gather(&mut slices, usize::MAX), 2 + 5 + 9 + 300);
/// // The topic and both heads in one, and the body.
/// assert_eq!(slices.len(), 2);
/// frames.advance(10);
/// assert_eq!((frames.left(), frames.is_begun()), (306, true));
/// ```
#[derive(Clone, Debug)]
pub struct Frames<B> {
    /// Heads, and what was copied.
    own: Vec<u8>,
    bodies: Vec<Body<B>>,
    is_message: bool,
    /// Bytes in all.
    len: u64,
    /// Bytes that were written.
    written: u64,
    /// Where that is: parts `2 * i` are of `own`, and part `2 * i + 1` is body `i`.
    part: usize,
    at: usize,
}

#[derive(Clone, Debug)]
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
            is_message: false,
            len: 0,
            written: 0,
            part: 0,
            at: 0,
        }
    }
}

impl<B: AsRef<[u8]>> Frames<B> {
    /// No frames.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes of a handshake, or of commands.
    pub fn of_bytes(bytes: Vec<u8>) -> Self {
        Self {
            len: bytes.len() as u64,
            own: bytes,
            ..Self::default()
        }
    }

    /// The bytes of a message, heads included.
    pub(crate) fn of_message(bytes: Vec<u8>) -> Self {
        Self {
            is_message: true,
            ..Self::of_bytes(bytes)
        }
    }

    /// A command.
    pub fn of_command(command: &Command<'_>) -> Self {
        let mut bytes = Vec::new();
        command.write(&mut bytes);
        Self::of_bytes(bytes)
    }

    /// Appends a command to others.
    pub(crate) fn push_command(&mut self, command: &Command<'_>) {
        let before = self.own.len();
        command.write(&mut self.own);
        self.len += (self.own.len() - before) as u64;
    }

    /// Bytes in all, if they are no message.
    pub(crate) fn said(&self) -> u64 {
        if self.is_message { 0 } else { self.len }
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
        self.is_message = true;
    }

    /// True if they are a message.
    pub fn is_message(&self) -> bool {
        self.is_message
    }

    /// Bytes that are not written yet.
    pub fn left(&self) -> u64 {
        self.len - self.written
    }

    /// Bytes that were written.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// True if a byte was written.
    pub fn is_begun(&self) -> bool {
        self.written > 0
    }

    /// Nothing of it was written: the peer that has a part of it is gone.
    pub fn rewind(&mut self) {
        (self.written, self.part, self.at) = (0, 0, 0);
    }

    /// Appends what comes next to `slices`, at most `limit` bytes. Returns the number of bytes.
    pub fn gather<'f>(&'f self, slices: &mut Vec<IoSlice<'f>>, limit: usize) -> usize {
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
    pub fn advance(&mut self, mut count: usize) -> usize {
        while let Some(bytes) = self.part(self.part) {
            let step = count.min(bytes.len() - self.at);
            let is_whole = self.at + step == bytes.len();
            self.written += step as u64;
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
            is_message: self.is_message,
            len: self.len,
            written: self.written,
            part: self.part,
            at: self.at,
        }
    }
}
