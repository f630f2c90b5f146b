//! Room for what comes, in the budget.

use numpush_message::{AllocError, PREAMBLE_LEN, Preamble};

use crate::budget::{Claim, LEAST};
use crate::zmq::arrival::{Arrival, Stage};

/// What a message has of the budget.
pub(super) struct Room {
    claim: Claim,
    /// What its header becomes, which is there as soon as the header is.
    beside: u64,
    /// Bytes of it that have come.
    come: u64,
}

impl Arrival {
    /// Bytes of the message for which there is room in the budget, one at least.
    pub(super) fn covered(&mut self) -> Result<usize, AllocError> {
        self.is_short = false;
        let Some(room) = &mut self.room else {
            return Ok(usize::MAX);
        };
        let has = room.beside + room.come;
        let covered = room.claim.cover(has + 1);
        self.is_short = covered.as_ref().is_err_and(|error| !error.is_permanent());
        Ok(usize::try_from(covered?.saturating_sub(has)).unwrap_or(usize::MAX))
    }

    pub(super) fn came(&mut self, count: usize) {
        if let Some(room) = &mut self.room {
            room.come += count as u64;
        }
    }

    /// True if the last look found no room because other messages have it.
    pub(in crate::zmq) fn is_short(&self) -> bool {
        self.is_short
    }

    /// Looks for room for a raw frame of which `come` bytes have come, unless it and those before it are small.
    pub(super) fn claim_frame(&mut self, len: u64, come: u64) {
        let Stage::Raw(frames) = &self.stage else {
            return;
        };
        self.held.extend(self.room.take());
        self.room = (frames.total() > LEAST).then(|| Room {
            claim: self.budget.claim(len),
            beside: 0,
            come,
        });
    }

    pub(super) fn leave_room(&mut self) {
        self.room = None;
        self.held.clear();
    }

    /// Looks for room for a message that is not small, once its preamble says how large it is.
    pub(super) fn claim(&mut self, first: &[u8; PREAMBLE_LEN]) {
        let charge = Preamble::decode(first).map(|it| (it.charge(), it.record_len()));
        let (total, record) = charge.unwrap_or_default();
        if total > LEAST && self.room.is_none() {
            self.room = Some(Room {
                claim: self.budget.claim(total),
                beside: total.saturating_sub(record),
                come: self.gathered.len() as u64,
            });
        }
    }
}
