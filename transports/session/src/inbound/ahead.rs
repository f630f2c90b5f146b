//! Bytes that came and are not decoded yet.

/// A read of this many bytes takes dozens of small messages at once. A payload that is longer is read in place.
pub(super) const AHEAD: usize = 16 << 10;

/// What a connection holds on which little or nothing comes: thousands of them must be cheap.
const LEAST: usize = 1 << 10;

/// Bytes that came and are not decoded yet.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    /// Empty until the first read: an idle connection holds no buffer.
    bytes: Vec<u8>,
    at: usize,
    end: usize,
    /// A read filled all of it: the next one may bring more.
    is_short: bool,
}

impl Ahead {
    pub(super) fn is_empty(&self) -> bool {
        self.at == self.end
    }

    /// The bytes that wait.
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(self.at..self.end).unwrap_or(&[])
    }

    /// Room for a read. What waits is moved to the front first if the room behind it is short.
    pub(super) fn spare(&mut self) -> &mut [u8] {
        if self.bytes.is_empty() {
            self.bytes = vec![0; LEAST];
        }
        if self.at == self.end {
            (self.at, self.end) = (0, 0);
        } else if self.bytes.len() - self.end < self.bytes.len() / 4 {
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
    pub(super) fn filled(&mut self, count: usize) {
        self.end = self.end.saturating_add(count).min(self.bytes.len());
        self.is_short |= self.end == self.bytes.len();
    }

    /// Nothing comes at the moment: what was taken for a burst is given back.
    pub(super) fn shrink(&mut self) {
        if self.is_empty() && self.bytes.len() > LEAST {
            *self = Self::default();
        }
    }

    /// Copies as much as there is to the front of `to`, and drops it here. Returns the number of bytes.
    pub(super) fn take(&mut self, to: &mut [u8]) -> usize {
        let bytes = self.bytes.get(self.at..self.end).unwrap_or(&[]);
        let count = bytes.len().min(to.len());
        if let (Some(to), Some(from)) = (to.get_mut(..count), bytes.get(..count)) {
            to.copy_from_slice(from);
        }
        self.at += count;
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_grows_with_a_burst_and_goes_when_it_is_over() {
        let mut ahead = Ahead::default();
        for _ in 0..8 {
            let count = ahead.spare().len();
            ahead.filled(count);
            ahead.take(&mut vec![0; AHEAD]);
        }
        assert_eq!(ahead.spare().len(), AHEAD);
        ahead.shrink();
        assert_eq!(ahead.spare().len(), LEAST);
    }

    #[test]
    fn bytes_come_out_as_they_went_in() {
        let mut ahead = Ahead::default();
        let (mut written, mut read) = (0u8, 0u8);
        let mut total = 0;
        for round in 0..2000usize {
            let count = (round * 37 % 900).min(ahead.spare().len());
            for byte in &mut ahead.spare()[..count] {
                *byte = written;
                written = written.wrapping_add(1);
            }
            ahead.filled(count);
            let mut out = vec![0; round * 53 % 1100];
            let count = ahead.take(&mut out);
            for &byte in &out[..count] {
                assert_eq!(byte, read);
                read = read.wrapping_add(1);
                total += 1;
            }
        }
        assert!(total > 500_000, "{total}");
    }
}
