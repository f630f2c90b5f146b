//! Our segments, and what the peer holds of them.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use numpush_message::{ALIGNMENT, Buffer, Message, Reference, Stability};
use numpush_os::{LentMemory, Memfd};

use super::segment::to_usize;
use crate::socket::{Announcement, Plan, goes_by_file};
use crate::transfer::PathReason;

/// Our segments and descriptors that the peer has mapped, and which of its messages still use them.
pub(super) struct Lender {
    /// Bytes that the slots may have in all.
    budget: u64,
    next_segment: u32,
    /// Segments of ours for plain memory.
    slots: Vec<Slot>,
    /// Other descriptors that the peer has mapped, by address; each is held, so that no other gets its address.
    known: HashMap<usize, Known>,
    /// What each message lends, by its number.
    lent: HashMap<u64, Lent>,
}

/// A segment for plain memory.
struct Slot {
    memory: LentMemory,
    segment: u32,
    /// The peer has its descriptor.
    announced: bool,
    /// A message on its way, or at the peer, uses it.
    lent: bool,
}

impl Slot {
    /// True if nobody reads it: not the peer, by its word, and nobody in this process.
    fn is_free(&self) -> bool {
        !self.lent && !self.memory.is_borrowed()
    }
}

struct Known {
    segment: u32,
    last_used: u64,
    _descriptor: Arc<OwnedFd>,
}

#[derive(Default)]
struct Lent {
    slot: Option<u32>,
    _held: Vec<Buffer<'static>>,
}

/// Most descriptors of the user's own that the peer is asked to keep mapped.
const MAX_KNOWN: usize = 64;

/// Segments up to this many bytes in all are made without a wait for others to come back: two that take turns let the
/// sender fill one while the receiver reads the other.
const PIPELINE: usize = 32 << 20;

/// A segment is a multiple of this long, so that messages whose sizes vary a little can share it.
const GRAIN: usize = 1 << 20;

/// Plain messages from this size on are worth a segment; below, one write is faster.
const SEGMENT_FROM: u64 = 64 << 10;

impl Lender {
    pub(super) fn new(budget: u64) -> Self {
        Self {
            budget,
            next_segment: 1,
            slots: Vec::new(),
            known: HashMap::new(),
            lent: HashMap::new(),
        }
    }

    /// How long it pays to wait for a segment to come back before `message` is planned.
    pub(super) fn release_wait(&self, message: &Message<'_>) -> Option<Duration> {
        let plain = plain_len(message.buffers());
        if plain < to_usize(SEGMENT_FROM) || self.has_free(plain) {
            return None;
        }
        let used = self
            .slots
            .iter()
            .map(|slot| slot.memory.len())
            .sum::<usize>();
        // The first segment may come back sooner than a second one is made.
        (used > 0 && used + plain > PIPELINE).then(|| Duration::from_nanos(plain as u64))
    }

    /// Copies the plain buffers of message `id` into a segment, and refers to that and to the others' descriptors; or
    /// decides that the message is written.
    pub(super) fn plan(&mut self, message: &Message<'_>, id: u64, checksums: bool) -> Plan {
        let buffers: Vec<_> = message.buffers().collect();
        let plain = plain_len(message.buffers());
        if checksums
            || (plain < to_usize(SEGMENT_FROM)
                && !buffers.iter().any(|buffer| by_reference(buffer)))
        {
            return Plan::Write(if checksums {
                PathReason::PlainMemory
            } else {
                PathReason::Small
            });
        }
        let mut announce = Vec::new();
        let mut slot = None;
        if plain > 0 {
            match self.slot(plain, &mut announce) {
                Ok(index) => slot = Some(index),
                Err(reason) => return Plan::Write(reason),
            }
        }
        let mut references = Vec::with_capacity(buffers.len());
        let (mut at, mut copied, mut held) = (0, 0, Vec::new());
        for buffer in buffers {
            let backing = buffer.backing().filter(|_| by_reference(buffer));
            if let Some(backing) = backing {
                let segment = self.introduce(&backing.file, id, &mut announce);
                references.push(Reference {
                    segment,
                    offset: backing.offset,
                });
                held.push(buffer.clone().into_owned_or_copy());
            } else if let Some(slot) = slot.and_then(|index: usize| self.slots.get_mut(index))
                && let Ok(mut bytes) = slot.memory.write(at..at + buffer.len())
            {
                bytes.copy_from_slice(buffer);
                references.push(Reference {
                    segment: slot.segment,
                    offset: at as u64,
                });
                at += room(buffer);
                copied += buffer.len() as u64;
            } else {
                // No bytes, or a peer in this process that reads what was not lent to it: no segment has this number.
                references.push(Reference {
                    segment: 0,
                    offset: 0,
                });
            }
        }
        let slot = slot.and_then(|index| self.slots.get_mut(index));
        let slot = slot.map(|slot| {
            slot.lent = true;
            slot.segment
        });
        self.lent.insert(id, Lent { slot, _held: held });
        Plan::Refer {
            announce,
            references,
            copied,
        }
    }

