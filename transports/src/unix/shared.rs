//! One copy of a message for many unix receivers.

use std::os::unix::net::UnixStream;
use std::sync::Arc;

use numpush_message::{Backing, Buffer, Flags, Limits, Message, Prepared, Stability, Stamp};
use numpush_os::{self as os, LentMemory, Memfd, PeerMapping, SameUser};

use crate::socket::SMALL;

/// Memory for messages that many receivers read, each known by a `K`.
pub(crate) struct SharedCopies<K> {
    slots: Vec<Slot<K>>,
    user: Option<SameUser>,
    forks: u32,
}

/// Memory for one message. It is written again when nobody reads it, here or there.
struct Slot<K> {
    memory: LentMemory,
    /// What this side reads of it.
    mapping: Arc<PeerMapping>,
    /// Who may have got the message in it.
    receivers: Vec<K>,
    /// One of them has gone, and may read it for ever.
    is_void: bool,
}

/// So many slots are kept that no message lies in.
const IDLE: usize = 2;

/// Slots are a multiple of this long.
const GRAIN: usize = 1 << 20;

impl<K> SharedCopies<K> {
    pub(crate) fn new() -> Self {
        os::watch_forks();
        let pair = UnixStream::pair().and_then(|(one, _other)| os::peer_credentials(&one));
        Self {
            slots: Vec::new(),
            user: pair.ok().and_then(|credentials| credentials.same_user()),
            forks: os::forks(),
        }
    }

    /// True if a copy of the message for all of its receivers saves a copy for each.
    pub(crate) fn suits(&self, message: &Message<'_>) -> bool {
        let has_large = message.buffers().any(|one| one.len() as u64 >= SMALL);
        // Memory that has a descriptor goes without any copy, and that of a parent is not a child's to write.
        let has_descriptor = message.buffers().any(|one| one.backing().is_some());
        has_large && !has_descriptor && self.forks == os::forks()
    }

    /// The same message in memory that `receivers` map: its plain bytes are copied here, once. `None` if memory is short.
    ///
    /// Whoever still reads it holds it. A receiver that never lets go of it holds this one message, until its connection ends.
    /// The memory of one whose connection has ended, which `is_there` says, is not written again: its program may still read it.
    ///
    /// All memory of these copies together has at most `budget` bytes, that which receivers hold among it.
    pub(crate) fn copy(
        &mut self,
        prepared: &Prepared<'_>,
        receivers: Vec<K>,
        budget: u64,
        is_there: impl Fn(&K) -> bool,
    ) -> Option<Message<'static>> {
        let mut encoder = prepared.encoder(Flags::default());
        encoder.stamp(Stamp::default());
        let len = usize::try_from(encoder.preamble().record_len()).ok()?;
        self.slots.retain_mut(|slot| {
            slot.is_void |= !slot.receivers.iter().all(&is_there);
            // Those who are there may still have it, so that it counts.
            !slot.is_void || slot.memory.is_borrowed()
        });
        let slot = self.slot(len, budget)?;
        slot.receivers = receivers;
        let mut bytes = slot.memory.write(0..len).ok()?;
        let mut rest = &mut bytes[..];
        while let Some(next) = encoder.next() {
            let count = next.bytes.len();
            let (place, after) = rest.split_at_mut_checked(count)?;
            place.copy_from_slice(next.bytes);
            rest = after;
            encoder.advance(count);
        }
        drop(bytes);
        let record = Buffer::from_owner(slot.mapping.lend(0..len).ok()?);
        let record = record.with_backing(Backing {
            file: Arc::clone(slot.memory.descriptor()),
            offset: 0,
            stability: Stability::Held,
        });
        let limits = Limits::default().with_payload(u64::MAX);
        Message::open(&record, &limits).ok()
    }

    /// A slot of at least `len` bytes that nobody reads.
    fn slot(&mut self, len: usize, budget: u64) -> Option<&mut Slot<K>> {
        let fits = |slot: &Slot<K>| {
            let size = slot.memory.len();
            !slot.is_void && size >= len && size / 4 <= len.max(GRAIN) && !slot.memory.is_borrowed()
        };
        if let Some(at) = self.slots.iter().position(fits) {
            // The last used comes first: it is still in the cache.
            let slot = self.slots.remove(at);
            self.slots.insert(0, slot);
        } else {
            let len = len.checked_next_multiple_of(GRAIN)?;
            if len as u64 > budget {
                return None;
            }
            if self.bytes().saturating_add(len as u64) > budget {
                self.slots.retain(|slot| slot.memory.is_borrowed());
            }
            if self.bytes().saturating_add(len as u64) > budget {
                return None;
            }
            let slot = Slot::new(len, self.user?)?;
            self.slots.insert(0, slot);
        }
        let mut idle = 0;
        self.slots.retain(|slot| {
            idle += usize::from(!slot.memory.is_borrowed());
            slot.memory.is_borrowed() || idle <= IDLE
        });
        self.slots.first_mut()
    }

    /// Bytes of all slots.
    fn bytes(&self) -> u64 {
        self.slots.iter().map(|slot| slot.memory.len() as u64).sum()
    }
}

