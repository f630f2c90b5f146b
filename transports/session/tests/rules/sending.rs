use numpush_message::{Encoder, Message, Preamble, RecordKind};
use numpush_session::{Blocked, Event, Outbound, Tag};

use crate::kit::{
    config, drain, encoder, hear, outbound, preambles, send, text, violation, with_credit,
};

#[test]
fn what_the_peer_does_not_take_is_named_before_it_begins() {
    let mut hello = config().hello;
    (hello.max, hello.header) = (1000, 100);
    let outbound = outbound(&config(), hello);
    let (len, limit) = (1001, 1000);
    assert_eq!(
        outbound.check(1001, 100, 0),
        Err(Blocked::TooLarge { len, limit })
    );
    let (len, limit) = (101, 100);
    assert_eq!(
        outbound.check(1000, 101, 0),
        Err(Blocked::HeaderTooLong { len, limit })
    );
    assert_eq!(outbound.check(1000, 100, 0), Ok(()));
}

#[test]
fn a_blocked_begin_changes_nothing() {
    let mut outbound = outbound(&config(), with_credit(0).hello);
    send(&mut outbound, 5);
    let before = outbound.status();
    let message = text(5);
    let mut blocked = encoder(&message);
    assert_eq!(
        outbound.begin(&mut blocked, Tag::default()),
        Err(Blocked::Credit)
    );
    assert_eq!((outbound.status(), outbound.last_id()), (before, 1));
    assert_eq!(blocked.preamble().id, 0);
}

#[test]
fn cancel_gives_number_credit_and_window_back() {
    let mut outbound = outbound(&config(), config().hello);
    let before = outbound.status();
    let message = text(5);
    let mut cancelled = encoder(&message);
    outbound.begin(&mut cancelled, Tag::default()).unwrap();
    assert_ne!(outbound.status(), before);
    outbound.cancel(&cancelled);
    assert_eq!((outbound.status(), outbound.last_id()), (before, 0));
    assert_eq!(preambles(&send(&mut outbound, 7))[0].id, 1);
}

#[test]
fn one_message_at_a_time_is_with_the_driver() {
    let mut outbound = outbound(&config(), config().hello);
    let message = text(5);
    outbound
        .begin(&mut encoder(&message), Tag::default())
        .unwrap();
    let second = outbound.begin(&mut encoder(&message), Tag::default());
    assert_eq!(second, Err(Blocked::Busy));
}

/// Begins three messages behind each other.
fn run_of_three<'m>(outbound: &mut Outbound<u32>, message: &'m Message<'m>) -> [Encoder<'m>; 3] {
    let mut run = [(); 3].map(|()| encoder(message));
    let numbers = run
        .each_mut()
        .map(|encoder| outbound.begin_next(encoder, Tag::default()));
    assert_eq!(numbers, [Ok(1), Ok(2), Ok(3)]);
    run
}

#[test]
fn messages_begin_behind_each_other_and_are_done_in_order() {
    let mut outbound = outbound(&config(), config().hello);
    let message = text(5);
    for encoder in run_of_three(&mut outbound, &message) {
        assert!(outbound.is_busy());
        outbound.departed(&encoder);
        outbound.done(Vec::new());
    }
    assert!(!outbound.is_busy());
    assert_eq!(preambles(&send(&mut outbound, 5))[0].id, 4);
    hear(&mut outbound, 4, Event::Pong { argument: 0 }).unwrap();
    assert_eq!(outbound.status().in_flight, 0);
}

#[test]
fn what_of_several_messages_is_not_written_cannot_be_acknowledged() {
    let mut outbound = outbound(&config(), config().hello);
    let message = text(5);
    let [first, ..] = run_of_three(&mut outbound, &message);
    outbound.departed(&first);
    outbound.done(Vec::new());
    hear(&mut outbound, 1, Event::Pong { argument: 0 }).unwrap();
    let fault = hear(&mut outbound, 2, Event::Pong { argument: 0 }).unwrap_err();
    assert!(violation(&fault).contains("never sent"), "{fault}");
}

#[test]
fn the_last_of_several_messages_are_cancelled_and_the_half_written_one_is_kept() {
    let mut outbound = outbound(&config(), config().hello);
    let message = text(5);
    let [mut first, second, third] = run_of_three(&mut outbound, &message);
    outbound.departed(&first);
    first.advance(10);
    outbound.cancel(&third);
    outbound.cancel(&second);
    outbound.keep(first.into_owned().0, Vec::new());
    assert!(!outbound.is_busy() && outbound.is_midway());
    drain(&mut outbound);
    assert_eq!(outbound.last_id(), 1);
    assert_eq!(preambles(&send(&mut outbound, 5))[0].id, 2);
}

#[test]
fn control_records_go_between_messages_that_began_together() {
    let mut outbound = outbound(&config(), config().hello);
    let message = text(5);
    let [first, mut second, _] = run_of_three(&mut outbound, &message);
    outbound.departed(&first);
    outbound.owe(numpush_session::Debt {
        ack: 4,
        ..numpush_session::Debt::default()
    });
    outbound.pay();
    assert!(outbound.front().is_none(), "not in the middle of one");
    outbound.done(Vec::new());
    assert_eq!(drain(&mut outbound).len(), 64);
    outbound.refresh(&mut second);
    assert_eq!(second.preamble().ack, 4, "what was told is not taken back");
}

