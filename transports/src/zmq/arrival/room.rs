//! Room for what comes, in the budget.

use numpush_message::{AllocError, PREAMBLE_LEN, Preamble};

use crate::budget::{Budget, Claim, LEAST};

/// What the messages of a peer have of the budget.
pub(super) struct Rooms {
    budget: Budget,
    /// Room for the message at hand, or for the raw frame. A small one needs none.
    room: Option<Room>,
    /// Room for the raw frames before that.
    held: Vec<Room>,
    /// Others had it when it was looked for last.
    is_short: bool,
}

struct Room {
    claim: Claim,
    /// What its header becomes, which is there as soon as the header is.
    beside: u64,
    /// Bytes of it that have come.
    come: u64,
}

impl Rooms {
    pub(super) fn new(budget: &Budget) -> Self {
        Self {
            budget: budget.clone(),
            room: None,
            held: Vec::new(),
            is_short: false,
        }
    }

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

    /// So many bytes of the message have come.
    pub(super) fn came(&mut self, count: usize) {
        if let Some(room) = &mut self.room {
            room.come += count as u64;
        }
    }

    /// True if the last look found no room because other messages have it.
    pub(super) fn is_short(&self) -> bool {
        self.is_short
    }

    /// Looks for room for a message that is not small, once its preamble says how large it is, and `come` bytes have come.
    pub(super) fn claim(&mut self, first: &[u8; PREAMBLE_LEN], come: usize) {
        let charge = Preamble::decode(first).map(|it| (it.charge(), it.record_len()));
        let (total, record) = charge.unwrap_or_default();
        if total > LEAST && self.room.is_none() {
            self.room = Some(Room {
                claim: self.budget.claim(total),
                beside: total.saturating_sub(record),
                come: come as u64,
            });
        }
    }

    /// Looks for room for a raw frame of `len` bytes, of which `come` have come, unless the `total` of it and those before it is
    /// small.
    pub(super) fn claim_frame(&mut self, total: u64, len: u64, come: u64) {
        self.held.extend(self.room.take());
        self.room = (total > LEAST).then(|| Room {
            claim: self.budget.claim(len),
            beside: 0,
            come,
        });
    }

    /// The message has come, or passes by.
    pub(super) fn leave(&mut self) {
        self.room = None;
        self.held.clear();
    }
}
