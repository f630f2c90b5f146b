//! Sealed bytes that wait to be written.

/// Frames that are sealed for one peer, in the order of their numbers.
#[derive(Clone, Default)]
pub(crate) struct Sealed {
    bytes: Vec<u8>,
    /// Bytes that are written.
    at: usize,
}

impl Sealed {
    /// What is not written.
    pub(crate) fn rest(&self) -> &[u8] {
        self.bytes.get(self.at..).unwrap_or(&[])
    }

    /// Where more is appended.
    pub(crate) fn spare(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Reports that the next `count` bytes are written. Returns how many of them were there.
    pub(crate) fn advance(&mut self, count: usize) -> usize {
        let step = count.min(self.bytes.len() - self.at);
        self.at += step;
        if self.at == self.bytes.len() {
            *self = Self::default();
        }
        step
    }
}
