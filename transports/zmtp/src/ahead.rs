//! Bytes that came and are not taken yet.

use std::fmt;

/// The most that is read ahead: dozens of small messages, or a long command whole.
pub(crate) const AHEAD: usize = 16 << 10;

/// What a connection holds on which little comes: thousands of them must be cheap.
const LEAST: usize = 1 << 10;

/// Bytes that came and are not taken yet.
#[derive(Default)]
pub(crate) struct Ahead {
    /// Empty until the first read: an idle connection holds no buffer.
    bytes: Vec<u8>,
    at: usize,
    end: usize,
    /// A read filled all of it: the next one may bring more.
    is_short: bool,
}

impl Ahead {
    /// The bytes that wait.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(self.at..self.end).unwrap_or(&[])
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.at == self.end
    }

    /// Room for a read, which is never empty while fewer than [`AHEAD`] bytes wait.
    pub(crate) fn spare(&mut self) -> &mut [u8] {
        if self.bytes.is_empty() {
            self.bytes = vec![0; LEAST];
        }
        if self.bytes.len() - self.end < self.bytes.len() / 4 || self.is_empty() {
            self.bytes.copy_within(self.at..self.end, 0);
            (self.at, self.end) = (0, self.end - self.at);
        }
        if self.is_short {
            self.is_short = false;
            let len = (self.bytes.len() * 4).min(AHEAD);
            self.bytes.resize(len, 0);
        }
        self.bytes.get_mut(self.end..).unwrap_or(&mut [])
    }

    /// `count` bytes were read into [`Self::spare`].
    pub(crate) fn filled(&mut self, count: usize) {
        self.end = self.end.saturating_add(count).min(self.bytes.len());
        self.is_short |= self.end == self.bytes.len();
    }

    /// Takes `count` bytes from the front, or all if there are fewer.
    pub(crate) fn take(&mut self, count: usize) -> &[u8] {
        let from = self.at;
        self.at = from.saturating_add(count).min(self.end);
        self.bytes.get(from..self.at).unwrap_or(&[])
    }

    /// `len` of the bytes that wait, behind the first `at` of them, to be changed where they are.
    pub(crate) fn part_mut(&mut self, at: usize, len: usize) -> &mut [u8] {
        let waiting = self.bytes.get_mut(self.at..self.end).unwrap_or(&mut []);
        let behind = waiting.get_mut(at..).unwrap_or(&mut []);
        let len = len.min(behind.len());
        behind.split_at_mut(len).0
    }

    /// Nothing comes at the moment: what was taken for a burst is given back.
    pub(crate) fn shrink(&mut self) {
        if self.is_empty() {
            *self = Self::default();
        }
    }
}

/// Lengths only: a handshake may have a password, and what was sealed is opened here.
impl fmt::Debug for Ahead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.end - self.at)
    }
}
