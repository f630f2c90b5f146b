//! What the peer may read of our memory, and until when.
//!
//! A plan takes what it needs here and changes nothing that the peer would have to know; its commit does. What is to be
//! forgotten stays noted until it was told.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use numpush_message::{Buffer, Message, Reference, Stability};

use super::known::Known;
use super::pool::{Pool, Run, SEGMENT_FROM, room};
use crate::socket::{Announcement, Plan, Terms, Ticket, Way, has_file};
use crate::transfer::PathReason;

/// Our segments and descriptors that the peer has mapped, and which messages still use them.
pub(crate) struct Lender {
    /// Segments of ours for plain memory.
    pool: Pool,
    /// Other memory, of the user.
    known: Known,
    /// Bytes that the other memory may have in all.
    known_budget: u64,
    /// Bytes that its segments for plain memory may have in all.
    budget: u64,
    /// The peer may map memory that its owner writes again: it could read more of it than a message shows.
    shows_held: bool,
    /// Number of the last segment.
    last_segment: u32,
    /// Segments that the peer has, and that are gone here.
    forgets: Vec<u32>,
    /// What each message lends, by its number.
    lent: HashMap<u64, Loan>,
    /// Number of the last message.
    sent: u64,
    /// The plan that is neither committed nor dropped, as far as we know.
    pending: Option<Pending>,
    /// What was lent, and is to be dropped where no lock is held.
    returned: Vec<Buffer<'static>>,
}

struct Pending {
    ticket: Weak<()>,
    loan: Loan,
}

/// What one message lends.
#[derive(Default)]
struct Loan {
    run: Option<Run>,
    /// Memory of the user, each once.
    known: Vec<u32>,
    /// They keep that memory as it is.
    held: Vec<Buffer<'static>>,
}

/// A message by reference.
struct Referral {
    references: Vec<Reference>,
    copied: u64,
    loan: Loan,
}

/// Segments up to this many bytes in all are made without a wait for others to come back: the sender fills one part while
/// the receiver reads another. What is used again soon is still in the cache of the processor: messages of 1 MiB went at
/// 20 GB/s through 2 MiB, at 6 through 8 MiB and at 4 through 32 MiB.
const PIPELINE: usize = 2 << 20;

/// To make, map and clear a byte of a segment takes both sides about so long.
const MAKING: Duration = Duration::from_nanos(1);

/// The peer may have so many bytes of the user's memory mapped for each of the segments' budget. They cost it page tables.
const KNOWN_PER_BUDGET: u64 = 4;

/// Of the segments that the peer keeps, this part, and at most so many, are left for plain memory.
const PLAIN_PART: usize = 4;
const PLAIN_MOST: usize = 16;

impl Lender {
    /// A lender to a peer that is of our user, or is not.
    pub(super) fn new(budget: u64, same_user: bool) -> Self {
        Self {
            pool: Pool::new(budget),
            known: Known::default(),
            budget,
            known_budget: budget.saturating_mul(KNOWN_PER_BUDGET),
            shows_held: same_user,
            last_segment: 0,
            forgets: Vec::new(),
            lent: HashMap::new(),
            sent: 0,
            pending: None,
            returned: Vec::new(),
        }
    }

    /// How long it pays to wait for memory to come back before `message` is planned: as long as it takes to make more, if that
    /// can be made.
    pub(super) fn release_wait(&mut self, message: &Message<'_>, terms: Terms) -> Option<Duration> {
        // Most messages are small, and need no memory.
        if message.payload_len() < SEGMENT_FROM as u64 {
            return None;
        }
        self.settle();
        let plain = self.plain_len(message);
        if plain < SEGMENT_FROM || self.pool.taken() == 0 || self.pool.has(plain) {
            return None;
        }
        if self.pool.total() + plain <= PIPELINE {
            return None;
        }
        let others = self.pool.announced() + self.known.announced();
        let can_go = self.pool.unused() + self.known.count_idle(&[]);
        if others as u64 >= terms.segments.min(terms.descriptors).into() && can_go == 0 {
            return None;
        }
        // It may come back sooner than more is made. Each segment is as long as all before it, so a receiver that keeps
        // what it gets makes the sender wait in vain a few times, and for as long as that takes anyway.
        let growth = u32::try_from(self.pool.growth(plain)?).unwrap_or(u32::MAX);
        Some(MAKING * growth)
    }

    /// Copies the plain buffers of a message into a segment, and refers to that and to the others' descriptors; or decides
    /// that the message is written.
    pub(super) fn plan(&mut self, message: &Message<'_>, terms: Terms) -> Plan {
        self.settle();
        if self.pending.is_some() {
            return Plan::new(Way::Write(PathReason::SegmentsHeld));
        }
        self.sweep();
        let (way, ticket, new) = match self.refer(message, terms) {
            Err(reason) => (Way::Write(reason), None, Vec::new()),
            Ok(referral) => self.promise(referral),
        };
        let forget = |&segment: &u32| Announcement {
            segment,
            descriptor: None,
        };
        Plan {
            way,
            announce: self.forgets.iter().map(forget).chain(new).collect(),
            ticket,
        }
    }

