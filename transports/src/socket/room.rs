//! Room for what the peer sends, of the budgets of the listener and of the process.

use numpush_message::AllocError;
use numpush_session::{Fault, Inbound};

use crate::budget::{Budget, Claim, LEAST, Promise};

/// What one connection has of its budgets.
pub(super) struct Room {
    budget: Budget,
    promise: Promise,
    /// Bytes that the program had taken when the promise was made.
    renewed: u64,
    /// Messages that no call has returned and that are within no promise, by number.
    claims: Vec<(u64, Claim)>,
    is_short: bool,
}

impl Room {
    /// Room for a promise of `most` bytes, or less.
    pub(super) fn new(budget: &Budget, most: u64) -> Self {
        Self {
            budget: budget.clone(),
            promise: budget.promise(most),
            renewed: 0,
            claims: Vec::new(),
            is_short: false,
        }
    }

    /// Bytes that the peer may send before anything is received.
    pub(super) fn promised(&self) -> u64 {
        self.promise.bytes()
    }

    /// Bytes that the connection has.
    pub(super) fn bytes(&self) -> u64 {
        let claims = self.claims.iter().map(|(_, claim)| claim.covered());
        self.promise.bytes().saturating_add(claims.sum())
    }

    /// True if the last look found no room, and others can make some. It is said once.
    pub(super) fn was_short(&mut self) -> bool {
        std::mem::take(&mut self.is_short)
    }

    /// How many bytes may be read now.
    pub(super) fn cover<D>(&mut self, session: &mut Inbound<D>) -> Result<usize, Fault> {
        self.is_short = false;
        // What is no larger is read with other records, and every connection has room for it.
        let Some(total) = session.beyond_credit().filter(|&total| total > LEAST) else {
            return Ok(usize::MAX);
        };
        let come = session.come();
        let covered = self
            .claim(session.last_begun(), total, come.saturating_add(1))
            .map_err(|error| session.no_room(error))?;
        Ok(usize::try_from(covered.saturating_sub(come)).unwrap_or(usize::MAX))
    }

    /// Room for a message of `total` bytes that is to be copied out of memory of the peer.
    pub(super) fn cover_copy(&mut self, id: u64, total: u64) -> Result<(), AllocError> {
        self.claim(id, total, total).map(|_| ())
    }

    /// A call has returned message `id`, or it is skipped: its room is free, and the promise is looked at anew if the peer has
    /// sent much since.
    pub(super) fn taken<D>(&mut self, id: u64, session: &mut Inbound<D>) {
        self.claims.retain(|(claimed, _)| *claimed != id);
        let taken = session.taken_bytes();
        if taken - self.renewed >= self.promise.bytes() / 2 {
            self.renewed = taken;
            let promise = self.promise.renew(session.promised());
            session.promise(promise);
        }
    }

    fn claim(&mut self, id: u64, total: u64, bytes: u64) -> Result<u64, AllocError> {
        let at = self.claims.iter().position(|(claimed, _)| *claimed == id);
        let at = at.unwrap_or_else(|| {
            self.claims.push((id, self.budget.claim(total)));
            self.claims.len() - 1
        });
        let covered = self.claims[at].1.cover(bytes);
        self.is_short = covered.as_ref().is_err_and(|error| !error.is_permanent());
        covered
    }
}
