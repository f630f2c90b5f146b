//! Our segments, and what the peer holds of them.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use numpush_message::{ALIGNMENT, Buffer, Message, Reference, Stability};
use numpush_os::Memfd;

use crate::socket::{Announcement, Plan, goes_by_file};
use crate::transfer::PathReason;

/// Our segments, and what the peer holds of them.
pub(super) struct Lender {
    budget: u64,
    next_segment: u32,
    /// Segments of ours for plain memory.
    slots: Vec<Slot>,
    /// Other descriptors the peer has mapped, by their address; the descriptor is held so that the address stays ours.
    known: HashMap<usize, Known>,
    /// By message.
    lent: HashMap<u32, Lent>,
}

struct Slot {
    memory: Memfd,
    segment: u32,
    announced: bool,
    lent: bool,
}

struct Known {
    segment: u32,
    last_used: u32,
    _descriptor: Arc<OwnedFd>,
}

#[derive(Default)]
struct Lent {
    slot: Option<u32>,
    _held: Vec<Buffer<'static>>,
}

/// Descriptors of the user's own that the peer is asked to keep mapped.
const MAX_KNOWN: usize = 64;

/// Segments up to this many bytes in all are made without waiting for others to come back: two that take turns let
/// the sender fill one while the receiver reads the other.
const PIPELINE: usize = 32 << 20;

/// Segments are made in this grain, so that sizes that vary a little find one again.
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
        // Not a second segment of this size while the first may come back sooner than the second is made.
        (used > 0 && used + plain > PIPELINE).then(|| Duration::from_nanos(plain as u64))
    }

    pub(super) fn plan(&mut self, message: &Message<'_>, id: u32, checksums: bool) -> Plan {
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
            } else if let Some(slot) = slot.and_then(|index: usize| self.slots.get_mut(index)) {
                slot.memory.as_mut_slice()[at..at + buffer.len()].copy_from_slice(buffer);
                references.push(Reference {
                    segment: slot.segment,
                    offset: at as u64,
                });
                at += room(buffer);
                copied += buffer.len() as u64;
            } else {
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

    pub(super) fn released(&mut self, id: u32) {
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
            .any(|slot| !slot.lent && slot.memory.len() >= len)
    }

    /// A segment with room for `len` bytes that is not lent: one there is, or a new one within the budget.
    fn slot(&mut self, len: usize, announce: &mut Vec<Announcement>) -> Result<usize, PathReason> {
        let free = self
            .slots
            .iter()
            .enumerate()
            .filter(|(_, slot)| !slot.lent && slot.memory.len() >= len);
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
        // Free segments that were too small make way: one of the right size replaces them.
        self.slots.retain(|slot| {
            if !slot.lent {
                announce.push(Announcement {
                    segment: slot.segment,
                    descriptor: None,
                });
            }
            slot.lent
        });
        let used: usize = self.slots.iter().map(|slot| slot.memory.len()).sum();
        if (used + len) as u64 > self.budget {
            return Err(PathReason::SegmentsHeld);
        }
        let memory = Memfd::new(len).map_err(|_| PathReason::NoSegment)?;
        memory
            .forbid_new_writers()
            .map_err(|_| PathReason::NoSegment)?;
        memory.populate().map_err(|_| PathReason::NoSegment)?;
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
        id: u32,
        announce: &mut Vec<Announcement>,
    ) -> u32 {
        let address = Arc::as_ptr(descriptor).addr();
        if let Some(known) = self.known.get_mut(&address) {
            known.last_used = id;
            return known.segment;
        }
        if self.known.len() >= MAX_KNOWN {
            // The one not used for longest is forgotten; what is lent of it stays mapped over there.
            let oldest = self
                .known
                .iter()
                .max_by_key(|(_, known)| id.wrapping_sub(known.last_used));
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

/// Buffers that lie in memory behind a descriptor go as references to it.
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

fn to_usize(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}