/// Seed 899949 of the simulation: the first was stamped with all that was owed, and so knew more than the second.
#[test]
fn messages_that_go_in_one_write_take_no_acknowledgement_back() {
    let mut outbound = outbound(&config(), config().hello);
    let message = text(5);
    let owe = |outbound: &mut Outbound<u32>, ack| {
        outbound.owe(numpush_session::Debt {
            ack,
            ..numpush_session::Debt::default()
        });
    };
    let (mut first, mut second) = (encoder(&message), encoder(&message));
    outbound.begin(&mut first, Tag::default()).unwrap();
    owe(&mut outbound, 4);
    outbound.begin_next(&mut second, Tag::default()).unwrap();
    outbound.ping(1);
    owe(&mut outbound, 9);
    outbound.refresh(&mut first);
    outbound.refresh(&mut second);
    let mut written = drain(&mut outbound);
    for encoder in [first, second] {
        outbound.departed(&encoder);
        written.extend(encoder.copy_rest());
        outbound.done(Vec::new());
    }
    let acks: Vec<u64> = preambles(&written).iter().map(|told| told.ack).collect();
    assert_eq!(acks, [4, 4, 4]);
    assert!(outbound.owes_ack(), "the rest is told later");
}

#[test]
fn a_message_that_cannot_begin_changes_nothing_for_those_before_it() {
    let message = text(5);
    let two = 2 * encoder(&message).charge();
    let mut outbound = outbound(&config(), with_credit(two).hello);
    let (mut first, mut second) = (encoder(&message), encoder(&message));
    let mut third = encoder(&message);
    assert_eq!(outbound.begin(&mut first, Tag::default()), Ok(1));
    assert_eq!(outbound.begin_next(&mut second, Tag::default()), Ok(2));
    let before = outbound.status();
    let blocked = outbound.begin_next(&mut third, Tag::default());
    assert_eq!(blocked, Err(Blocked::Credit));
    assert_eq!((outbound.status(), outbound.last_id()), (before, 2));
}

#[test]
fn nothing_is_written_in_the_middle_of_a_message() {
    let mut outbound = outbound(&config(), config().hello);
    let message = text(500);
    let mut half = encoder(&message);
    outbound.begin(&mut half, Tag::default()).unwrap();
    outbound.ping(1);
    assert_eq!(drain(&mut outbound).len(), 64, "nothing of it has gone");
    outbound.departed(&half);
    half.advance(100);
    outbound.ping(2);
    assert!(outbound.front().is_none() && outbound.is_midway());

    let whole = encoder(&message).preamble().record_len();
    outbound.keep(half.into_owned().0, Vec::new());
    assert!(outbound.is_midway());
    let written = drain(&mut outbound);
    assert_eq!(
        written.len() as u64,
        whole - 100 + 64,
        "the rest goes first"
    );
    let last = preambles(&written[written.len() - 64..])[0];
    assert_eq!(last.kind, RecordKind::Ping);
    assert!(!outbound.is_midway());
}

#[test]
fn a_window_that_is_full_blocks_until_messages_are_acknowledged() {
    let mut outbound = outbound(&config().window(1024), with_credit(1 << 20).hello);
    send(&mut outbound, 900);
    assert_eq!(outbound.check(128, 64, 300), Err(Blocked::Window));
    assert_eq!(outbound.check(64, 64, 300), Ok(()));
    hear(&mut outbound, 1, Event::Pong { argument: 0 }).unwrap();
    assert_eq!(
        outbound.check(64_000, 64, 64_100),
        Ok(()),
        "one always goes"
    );
}

#[test]
fn a_tag_travels_with_its_message() {
    let mut outbound = outbound(&config(), config().hello);
    let message = text(5);
    let mut tagged = encoder(&message);
    let (reply_to, channel) = (7, 9);
    let tag = Tag { reply_to, channel };
    outbound.begin(&mut tagged, tag).unwrap();
    outbound.owe(numpush_session::Debt {
        ack: 4,
        ..Default::default()
    });
    outbound.pay();
    outbound.refresh(&mut tagged);
    let Preamble {
        id, ack, reply_to, ..
    } = *tagged.preamble();
    assert_eq!((id, ack, reply_to), (1, 4, 7));
    assert_eq!(tagged.preamble().channel, 9);
}

#[test]
fn more_than_the_front_is_told() {
    let mut outbound = outbound(&config(), config().hello);
    outbound.ping(1);
    assert!(!outbound.has_more());
    outbound.announce(1, 5);
    assert!(outbound.has_more());
    drain(&mut outbound);
    assert!(!outbound.has_more() && outbound.is_drained());
}

#[test]
fn an_idle_session_is_small() {
    let size = size_of::<Outbound<u32>>() + size_of::<numpush_session::Inbound<u32>>();
    assert!(size < 2_048, "{size} bytes");
}