    /// Records that message `id` went as planned.
    pub(super) fn commit(&mut self, plan: &Plan, id: u64) {
        self.sent = id;
        for announcement in &plan.announce {
            self.announced(announcement);
        }
        let is_it = |pending: &mut Pending| {
            let ticket = plan.ticket.as_ref().map(Arc::downgrade);
            ticket.is_some_and(|ticket| ticket.ptr_eq(&pending.ticket))
        };
        if let Some(Pending { loan, .. }) = self.pending.take_if(is_it) {
            for &segment in &loan.known {
                self.known.lend(segment);
            }
            self.lent.insert(id, loan);
        }
    }

    /// Records that the peer was told of a segment, or to forget one.
    pub(super) fn announced(&mut self, announcement: &Announcement) {
        let segment = announcement.segment;
        if announcement.descriptor.is_none() {
            self.forgets.retain(|&owed| owed != segment);
            return;
        }
        self.pool.set_announced(segment);
        self.known.set_announced(segment);
    }

    /// Segments that the peer is to forget. They count as told.
    pub(super) fn take_forgets(&mut self) -> Vec<u32> {
        self.settle();
        if self.pending.is_some() {
            return Vec::new();
        }
        self.sweep();
        std::mem::take(&mut self.forgets)
    }

    /// Bytes of plain memory that the peer may have mapped, in memory of any kind; 0 if it may not see memory that is written
    /// again.
    pub(super) fn lends(&self) -> u64 {
        if self.shows_held { self.budget } else { 0 }
    }

