use numpush_message::{Backing, Column, ColumnData, ColumnType, Frame};
use numpush_os::Memfd;

use super::*;
use crate::unix::segment::SealedBufferMut;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

pub(super) fn terms(segments: u32) -> Terms {
    Terms {
        segments,
        descriptors: segments,
        checksums: false,
    }
}

fn lender(budget: usize) -> Lender {
    Lender::new(budget as u64, true)
}

fn plain(len: usize) -> Message<'static> {
    Message::new(Buffer::from(vec![7; len]))
}

fn sealed(len: usize) -> Buffer<'static> {
    SealedBufferMut::new(len).unwrap().seal().unwrap()
}

/// Columns of bytes, each with a null in the first row of `nulls`.
pub(super) fn frame(columns: Vec<Buffer<'static>>, nulls: usize) -> Message<'static> {
    let columns = columns.into_iter().enumerate().map(|(at, values)| {
        let rows = values.len();
        let mut validity = vec![0xff; rows.div_ceil(8)];
        validity[0] = 0xfe;
        if rows % 8 > 0 {
            validity[rows / 8] = (1 << (rows % 8)) - 1;
        }
        let validity = if at < nulls {
            validity.into()
        } else {
            Buffer::default()
        };
        let data = ColumnData::new(ColumnType::Uint8, rows, vec![validity, values]).unwrap();
        Column::new(at.to_string(), data).unwrap()
    });
    Message::new(Frame::new(columns.collect()).unwrap())
}

/// What a plan says: segments announced, forgotten and referred to; `None` for a message that is written.
#[derive(Debug, PartialEq)]
struct Said {
    new: Vec<u32>,
    old: Vec<u32>,
    used: Option<Vec<u32>>,
}

fn said(plan: &Plan) -> Said {
    let of = |new: bool| {
        let one = plan.announce.iter();
        let one = one.filter(|one| one.descriptor.is_some() == new);
        one.map(|one| one.segment).collect()
    };
    let used = match &plan.way {
        Way::Refer { references, .. } => Some(references.iter().map(|one| one.segment).collect()),
        _ => None,
    };
    Said {
        new: of(true),
        old: of(false),
        used,
    }
}

/// Plans a message and commits it.
fn send(lender: &mut Lender, message: &Message<'_>, id: u64) -> Said {
    let plan = lender.plan(message, terms(64));
    let said = said(&plan);
    lender.commit(&plan, id);
    said
}

fn announced(new: &[u32], old: &[u32], used: &[u32]) -> Said {
    Said {
        new: new.into(),
        old: old.into(),
        used: Some(used.into()),
    }
}

#[test]
fn messages_share_a_segment_and_what_came_back_is_used_again() {
    let mut lender = lender(64 * MIB);
    assert_eq!(
        send(&mut lender, &plain(100_000), 1),
        announced(&[1], &[], &[1])
    );
    assert_eq!(
        send(&mut lender, &plain(100_000), 2),
        announced(&[], &[], &[1])
    );
    let_go(&mut lender, 1);
    for id in 3..1000 {
        assert_eq!(
            send(&mut lender, &plain(100_000), id),
            announced(&[], &[], &[1])
        );
        let_go(&mut lender, id);
    }
    assert_eq!(lender.pool.total(), MIB);
}

/// C2 of the audit: they took 300 segments of 1 MiB.
#[test]
fn three_hundred_messages_take_few_segments_and_little_more_than_their_bytes() {
    let mut lender = lender(1 << 30);
    let mut announced = 0;
    for id in 1..=300 {
        let said = send(&mut lender, &plain(100_000), id);
        assert!(said.used.is_some());
        announced += said.new.len();
    }
    assert_eq!((announced, lender.pool.total()), (6, 32 * MIB));
}

/// The peer has let go of message `id`, and a call has ended since.
pub(super) fn let_go(lender: &mut Lender, id: u64) {
    lender.released(id).unwrap();
    drop(lender.take_returned());
}

/// C6: they were kept open, 64 of them.
#[test]
fn what_the_user_has_closed_is_forgotten() {
    let mut lender = lender(64 * MIB);
    for id in 1..100 {
        let message = Message::new(sealed(MIB));
        let said = send(&mut lender, &message, id);
        let before: &[u32] = if id == 1 { &[] } else { &said.old };
        assert_eq!((said.new.len(), said.old.len()), (1, before.len()));
        assert_eq!(said.old.len(), usize::from(id > 1));
        drop(message);
        assert!(lender.take_forgets().is_empty(), "the peer reads it");
        let_go(&mut lender, id);
    }
    assert_eq!(lender.take_forgets().len(), 1);
    assert!(lender.take_forgets().is_empty(), "it was told");
    assert_eq!(lender.known.announced(), 0);
}

/// M4: from the 65th on they were forgotten before they were used.
#[test]
fn a_frame_in_eighty_memories_refers_to_all_of_them_or_is_written() {
    let columns: Vec<_> = (0..80).map(|_| sealed(64 * KIB)).collect();
    let mut lender = lender(64 * MIB);
    let message = frame(columns, 0);
    let plan = lender.plan(&message, terms(256));
    let all: Vec<u32> = (1..=80).collect();
    let said = said(&plan);
    assert_eq!((said.new, said.old), (all, vec![]));
    drop(plan);
    // Three quarters of 64 are left for the user's memory.
    let plan = lender.plan(&message, terms(64));
    assert!(matches!(plan.way, Way::Write(PathReason::SegmentsHeld)));
    assert!(plan.announce.is_empty());
}

#[test]
fn the_memory_not_used_for_longest_makes_room_for_others() {
    let mut lender = lender(64 * MIB);
    let buffers: Vec<_> = (0..9).map(|_| sealed(64 * KIB)).collect();
    let plan = |lender: &mut Lender, at: usize, id: u64| {
        let plan = lender.plan(&Message::new(buffers[at].clone()), terms(8));
        lender.commit(&plan, id);
        said(&plan)
    };
    for at in 0..6 {
        plan(&mut lender, at, at as u64 + 1);
    }
    assert_eq!(plan(&mut lender, 6, 7).used, None, "all are lent");
    (1..=6).for_each(|id| let_go(&mut lender, id));
    plan(&mut lender, 0, 8);
    assert_eq!(plan(&mut lender, 7, 9).old, [2]);
    // What that left is for plain memory.
    let said = send(&mut lender, &plain(MIB), 10);
    assert_eq!((said.new.len(), said.old.len()), (1, 0));
}

/// M3: what a plan had taken stayed taken, and its segment was never announced again.
#[test]
fn a_plan_that_is_dropped_is_undone() {
    let mut lender = lender(64 * MIB);
    let message = frame(vec![sealed(64 * KIB), Buffer::from(vec![1; 64 * KIB])], 0);
    for _ in 0..10 {
        let plan = lender.plan(&message, terms(64));
        assert_eq!(said(&plan).new.len(), 2);
    }
    assert_eq!(lender.pool.total(), MIB);
    lender.settle();
    assert_eq!((lender.pool.taken(), lender.known.announced()), (0, 0));
    let plan = lender.plan(&message, terms(64));
    // One announcement went before the send timed out.
    lender.announced(&plan.announce[0]);
    drop(plan);
    assert_eq!(send(&mut lender, &message, 1).new.len(), 1);
    assert_eq!(send(&mut lender, &message, 2).new.len(), 0);
}

#[test]
fn one_plan_at_a_time() {
    let mut lender = lender(64 * MIB);
    let first = lender.plan(&plain(MIB), terms(64));
    let second = lender.plan(&plain(MIB), terms(64));
    assert!(matches!(second.way, Way::Write(PathReason::SegmentsHeld)));
    lender.commit(&second, 1);
    lender.commit(&first, 2);
    assert_eq!(lender.pool.taken(), MIB);
    let_go(&mut lender, 1);
    assert_eq!(lender.pool.taken(), MIB, "it lent nothing");
    let_go(&mut lender, 2);
    assert_eq!(lender.pool.taken(), 0);
}

/// M10: the peer was not told, because the message was written.
#[test]
fn who_is_written_to_hears_what_to_forget() {
    let mut lender = lender(64 * MIB);
    let message = Message::new(sealed(MIB));
    send(&mut lender, &message, 1);
    drop(message);
    let_go(&mut lender, 1);
    for _ in 0..2 {
        let plan = lender.plan(&plain(100), terms(64));
        assert!(matches!(plan.way, Way::Write(PathReason::Small)));
        assert_eq!(
            said(&plan).old,
            [1],
            "a plan that is dropped has told nobody"
        );
    }
    let plan = lender.plan(&plain(100), terms(64));
    lender.commit(&plan, 2);
    assert_eq!(said(&lender.plan(&plain(100), terms(64))).old, []);
}

/// They took a MiB.
#[test]
fn a_few_bytes_beside_a_memory_take_no_segment_of_their_own() {
    let mut small = lender(64 * MIB);
    let values = sealed(64 * KIB);
    let message = frame(vec![values], 1);
    assert_eq!(
        send(&mut small, &message, 1),
        announced(&[2, 1], &[], &[2, 1])
    );
    assert_eq!(small.pool.total(), 64 * KIB);
    let mut large = lender(64 * MIB);
    send(&mut large, &plain(100_000), 1);
    assert_eq!(send(&mut large, &message, 2), announced(&[2], &[], &[1, 2]));
    assert_eq!(large.pool.total(), MIB);
}

#[test]
fn over_the_budget_a_message_is_written_and_what_is_free_makes_room() {
    let mut lender = lender(2 * MIB);
    send(&mut lender, &plain(MIB), 1);
    send(&mut lender, &plain(MIB), 2);
    let_go(&mut lender, 1);
    assert_eq!(send(&mut lender, &plain(2 * MIB), 3).used, None);
    assert_eq!(send(&mut lender, &plain(MIB), 4), announced(&[], &[], &[1]));
    let_go(&mut lender, 2);
    let_go(&mut lender, 4);
    assert_eq!(
        send(&mut lender, &plain(2 * MIB), 5),
        announced(&[4], &[2, 1], &[4])
    );
    assert_eq!(send(&mut lender, &plain(3 * MIB), 6).used, None);
}

#[test]
fn segments_of_a_burst_are_given_back() {
    let mut lender = lender(1 << 30);
    for id in 1..=100 {
        send(&mut lender, &plain(MIB), id);
    }
    (1..=100).for_each(|id| let_go(&mut lender, id));
    assert_eq!(lender.pool.total(), 128 * MIB);
    for id in 101..1000 {
        send(&mut lender, &plain(MIB), id);
        let_go(&mut lender, id);
    }
    assert!(lender.pool.total() <= 2 * MIB, "{}", lender.pool.total());
    let mut steady = Lender::new(1 << 30, true);
    let mut made = 0;
    for id in 1..100 {
        made += send(&mut steady, &plain(16 * MIB), id).new.len();
        let_go(&mut lender, id);
        if id > 1 {
            let_go(&mut steady, id - 1);
        }
    }
    assert_eq!(made, 2, "what is used again and again stays");
}

#[test]
fn a_peer_that_takes_no_segments_gets_none() {
    let mut lender = lender(64 * MIB);
    let plan = lender.plan(&plain(MIB), terms(0));
    assert!(matches!(plan.way, Way::Write(PathReason::OnlyWay)));
    let summed = Terms {
        checksums: true,
        ..terms(64)
    };
    let plan = lender.plan(&plain(MIB), summed);
    assert!(matches!(plan.way, Way::Write(PathReason::PlainMemory)));
    let plan = lender.plan(&plain(64 * KIB - 64), terms(64));
    assert!(matches!(plan.way, Way::Write(PathReason::Small)));
    assert_eq!(lender.pool.total(), 0);
}

#[test]
fn releases_come_in_any_order_and_only_for_what_was_sent() {
    let mut lender = lender(64 * MIB);
    assert!(lender.released(1).is_err());
    send(&mut lender, &plain(100), 1);
    send(&mut lender, &plain(MIB), 2);
    send(&mut lender, &plain(MIB), 3);
    for id in [3, 1, 2, 2, 3] {
        let_go(&mut lender, id);
    }
    assert!(lender.released(4).is_err());
    assert!(lender.released(0).is_err());
    assert_eq!(lender.pool.taken(), 0);
}

/// A descriptor of another user's memory shows all of it, not only what a message shows.
#[test]
fn memory_that_its_owner_writes_again_is_copied_for_another_user() {
    let memory = Memfd::new(MIB).unwrap().lend().unwrap();
    let backing = Backing {
        file: Arc::clone(memory.descriptor()),
        offset: 0,
        stability: Stability::Held,
    };
    let held = Message::new(Buffer::from(vec![0; MIB]).with_backing(backing));
    let copied = |same_user| {
        let mut lender = Lender::new(64 << 20, same_user);
        let plan = lender.plan(&held, terms(64));
        let Way::Refer { copied, .. } = plan.way else {
            panic!("it is written")
        };
        copied
    };
    assert_eq!((copied(true), copied(false)), (0, MIB as u64));
}

#[test]
fn memory_that_the_peer_would_refuse_is_copied() {
    let file = a_file();
    let backing = Backing {
        file,
        offset: 0,
        stability: Stability::Sealed,
    };
    let claimed = Message::new(Buffer::from(vec![0; MIB]).with_backing(backing));
    let short = sealed(64 * KIB).backing().unwrap().clone();
    let beyond = Message::new(Buffer::from(vec![0; 128 * KIB]).with_backing(short));
    for message in [claimed, beyond] {
        let mut lender = lender(64 * MIB);
        let plan = lender.plan(&message, terms(64));
        let Way::Refer { copied, .. } = plan.way else {
            panic!("it is written")
        };
        assert_eq!(copied, message.payload_len());
    }
}

fn a_file() -> Arc<std::os::fd::OwnedFd> {
    Arc::new(std::fs::File::open("/proc/self/exe").unwrap().into())
}

#[test]
fn a_wait_pays_only_while_memory_of_that_size_is_out() {
    let mut lender = lender(1 << 30);
    assert_eq!(lender.release_wait(&plain(PIPELINE), terms(128)), None);
    send(&mut lender, &plain(PIPELINE), 1);
    assert!(lender.release_wait(&plain(PIPELINE), terms(128)).is_some());
    assert!(lender.release_wait(&plain(1000), terms(128)).is_none());
    let_go(&mut lender, 1);
    assert_eq!(lender.release_wait(&plain(PIPELINE), terms(128)), None);
}

/// They took 32 MiB, and as many fresh pages on both sides.
#[test]
fn a_stream_whose_receiver_keeps_pace_goes_through_two_messages_of_memory() {
    let mut lender = lender(1 << 30);
    let (mut oldest, mut segments) = (1, 0);
    for id in 1..=500 {
        // The receiver lets go of a message in the time that the sender waits.
        if lender.release_wait(&plain(MIB), terms(128)).is_some() {
            let_go(&mut lender, oldest);
            oldest += 1;
        }
        segments += send(&mut lender, &plain(MIB), id).new.len();
    }
    assert_eq!((segments, lender.pool.total()), (2, PIPELINE));
}

/// They waited a millisecond each.
#[test]
fn a_receiver_that_keeps_what_it_gets_costs_few_waits() {
    let mut lender = lender(1 << 30);
    let mut waits = Vec::new();
    for id in 1..=256 {
        waits.extend(lender.release_wait(&plain(MIB), terms(128)));
        send(&mut lender, &plain(MIB), id);
    }
    assert_eq!(lender.pool.total(), 256 * MIB);
    assert_eq!(waits.len(), 8, "{waits:?}");
    let all: Duration = waits.iter().sum();
    let making = MAKING * u32::try_from(lender.pool.total()).unwrap();
    assert!(all <= making, "{all:?} is more than {making:?}");
}

/// They waited 64 ms each, for memory that could not be made.
#[test]
fn nobody_waits_for_what_cannot_be_made() {
    let mut full = lender(4 << 20);
    let mut few = lender(1 << 30);
    let mut id = 0;
    while full.release_wait(&plain(MIB), terms(128)).is_some() || full.pool.total() < 4 * MIB {
        id += 1;
        send(&mut full, &plain(MIB), id);
    }
    assert_eq!(full.pool.total(), 4 * MIB);
    for id in 1..=4 {
        send(&mut few, &plain(MIB), id);
    }
    let segments = u32::try_from(few.pool.announced()).unwrap();
    assert!(few.release_wait(&plain(MIB), terms(128)).is_some());
    assert_eq!(few.release_wait(&plain(MIB), terms(segments)), None);
}