impl<K> Slot<K> {
    fn new(len: usize, user: SameUser) -> Option<Self> {
        let mut memory = Memfd::new(len).and_then(Memfd::lend).ok()?;
        memory.populate(0..len).ok()?;
        let mapping = PeerMapping::new(memory.descriptor(), &user).ok()?;
        mapping.populate().ok()?;
        let receivers = Vec::new();
        Some(Self {
            memory,
            mapping,
            receivers,
            is_void: false,
        })
    }
}

impl<K> std::fmt::Debug for SharedCopies<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedCopies")
            .field("slots", &self.slots.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(len: usize) -> Message<'static> {
        Message::new(Buffer::from(vec![7; len]))
    }

    fn copy_of(copies: &mut SharedCopies<i32>, message: &Message<'_>) -> Option<Message<'static>> {
        let prepared = Prepared::new(message).unwrap();
        copies.copy(&prepared, vec![1, 2], u64::MAX, |_| true)
    }

    fn file(message: &Message<'_>) -> *const std::os::fd::OwnedFd {
        Arc::as_ptr(&message.as_bytes().unwrap().backing().unwrap().file)
    }

    #[test]
    fn memory_is_written_again_when_nobody_reads_it() {
        let mut copies = SharedCopies::new();
        let mut copy = |len| copy_of(&mut copies, &plain(len)).unwrap();
        let first = copy(GRAIN);
        let place = file(&first);
        assert!(first == plain(GRAIN));
        // A receiver that lets go of nothing holds its own messages only.
        for _ in 0..10 {
            let other = copy(GRAIN);
            assert!(file(&other) != place);
        }
        assert!(first == plain(GRAIN));
        drop(first);
        let both = [0; 2].map(|_| copy(GRAIN));
        assert!(both.iter().any(|one| file(one) == place));
        drop(both);
        for len in [3 * GRAIN, 30 * GRAIN, 64 << 10] {
            assert!(copy(len) == plain(len));
        }
        assert!(copies.slots.len() <= IDLE);
    }

    /// Its program may still read what it has received, though nothing says so here any more.
    #[test]
    fn memory_of_a_receiver_that_is_gone_is_not_written_again() {
        let mut copies = SharedCopies::new();
        let first = copy_of(&mut copies, &plain(GRAIN)).unwrap();
        let memory = Arc::downgrade(&first.as_bytes().unwrap().backing().unwrap().file);
        drop(first);
        assert_eq!(memory.strong_count(), 1);
        let (message, is_there) = (plain(GRAIN), |&key: &i32| key == 1);
        let prepared = Prepared::new(&message).unwrap();
        let second = copies.copy(&prepared, vec![1], u64::MAX, is_there);
        assert_eq!(memory.strong_count(), 0, "it was removed");
        let second = second.unwrap();
        assert!(second == plain(GRAIN));
        // While another one has it, it counts.
        let third = copies.copy(&prepared, vec![2], u64::MAX, |&key| key == 2);
        assert_eq!((third.is_some(), copies.slots.len()), (true, 2));
        drop(second);
        let fourth = copies.copy(&prepared, vec![2], u64::MAX, |&key| key == 2);
        assert_eq!((fourth.is_some(), copies.slots.len()), (true, 2));
        drop((third, fourth));
    }

    #[test]
    fn only_plain_bytes_are_copied_for_many() {
        let mut copies = SharedCopies::new();
        assert!(!copies.suits(&plain(1000)));
        assert!(copies.suits(&plain(GRAIN)));
        let copy = copy_of(&mut copies, &plain(GRAIN)).unwrap();
        assert!(!copies.suits(&copy));
    }

    /// They were made without end, until a receiver had no more descriptors.
    #[test]
    fn receivers_that_keep_what_they_get_fill_a_budget_and_no_more() {
        let mut copies = SharedCopies::new();
        let message = plain(GRAIN);
        let prepared = Prepared::new(&message).unwrap();
        let budget = 8 * GRAIN as u64;
        let mut copy = || copies.copy(&prepared, vec![1, 2], budget, |_| true);
        // A record is longer than its payload, so that each takes two grains.
        let mut kept: Vec<_> = (0..4).map(|_| copy().unwrap()).collect();
        assert!(copy().is_none());
        drop(kept.pop());
        assert!(copy().is_some());
        // What nobody reads gives way to memory of another size.
        drop(kept);
        let large = plain(7 * GRAIN);
        let prepared = Prepared::new(&large).unwrap();
        let mut copy = |budget| copies.copy(&prepared, vec![1, 2], budget, |_| true);
        assert!(copy(budget).unwrap() == large);
        assert!(copies.bytes() <= budget);
    }
}