    /// The peer has let go of what message `id` lent it.
    pub(super) fn released(&mut self, id: u64) -> Result<(), &'static str> {
        if id == 0 || id > self.sent {
            return Err("it releases a message that was never sent");
        }
        if let Some(loan) = self.lent.remove(&id) {
            for &segment in &loan.known {
                self.known.release(segment);
            }
            self.undo(loan);
        }
        Ok(())
    }

    /// What is lent no longer since the last call.
    pub(super) fn take_returned(&mut self) -> Vec<Buffer<'static>> {
        std::mem::take(&mut self.returned)
    }

    /// Undoes a plan that was dropped.
    fn settle(&mut self) {
        let dropped = |pending: &mut Pending| pending.ticket.strong_count() == 0;
        if let Some(Pending { loan, .. }) = self.pending.take_if(dropped) {
            self.undo(loan);
        }
    }

    fn undo(&mut self, mut loan: Loan) {
        if let Some(run) = &loan.run {
            self.pool.give(run);
        }
        self.returned.append(&mut loan.held);
    }

    /// Notes what the peer has for nothing.
    fn sweep(&mut self) {
        self.forgets.extend(self.known.sweep());
        self.forgets.extend(self.pool.shrink());
    }

    /// Keeps what a referral has taken, until its plan is gone.
    fn promise(&mut self, referral: Referral) -> (Way, Option<Ticket>, Vec<Announcement>) {
        let ticket = Ticket::default();
        let Referral {
            references,
            copied,
            loan,
        } = referral;
        let own = loan.run.iter().map(|run| run.segment);
        let own = own.filter_map(|segment| Some((segment, self.pool.unannounced(segment)?)));
        let known = loan.known.iter();
        let known = known.filter_map(|&segment| Some((segment, self.known.unannounced(segment)?)));
        let new = own
            .chain(known)
            .map(|(segment, descriptor)| Announcement {
                segment,
                descriptor: Some(descriptor),
            })
            .collect();
        self.pending = Some(Pending {
            ticket: Arc::downgrade(&ticket),
            loan,
        });
        (Way::Refer { references, copied }, Some(ticket), new)
    }

    /// Takes what a message by reference needs, or says why it is written.
    fn refer(&mut self, message: &Message<'_>, terms: Terms) -> Result<Referral, PathReason> {
        if terms.checksums {
            return Err(PathReason::PlainMemory);
        }
        let limit = terms.segments.min(terms.descriptors);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        if limit == 0 {
            return Err(PathReason::OnlyWay);
        }
        if message.payload_len() < SEGMENT_FROM as u64 {
            return Err(PathReason::Small);
        }
        let places: Vec<Option<u32>> = message
            .buffers()
            .map(|buffer| self.segment_of(buffer))
            .collect();
        let by_reference = message.buffers().zip(&places);
        let by_reference = by_reference.filter(|(_, place)| place.is_some());
        let held = by_reference.map(|(buffer, _)| buffer.clone().into_owned_or_copy());
        let mut loan = Loan {
            run: None,
            known: places.iter().flatten().copied().collect(),
            held: held.collect(),
        };
        loan.known.sort_unstable();
        loan.known.dedup();
        let buffers = message.buffers().zip(&places);
        let plain = || {
            let plain = buffers.clone().filter(|(_, place)| place.is_none());
            plain.map(|(buffer, _)| buffer)
        };
        let len = plain().map(room).sum();
        if len > 0 {
            loan.run = self.pool.take(len);
        }
        if let Err(reason) = self.make_room(&mut loan, len, limit) {
            self.undo(loan);
            return Err(reason);
        }
        if let Some(run) = &loan.run
            && let Err(error) = self.pool.fill(run, plain())
        {
            self.undo(loan);
            return Err(match error.kind() {
                // A peer in this process reads what it has released.
                std::io::ErrorKind::ResourceBusy => PathReason::SegmentsHeld,
                _ => PathReason::NoSegment,
            });
        }
        let mut at = loan.run.as_ref().map_or(0, |run| run.range.start as u64);
        let reference = |(buffer, place): (&Buffer<'_>, &Option<u32>)| {
            let (segment, offset) = match (place, buffer.backing(), &loan.run) {
                (Some(segment), Some(backing), _) => (*segment, backing.offset),
                (None, _, Some(run)) if !buffer.is_empty() => {
                    let offset = at;
                    at += room(buffer) as u64;
                    (run.segment, offset)
                }
                // No bytes: no segment has this number.
                _ => (0, 0),
            };
            Reference { segment, offset }
        };
        let references = buffers.clone().map(reference).collect();
        let copied = plain().map(|buffer| buffer.len() as u64).sum();
        Ok(Referral {
            references,
            copied,
            loan,
        })
    }

    /// Sees to it that the peer can have all segments of a message, and that there is one for its `len` plain bytes. What
    /// the message itself uses is not forgotten.
    fn make_room(&mut self, loan: &mut Loan, len: usize, limit: usize) -> Result<(), PathReason> {
        let makes_one = len > 0 && loan.run.is_none();
        if makes_one {
            self.forgets.extend(self.pool.make_room(len));
        }
        let own = loan.run.as_ref().map(|run| run.segment);
        let is_new = |segment: u32| self.pool.unannounced(segment).is_some();
        let new_own = usize::from(makes_one || own.is_some_and(is_new));
        let known = loan.known.iter();
        let new_known = known
            .filter(|&&segment| self.known.unannounced(segment).is_some())
            .count();
        let (own, known) = (
            self.pool.announced() + new_own,
            self.known.announced() + new_known,
        );
        let left_for_plain = (limit / PLAIN_PART).min(PLAIN_MOST);
        let over = (own + known).saturating_sub(limit);
        let known_over = known.saturating_sub(limit - left_for_plain);
        let (idle, unused) = (self.known.count_idle(&loan.known), self.pool.unused());
        if idle < known_over || idle + unused < over {
            return Err(PathReason::SegmentsHeld);
        }
        let over_budget = self.known.over(self.known_budget, &loan.known);
        let evicted = over.max(known_over).max(over_budget).min(idle);
        self.forgets.extend(self.known.evict(evicted, &loan.known));
        let rest = over.saturating_sub(evicted);
        self.forgets.extend(self.pool.remove_unused(rest));
        if makes_one {
            let number = self.new_number();
            self.pool.grow(number, len)?;
            loan.run = self.pool.take(len);
        }
        Ok(())
    }

    /// The number of the user's memory that a buffer lies in, if the peer may map that.
    fn segment_of(&mut self, buffer: &Buffer<'_>) -> Option<u32> {
        let backing = buffer.backing().filter(|_| self.by_reference(buffer))?;
        if !self.known.contains_memory(backing) {
            let number = self.new_number();
            self.known.add(backing, number);
        }
        self.known.segment(backing, buffer.len())
    }

    /// A number that no segment of ours has at the peer.
    fn new_number(&mut self) -> u32 {
        loop {
            self.last_segment = self.last_segment.wrapping_add(1).max(1);
            let number = self.last_segment;
            let is_used = self.pool.contains(number)
                || self.known.contains(number)
                || self.forgets.contains(&number);
            if !is_used {
                return number;
            }
        }
    }

    /// Bytes that have to be copied into a segment.
    fn plain_len(&self, message: &Message<'_>) -> usize {
        let plain = message
            .buffers()
            .filter(|buffer| !self.by_reference(buffer));
        plain.map(room).sum()
    }

    /// True for buffers in memory that has a descriptor. A file cannot be mapped by the peer: it could shrink.
    fn by_reference(&self, buffer: &Buffer<'_>) -> bool {
        let stability = buffer.backing().map(|backing| backing.stability);
        let may_be_mapped = match stability {
            Some(Stability::Sealed) => true,
            Some(Stability::Held) => self.shows_held,
            _ => false,
        };
        may_be_mapped && has_file(buffer) && !buffer.is_borrowed()
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
