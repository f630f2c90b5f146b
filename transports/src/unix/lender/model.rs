//! A lender against a peer that writes down what it was told, over many random plans, commits, drops and releases.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::OwnedFd;

use numpush_os as os;

use super::tests::{frame, let_go, terms};
use super::*;
use crate::unix::segment::SealedBufferMut;

/// Segments that the first peer keeps; the others keep more.
const LIMIT: usize = 4;
const BUDGET: usize = 3 << 20;
const ROWS: [usize; 3] = [64 << 10, 100_000, 300_000];

/// What the peer knows, and what it still reads.
#[derive(Default)]
struct Peer {
    limit: usize,
    segments: BTreeMap<u32, File>,
    reads: BTreeMap<u64, Vec<Place>>,
}

/// Bytes that a message shows.
struct Place {
    segment: u32,
    offset: u64,
    bytes: Vec<u8>,
}

/// Numbers that look random: xorshift64* (Vigna, 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % end
    }
}

impl Peer {
    fn hears(&mut self, announcement: &Announcement) {
        let segment = announcement.segment;
        let Some(descriptor) = &announcement.descriptor else {
            let mut reads = self.reads.values().flatten();
            let read = reads.any(|place| place.segment == segment);
            assert!(!read, "segment {segment} is forgotten while it is read");
            let known = self.segments.remove(&segment);
            assert!(known.is_some(), "segment {segment} was never announced");
            return;
        };
        assert!(segment > 0);
        let descriptor = OwnedFd::try_clone(descriptor).unwrap();
        let known = self.segments.insert(segment, descriptor.into());
        assert!(known.is_none(), "segment {segment} is announced twice");
        assert!(self.segments.len() <= self.limit);
    }

    fn receives(&mut self, id: u64, references: &[Reference], message: &Message<'_>) {
        let places = references.iter().zip(message.buffers());
        let places = places.filter(|(_, buffer)| !buffer.is_empty());
        let places = places.map(|(reference, buffer)| Place {
            segment: reference.segment,
            offset: reference.offset,
            bytes: Vec::from(&**buffer),
        });
        self.reads.insert(id, places.collect());
        self.sees(id);
    }

    /// What message `id` shows is as it was sent.
    fn sees(&self, id: u64) {
        for place in &self.reads[&id] {
            let file = &self.segments[&place.segment];
            let mut bytes = vec![0; place.bytes.len()];
            os::read_at(file, &mut bytes, place.offset).unwrap();
            assert!(bytes == place.bytes, "message {id} was overwritten");
        }
    }
}

/// The user's memory.
fn memory(random: &mut Random, mark: u8) -> Buffer<'static> {
    let mut memory = SealedBufferMut::new(ROWS[random.below(3)] + 4096).unwrap();
    memory.as_mut_slice().fill(mark);
    memory.seal().unwrap()
}

fn message(random: &mut Random, memories: &[Buffer<'static>], mark: u8) -> Message<'static> {
    let rows = ROWS[random.below(3)];
    let columns = (0..1 + random.below(5)).map(|_| {
        let memory = &memories[random.below(memories.len())];
        if random.below(2) == 0 && memory.len() >= rows {
            let start = 64 * random.below(2);
            return memory.slice(start..start + rows);
        }
        Buffer::from(vec![mark; rows])
    });
    let columns = columns.collect();
    match random.below(4) {
        0 => Message::new(Buffer::from(vec![mark; random.below(400_000)])),
        nulls => frame(columns, nulls - 1),
    }
}

fn run(seed: u64) {
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut lender = Lender::new(BUDGET as u64, true);
    let mut peer = Peer {
        limit: LIMIT + usize::try_from(seed).unwrap(),
        ..Peer::default()
    };
    let mut memories: Vec<_> = (0..8).map(|at| memory(&mut random, at)).collect();
    let mut ways = [0; 2];
    let mut id = 0;
    for step in 0..1500_u32 {
        let mark = step.to_le_bytes()[0];
        match random.below(10) {
            0 => {
                let at = random.below(memories.len());
                memories[at] = memory(&mut random, mark);
            }
            1 => {
                let forgets = lender.take_forgets();
                for segment in forgets {
                    peer.hears(&Announcement {
                        segment,
                        descriptor: None,
                    });
                }
            }
            2..=5 if !peer.reads.is_empty() => {
                let at = random.below(peer.reads.len());
                let id = *peer.reads.keys().nth(at).unwrap();
                peer.sees(id);
                peer.reads.remove(&id);
                let_go(&mut lender, id);
            }
            _ => {
                let message = message(&mut random, &memories, mark);
                let plan = lender.plan(&message, terms(u32::try_from(peer.limit).unwrap()));
                if random.below(3) == 0 {
                    // The send times out, perhaps between two announcements.
                    for told in &plan.announce[..random.below(plan.announce.len() + 1)] {
                        peer.hears(told);
                        lender.announced(told);
                    }
                    continue;
                }
                id += 1;
                plan.announce.iter().for_each(|told| peer.hears(told));
                if let Way::Refer { references, .. } = &plan.way {
                    peer.receives(id, references, &message);
                    ways[0] += 1;
                } else {
                    ways[1] += 1;
                }
                lender.commit(&plan, id);
            }
        }
        assert!(lender.pool.total() <= BUDGET);
        assert!(lender.lent.len() == peer.reads.len());
    }
    peer.reads.keys().for_each(|&id| peer.sees(id));
    for id in std::mem::take(&mut peer.reads).into_keys() {
        let_go(&mut lender, id);
    }
    memories.clear();
    lender.settle();
    drop(lender.take_returned());
    assert_eq!((lender.pool.taken(), lender.lent.len()), (0, 0));
    for segment in lender.take_forgets() {
        peer.hears(&Announcement {
            segment,
            descriptor: None,
        });
    }
    let known = lender.pool.announced() + lender.known.announced();
    assert_eq!((lender.known.announced(), peer.segments.len()), (0, known));
    assert!(ways.iter().all(|&count| count > 20), "{ways:?}");
}

#[test]
fn a_peer_sees_what_was_sent_until_it_lets_go() {
    (1..=6).for_each(run);
}
