use numpush_message::RecordKind;
use numpush_session::{Blocked, Event, Fault, Refusal, Tag};

use crate::kit::{
    config, control, drain, encoder, fault, feed, inbound, message, outbound, preambles, send,
    text, violation,
};

#[test]
fn close_names_the_last_message() {
    let mut outbound = outbound(&config(), config().hello);
    send(&mut outbound, 5);
    send(&mut outbound, 5);
    outbound.close().unwrap();
    let close = preambles(&drain(&mut outbound))[0];
    assert_eq!((close.kind, close.id), (RecordKind::Close, 2));
}

#[test]
fn nothing_begins_after_close() {
    let mut outbound = outbound(&config(), config().hello);
    outbound.close().unwrap();
    let message = text(5);
    let begun = outbound.begin(&mut encoder(&message), Tag::default());
    assert_eq!(begun, Err(Blocked::Closed));
    outbound.ping(1);
    assert_eq!(preambles(&drain(&mut outbound)).len(), 2, "control goes on");
}

#[test]
fn a_message_after_close_is_a_fault() {
    let mut inbound = inbound(&config());
    let close = control(RecordKind::Close, 0, 0, 0);
    let arrivals = feed(&mut inbound, &close).unwrap();
    assert!(matches!(arrivals[0].event, Event::Closed));
    assert!(inbound.is_closed());
    feed(&mut inbound, &control(RecordKind::Ping, 0, 0, 0)).unwrap();
    let fault = fault(&mut inbound, &message(5, 1, 0));
    assert_eq!(violation(&fault), "a message came after it had closed");
}

#[test]
fn a_close_that_names_another_message_is_a_fault() {
    // The last one overflowed.
    for id in [0, 2, u64::MAX] {
        let mut inbound = inbound(&config());
        feed(&mut inbound, &message(5, 1, 0)).unwrap();
        fault(&mut inbound, &control(RecordKind::Close, id, 0, 0));
    }
}

#[test]
fn a_second_close_is_a_fault() {
    let mut inbound = inbound(&config());
    let close = control(RecordKind::Close, 0, 0, 0);
    feed(&mut inbound, &close).unwrap();
    fault(&mut inbound, &close);
}

#[test]
fn close_waits_for_the_message_that_is_being_written() {
    let mut outbound = outbound(&config(), config().hello);
    let message = text(5);
    let mut encoder = encoder(&message);
    outbound.begin(&mut encoder, Tag::default()).unwrap();
    assert_eq!(outbound.close(), Err(Blocked::Busy));
    outbound.cancel(&encoder);
    outbound.close().unwrap();
}

#[test]
fn the_end_is_in_order_after_close_only() {
    let mut closed = inbound(&config());
    feed(&mut closed, &control(RecordKind::Close, 0, 0, 0)).unwrap();
    closed.ended().unwrap();

    assert_eq!(inbound(&config()).ended(), Err(Fault::Ended { missing: 0 }));

    let mut midway = inbound(&config());
    let record = message(500, 1, 0);
    feed(&mut midway, &record[..record.len() - 10]).unwrap();
    assert_eq!(midway.ended(), Err(Fault::Ended { missing: 10 }));
}

#[test]
fn after_a_refusal_nothing_comes_and_nothing_begins() {
    let mut inbound = inbound(&config());
    let arrivals = feed(&mut inbound, &control(RecordKind::Refuse, 99, 0, 0)).unwrap();
    let Event::Refused(reason) = arrivals[0].event else {
        panic!()
    };
    assert_eq!(reason, Refusal::Unknown(99));
    inbound.spare().unwrap_err();

    let mut outbound = outbound(&config(), config().hello);
    outbound.refuse(Refusal::NoRoom);
    assert_eq!(outbound.check(0, 0, 0), Err(Blocked::Closed));
    assert_eq!(preambles(&drain(&mut outbound))[0].id, 8);
}

#[test]
fn a_peer_that_is_gone_is_owed_nothing() {
    let mut outbound = outbound(&config(), config().hello);
    outbound.owe(numpush_session::Debt {
        ack: 1,
        credit: 1 << 20,
        taken: 1,
        ..Default::default()
    });
    let message = text(5);
    let mut encoder = encoder(&message);
    outbound.begin(&mut encoder, Tag::default()).unwrap();
    outbound.broken();
    outbound.keep(encoder.into_owned().0, Vec::new());
    outbound.announce(1, 1);
    outbound.ping(1);
    assert!(!outbound.owes_ack() && !outbound.owes_credit() && !outbound.pay());
    assert!(outbound.front().is_none() && outbound.is_drained());
    assert_eq!(outbound.check(0, 0, 0), Err(Blocked::Broken));
}
