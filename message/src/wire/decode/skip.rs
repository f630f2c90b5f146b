//! Messages of later versions, which are read and dropped.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::wire::error::DecodeError;
use crate::wire::preamble::{HeaderSum, PREAMBLE_LEN, Preamble};

/// Bytes that are dropped are read in steps of this size.
const SKIP_STEP: usize = 64 << 10;

/// A message that is dropped. Its header is checked against the sum, and nothing of it is kept.
pub(super) struct SkipStage {
    /// Of the header, until it is checked.
    sum: Option<HeaderSum>,
    scratch: Vec<u8>,
    /// Header bytes that have not come.
    header_left: usize,
    /// All bytes that have not come.
    left: usize,
}

impl SkipStage {
    pub(super) fn new(first: &[u8; PREAMBLE_LEN], preamble: &Preamble) -> Self {
        let left = preamble.rest_len();
        Self {
            sum: Some(HeaderSum::new(first)),
            scratch: vec![0; left.min(SKIP_STEP)],
            header_left: preamble.header_len as usize,
            left,
        }
    }

    pub(super) fn spare(&mut self) -> &mut [u8] {
        let step = self.scratch.len().min(self.left);
        self.scratch.get_mut(..step).unwrap_or(&mut [])
    }

    /// Takes in `count` more bytes.
    pub(super) fn filled(&mut self, count: usize) -> Result<(), DecodeError> {
        let header = count.min(self.header_left);
        self.header_left = self.header_left.saturating_sub(header);
        self.left = self.left.saturating_sub(count);
        if let Some(sum) = &mut self.sum {
            sum.update(self.scratch.get(..header).unwrap_or(&[]));
            if self.header_left == 0 {
                sum.check()?;
                self.sum = None;
            }
        }
        Ok(())
    }
}
