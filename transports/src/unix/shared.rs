//! One copy of a message for many unix receivers.

use std::os::unix::net::UnixStream;
use std::sync::Arc;

use numpush_message::{Backing, Buffer, Encoder, Flags, Limits, Message, Stability};
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

    /// The same message in memory that `receivers` map: its plain bytes are copied here, once. `None` if that saves nothing, or
    /// if memory is short.
    ///
    /// Whoever still reads it holds it. A receiver that never lets go of it holds this one message, until its connection ends.
    /// The memory of one whose connection has ended, which `is_there` says, is not written again: its program may still read it.
    pub(crate) fn copy(
        &mut self,
        message: &Message<'_>,
        receivers: Vec<K>,
        is_there: impl Fn(&K) -> bool,
    ) -> Option<Message<'static>> {
        let has_large = message.buffers().any(|one| one.len() as u64 >= SMALL);
        // Memory that has a descriptor goes without any copy, and that of a parent is not a child's to write.
        let has_descriptor = message.buffers().any(|one| one.backing().is_some());
        if !has_large || has_descriptor || self.forks != os::forks() {
            return None;
        }
        let mut encoder = Encoder::new(message, Flags::default()).ok()?;
        let len = usize::try_from(encoder.preamble().record_len()).ok()?;
        self.slots
            .retain(|slot| slot.receivers.iter().all(&is_there));
        let slot = self.slot(len)?;
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
    fn slot(&mut self, len: usize) -> Option<&mut Slot<K>> {
        let fits = |slot: &Slot<K>| {
            let size = slot.memory.len();
            size >= len && size / 4 <= len.max(GRAIN) && !slot.memory.is_borrowed()
        };
        if let Some(at) = self.slots.iter().position(fits) {
            // The last used comes first: it is still in the cache.
            let slot = self.slots.remove(at);
            self.slots.insert(0, slot);
        } else {
            let slot = Slot::new(len.checked_next_multiple_of(GRAIN)?, self.user?)?;
            self.slots.insert(0, slot);
        }
        let mut idle = 0;
        self.slots.retain(|slot| {
            idle += usize::from(!slot.memory.is_borrowed());
            slot.memory.is_borrowed() || idle <= IDLE
        });
        self.slots.first_mut()
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

    fn file(message: &Message<'_>) -> *const std::os::fd::OwnedFd {
        Arc::as_ptr(&message.as_bytes().unwrap().backing().unwrap().file)
    }

    #[test]
    fn memory_is_written_again_when_nobody_reads_it() {
        let mut copies = SharedCopies::new();
        let mut copy = |len| copies.copy(&plain(len), vec![1, 2], |_| true).unwrap();
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
        let first = copies.copy(&plain(GRAIN), vec![1, 2], |_| true).unwrap();
        let memory = Arc::downgrade(&first.as_bytes().unwrap().backing().unwrap().file);
        drop(first);
        assert_eq!(memory.strong_count(), 1);
        let second = copies.copy(&plain(GRAIN), vec![1], |&key| key == 1);
        assert_eq!(memory.strong_count(), 0, "it was removed");
        assert!(second.unwrap() == plain(GRAIN));
    }

    #[test]
    fn only_plain_bytes_are_copied_for_many() {
        let mut copies = SharedCopies::new();
        assert!(copies.copy(&plain(1000), vec![1], |_| true).is_none());
        let copy = copies.copy(&plain(GRAIN), vec![1], |_| true).unwrap();
        assert!(copies.copy(&copy, vec![1], |_| true).is_none());
    }
}
