//! Room for what the peer sends, of the budgets of the listener and of the process.

use numpush_message::{AllocError, Preamble};
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
    /// Once nothing more comes: messages within the promise that no call has returned, and their charges.
    left: Option<Vec<(u64, u64)>>,
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
            left: None,
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

    /// How many bytes may be read now. With `copies` what lies in memory of the peer is to be copied.
    pub(super) fn cover<D>(
        &mut self,
        session: &mut Inbound<D>,
        copies: bool,
    ) -> Result<usize, Fault> {
        self.is_short = false;
        // What is no larger is read with other records, and every connection has room for it.
        let Some(charge) = session.beyond_credit().filter(|&charge| charge > LEAST) else {
            return Ok(usize::MAX);
        };
        // What the header becomes is there as soon as the header is; a copy is there in the end.
        let (beside, copy) = session.at_hand().map_or((0, 0), |preamble| {
            let is_copied = copies && preamble.flags.references;
            let beside = preamble.charge().saturating_sub(preamble.record_len());
            (beside, if is_copied { preamble.payload_len } else { 0 })
        });
        let come = session.come();
        let needs = come.saturating_add(1).saturating_add(beside);
        let covered = self
            .claim(session.last_begun(), charge.saturating_add(copy), needs)
            .map_err(|error| session.no_room(error))?;
        let left = covered.saturating_sub(beside).saturating_sub(come);
        Ok(usize::try_from(left).unwrap_or(usize::MAX))
    }

    /// Room for `bytes` of message `id` that are to be copied out of memory of the peer, beside what it has already.
    pub(super) fn cover_copy(&mut self, id: u64, bytes: u64) -> Result<(), AllocError> {
        let claim = self.claims.iter().find(|(claimed, _)| *claimed == id);
        let mut total = claim.map_or(0, |(_, claim)| claim.total());
        if total < bytes {
            // It does not hold more while it waits for more than it said.
            self.claims.retain(|(claimed, _)| *claimed != id);
            total = bytes;
        }
        self.claim(id, total, total).map(|_| ())
    }

    /// Message `id` has come, and only the program can make its room free.
    pub(super) fn is_whole(&self, id: u64) {
        let claim = self.claims.iter().find(|(claimed, _)| *claimed == id);
        if let Some((_, claim)) = claim {
            claim.is_whole();
        }
    }

    /// A call has returned message `id`, or it is skipped: its room is free, and the promise is looked at anew if the peer has
    /// sent much since.
    pub(super) fn taken<D>(&mut self, id: u64, session: &mut Inbound<D>) {
        self.claims.retain(|(claimed, _)| *claimed != id);
        if let Some(left) = &mut self.left {
            left.retain(|(waiting, _)| *waiting != id);
            return self.promise.shrink(sum(left));
        }
        let taken = session.taken_bytes();
        if taken - self.renewed >= self.promise.bytes() / 2 {
            self.renewed = taken;
            let promise = self.promise.renew(session.promised());
            session.promise(promise);
        }
    }

    /// Nothing more comes: only what is `waiting` for its program keeps its room.
    pub(super) fn end<'p>(&mut self, waiting: impl Iterator<Item = &'p Preamble> + Clone) {
        self.claims
            .retain(|(id, _)| waiting.clone().any(|preamble| preamble.id == *id));
        let is_claimed = |id| self.claims.iter().any(|(claimed, _)| *claimed == id);
        let left = waiting.filter(|preamble| !is_claimed(preamble.id));
        let left: Vec<_> = left
            .map(|preamble| (preamble.id, preamble.charge()))
            .collect();
        self.promise.shrink(sum(&left));
        self.left = Some(left);
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

fn sum(charges: &[(u64, u64)]) -> u64 {
    charges.iter().map(|(_, charge)| charge).sum()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use numpush_message::{Buffer, Encoder, Flags, HeapAllocator, Hello, Message, Stamp};
    use numpush_session::Config;

    use super::*;

    const MIB: u64 = 1 << 20;

    /// A payload in memory of another user's process was within the claim of its record, however small that was.
    #[test]
    fn a_copy_takes_its_own_bytes_beside_its_record() {
        let budget = Budget::new().max_bytes(64 * MIB);
        let mut room = Room::new(&budget, 0);
        room.claim(1, MIB, MIB).unwrap();
        room.cover_copy(1, 20 * MIB).unwrap();
        assert_eq!((room.bytes(), budget.bytes()), (20 * MIB, 20 * MIB));
        // What was foreseen when the record began is taken whole.
        room.claim(2, 11 * MIB, 1).unwrap();
        room.cover_copy(2, 10 * MIB).unwrap();
        assert_eq!(budget.bytes(), 31 * MIB);
        let error = room.cover_copy(3, 20 * MIB).unwrap_err();
        assert!(!error.is_permanent() && room.was_short(), "{error}");
        drop(room);
        assert_eq!(budget.bytes(), 0);
    }

    /// A header becomes 32 times what it was, and only its bytes were claimed.
    #[test]
    fn a_header_is_covered_with_what_it_becomes() {
        let budget = Budget::new().max_bytes(64 * MIB);
        let mut hello = Hello::new(MIB);
        hello.credit = 1000;
        let mut room = Room::new(&budget, 0);
        let mut session: Inbound<u32> = Inbound::new(&Config::new(hello.clone()));
        let message = Message::new(Buffer::from(vec![7; 100_000]));
        let message = message.with_attribute("long", "x".repeat(60_000));
        let mut encoder = Encoder::new(&message, Flags::default()).unwrap();
        encoder.stamp(Stamp {
            id: 1,
            ..Stamp::default()
        });
        let record = encoder.copy_rest();
        let mut heap = HeapAllocator::new();
        let mut feed = |session: &mut Inbound<u32>, mut bytes: &[u8]| {
            while !bytes.is_empty() {
                let spare = session.spare().unwrap();
                let count = spare.len().min(bytes.len());
                spare[..count].copy_from_slice(&bytes[..count]);
                bytes = &bytes[count..];
                session
                    .filled(count, None, Instant::now(), &mut heap)
                    .unwrap();
                while session.next(&mut heap).unwrap().is_some() {}
            }
        };
        feed(&mut session, &hello.encode());
        feed(&mut session, &record[..70_000]);
        let most = room.cover(&mut session, false).unwrap();
        assert!(most > 0);
        assert!(budget.bytes() > 60_000 * 32 + 70_000, "{}", budget.bytes());
        // All of it in the end, to the last byte and no further.
        feed(&mut session, &record[70_000..record.len() - 1]);
        assert_eq!(room.cover(&mut session, false), Ok(1));
        let charge = session.beyond_credit().unwrap();
        assert_eq!(budget.bytes(), charge);
    }

    /// A connection that is dead kept all that it had until it was dropped.
    #[test]
    fn at_the_end_only_what_waits_keeps_its_room() {
        let budget = Budget::new().max_bytes(64 * MIB);
        let mut room = Room::new(&budget, MIB);
        let mut session: Inbound<u32> = Inbound::new(&Config::new(Hello::new(MIB)));
        room.claim(3, 3 * MIB, 3 * MIB).unwrap();
        room.claim(4, 20 * MIB, 5 * MIB).unwrap();
        let preambles = [1, 2, 3].map(|id| {
            let message = Message::new(Buffer::from(vec![7; 1000]));
            let mut encoder = Encoder::new(&message, Flags::default()).unwrap();
            encoder.stamp(Stamp {
                id,
                ..Stamp::default()
            });
            *encoder.preamble()
        });
        let charge = preambles[0].charge();
        room.end(preambles.iter());
        assert_eq!(budget.bytes(), 2 * charge + 3 * MIB);
        room.taken(1, &mut session);
        assert_eq!(budget.bytes(), charge + 3 * MIB);
        room.taken(3, &mut session);
        room.taken(2, &mut session);
        assert_eq!(budget.bytes(), 0);
    }
}