    /// The peer has let go of what message `id` lent it.
    pub(super) fn released(&mut self, id: u64) {
        let Some(lent) = self.lent.remove(&id) else {
            return;
        };
        if let Some(slot) = self
            .slots
            .iter_mut()
            .find(|slot| Some(slot.segment) == lent.slot)
        {
            slot.lent = false;
        }
    }

    fn has_free(&self, len: usize) -> bool {
        self.slots
            .iter()
            .any(|slot| slot.is_free() && slot.memory.len() >= len)
    }

    /// A segment with room for `len` bytes that is not lent: one there is, or a new one within the budget.
    fn slot(&mut self, len: usize, announce: &mut Vec<Announcement>) -> Result<usize, PathReason> {
        let free = self
            .slots
            .iter()
            .enumerate()
            .filter(|(_, slot)| slot.is_free() && slot.memory.len() >= len);
        let index = match free.min_by_key(|(_, slot)| slot.memory.len()) {
            Some((index, _)) => index,
            None => self.add_slot(len.next_multiple_of(GRAIN), announce)?,
        };
        if let Some(slot) = self.slots.get_mut(index).filter(|slot| !slot.announced) {
            slot.announced = true;
            let descriptor = Some(Arc::clone(slot.memory.descriptor()));
            announce.push(Announcement {
                segment: slot.segment,
                descriptor,
            });
        }
        Ok(index)
    }

    fn add_slot(
        &mut self,
        len: usize,
        announce: &mut Vec<Announcement>,
    ) -> Result<usize, PathReason> {
        let lent = self.slots.iter().filter(|slot| slot.lent);
        let used: usize = lent.map(|slot| slot.memory.len()).sum();
        if (used + len) as u64 > self.budget {
            return Err(PathReason::SegmentsHeld);
        }
        // Free segments that were too small are removed: one of the right size replaces them.
        self.slots.retain(|slot| {
            if !slot.lent {
                announce.push(Announcement {
                    segment: slot.segment,
                    descriptor: None,
                });
            }
            slot.lent
        });
        let memory = Memfd::new(len).and_then(Memfd::lend);
        let mut memory = memory.map_err(|_| PathReason::NoSegment)?;
        let len = memory.len();
        memory.populate(0..len).map_err(|_| PathReason::NoSegment)?;
        self.slots.push(Slot {
            memory,
            segment: self.next_segment,
            announced: false,
            lent: false,
        });
        self.next_segment += 1;
        Ok(self.slots.len() - 1)
    }

    /// The segment number of a descriptor, announced if the peer does not know it.
    fn introduce(
        &mut self,
        descriptor: &Arc<OwnedFd>,
        id: u64,
        announce: &mut Vec<Announcement>,
    ) -> u32 {
        let address = Arc::as_ptr(descriptor).addr();
        if let Some(known) = self.known.get_mut(&address) {
            known.last_used = id;
            return known.segment;
        }
        if self.known.len() >= MAX_KNOWN {
            // The one not used for longest is forgotten; what is lent of it stays mapped at the peer.
            let oldest = self.known.iter().min_by_key(|(_, known)| known.last_used);
            if let Some(known) = oldest
                .map(|(&address, _)| address)
                .and_then(|oldest| self.known.remove(&oldest))
            {
                announce.push(Announcement {
                    segment: known.segment,
                    descriptor: None,
                });
            }
        }
        let segment = self.next_segment;
        self.next_segment += 1;
        self.known.insert(
            address,
            Known {
                segment,
                last_used: id,
                _descriptor: Arc::clone(descriptor),
            },
        );
        announce.push(Announcement {
            segment,
            descriptor: Some(Arc::clone(descriptor)),
        });
        segment
    }
}

/// Buffers in memory that has a descriptor go as references to it.
fn by_reference(buffer: &Buffer<'_>) -> bool {
    goes_by_file(buffer) && is_memory(buffer) && !buffer.is_borrowed()
}

/// Bytes that have to be copied into a segment.
fn plain_len<'m>(buffers: impl Iterator<Item = &'m Buffer<'m>>) -> usize {
    buffers
        .filter(|buffer| !by_reference(buffer))
        .map(|buffer| room(buffer))
        .sum()
}

