//! Records without a payload for us: control records, and messages of later versions, which are read and dropped.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::wire::error::DecodeError;
use crate::wire::preamble::{HeaderSum, PREAMBLE_LEN, Preamble};
use crate::wire::record::{Record, check_padding};

/// Bytes that are dropped are read in steps of this size.
const SKIP_STEP: usize = 64 << 10;

/// What follows from bytes that came.
#[expect(
    clippy::large_enum_variant,
    reason = "taken apart at once; a box would cost an allocation for each read"
)]
pub(super) enum Progress<S> {
    More(S),
    Done(Record),
}

/// The body of a control record and its padding.
pub(super) struct ControlStage {
    first: [u8; PREAMBLE_LEN],
    preamble: Preamble,
    bytes: Vec<u8>,
    filled: usize,
}

impl ControlStage {
    pub(super) fn preamble(&self) -> &Preamble {
        &self.preamble
    }

    pub(super) fn new(first: [u8; PREAMBLE_LEN], preamble: Preamble) -> Self {
        Self {
            first,
            preamble,
            bytes: vec![0; preamble.head_len()],
            filled: 0,
        }
    }

    pub(super) fn missing(&self) -> usize {
        self.bytes.len().saturating_sub(self.filled)
    }

    pub(super) fn spare(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.filled..).unwrap_or(&mut [])
    }

    pub(super) fn filled(mut self, count: usize) -> Result<Progress<Self>, DecodeError> {
        self.filled = self.filled.saturating_add(count);
        if self.filled < self.bytes.len() {
            return Ok(Progress::More(self));
        }
        let len = self.preamble.header_len as usize;
        let (body, padding) = self.bytes.split_at(len);
        Preamble::check_sum(&self.first, body)?;
        check_padding(padding, 0)?;
        self.bytes.truncate(len);
        Ok(Progress::Done(Record::Control(self.preamble, self.bytes)))
    }
}

/// A message that is dropped. Its header is checked against the sum, and nothing of it is kept.
pub(super) struct SkipStage {
    preamble: Preamble,
    /// Of the header, until it is checked.
    sum: Option<HeaderSum>,
    scratch: Vec<u8>,
    /// Header bytes that have not come.
    header_left: usize,
    /// All bytes that have not come.
    left: usize,
}

impl SkipStage {
    pub(super) fn preamble(&self) -> &Preamble {
        &self.preamble
    }

    pub(super) fn new(first: &[u8; PREAMBLE_LEN], preamble: Preamble) -> Self {
        let left = preamble.rest_len();
        Self {
            preamble,
            sum: Some(HeaderSum::new(first)),
            scratch: vec![0; left.min(SKIP_STEP)],
            header_left: preamble.header_len as usize,
            left,
        }
    }

    pub(super) fn missing(&self) -> usize {
        self.left
    }

    pub(super) fn spare(&mut self) -> &mut [u8] {
        let step = self.scratch.len().min(self.left);
        self.scratch.get_mut(..step).unwrap_or(&mut [])
    }

    pub(super) fn filled(mut self, count: usize) -> Result<Progress<Self>, DecodeError> {
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
        if self.left > 0 {
            return Ok(Progress::More(self));
        }
        Ok(Progress::Done(Record::Skipped(self.preamble)))
    }
}