/// A file cannot be mapped by the peer: it could shrink.
fn is_memory(buffer: &Buffer<'_>) -> bool {
    buffer
        .backing()
        .is_some_and(|backing| backing.stability != Stability::File)
}

/// Bytes a buffer takes in a segment.
fn room(buffer: &Buffer<'_>) -> usize {
    buffer.len().next_multiple_of(ALIGNMENT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unix::segment::SealedBufferMut;

    const MIB: usize = 1 << 20;

    fn plain(len: usize) -> Message<'static> {
        Message::new(Buffer::from(vec![7; len]))
    }

    /// Segments announced and forgotten, and those referred to; `None` for a message that is written.
    fn plan(lender: &mut Lender, len: usize, id: u64) -> Option<(Vec<u32>, Vec<u32>, Vec<u32>)> {
        match lender.plan(&plain(len), id, false) {
            Plan::Refer {
                announce,
                references,
                ..
            } => {
                let (new, old): (Vec<_>, Vec<_>) = announce
                    .iter()
                    .partition(|announcement| announcement.descriptor.is_some());
                let numbers =
                    |list: Vec<&Announcement>| list.iter().map(|one| one.segment).collect();
                let used = references.iter().map(|one| one.segment).collect();
                Some((numbers(new), numbers(old), used))
            }
            _ => None,
        }
    }

    #[test]
    fn a_segment_that_came_back_is_used_again_without_an_announcement() {
        let mut lender = Lender::new(u64::MAX);
        let (new, _, used) = plan(&mut lender, MIB, 1).unwrap();
        assert_eq!((new, used), (vec![1], vec![1]));
        lender.released(1);
        let (new, _, used) = plan(&mut lender, MIB / 2, 2).unwrap();
        assert_eq!((new, used), (vec![], vec![1]));
    }

    #[test]
    fn a_segment_that_is_lent_is_left_alone() {
        let mut lender = Lender::new(u64::MAX);
        plan(&mut lender, MIB, 1).unwrap();
        let (new, old, used) = plan(&mut lender, MIB, 2).unwrap();
        assert_eq!((new, old, used), (vec![2], vec![], vec![2]));
        lender.released(7);
        assert!(!lender.has_free(1), "an unknown message returns nothing");
    }

    #[test]
    fn a_larger_segment_replaces_a_free_one() {
        let mut lender = Lender::new(4 * MIB as u64);
        plan(&mut lender, MIB, 1).unwrap();
        lender.released(1);
        let (new, old, used) = plan(&mut lender, 4 * MIB, 2).unwrap();
        assert_eq!((new, old, used), (vec![2], vec![1], vec![2]));
    }

    #[test]
    fn over_the_budget_a_message_is_written_and_no_segment_is_forgotten() {
        let mut lender = Lender::new(2 * MIB as u64);
        plan(&mut lender, MIB, 1).unwrap();
        plan(&mut lender, MIB, 2).unwrap();
        lender.released(1);
        assert!(plan(&mut lender, 2 * MIB, 3).is_none());
        // The peer still has the free segment, and was sent no word to forget it.
        let (new, old, used) = plan(&mut lender, MIB, 4).unwrap();
        assert_eq!((new, old, used), (vec![], vec![], vec![1]));
    }

    #[test]
    fn small_messages_and_checksums_are_written() {
        let mut lender = Lender::new(u64::MAX);
        assert!(plan(&mut lender, 1000, 1).is_none());
        let checked = lender.plan(&plain(MIB), 2, true);
        assert!(matches!(checked, Plan::Write(PathReason::PlainMemory)));
    }

    #[test]
    fn a_descriptor_is_announced_once_and_nothing_is_copied() {
        let mut lender = Lender::new(u64::MAX);
        let sealed = Message::new(SealedBufferMut::new(MIB).unwrap().seal().unwrap());
        for (id, announced) in [(1, 1), (2, 0)] {
            let Plan::Refer {
                announce, copied, ..
            } = lender.plan(&sealed, id, false)
            else {
                panic!("message {id} is written");
            };
            assert_eq!((announce.len(), copied), (announced, 0));
        }
    }

    #[test]
    fn a_wait_pays_only_while_segments_of_that_size_are_out() {
        let mut lender = Lender::new(u64::MAX);
        assert_eq!(lender.release_wait(&plain(PIPELINE)), None);
        plan(&mut lender, PIPELINE, 1).unwrap();
        assert!(lender.release_wait(&plain(PIPELINE)).is_some());
        lender.released(1);
        assert_eq!(lender.release_wait(&plain(PIPELINE)), None);
    }
}
