use numpush_message::{Hello, RecordKind};
use numpush_session::{Blocked, Event, Fault, Inbound, Outbound, Refusal, Tag};

use crate::kit::{
    config, control, encoder, fault, feed, inbound, message, preambles, text, violation,
};

#[test]
fn hello_is_the_first_thing_written() {
    let mut outbound = Outbound::<u32>::new(&config());
    outbound.ping(7);
    let kinds: Vec<_> = preambles(&crate::kit::drain(&mut outbound))
        .iter()
        .map(|preamble| preamble.kind)
        .collect();
    assert_eq!(kinds, [RecordKind::Hello, RecordKind::Ping]);
}

#[test]
fn what_comes_before_hello_is_a_fault() {
    for record in [
        message(5, 1, 0),
        control(RecordKind::Ack, 0, 1 << 20, 0),
        control(RecordKind::Ping, 0, 7, 0),
        control(RecordKind::Close, 0, 0, 0),
        control(RecordKind::AncillaryControl(0xc5), 0, 0, 0),
    ] {
        let mut inbound = Inbound::new(&config());
        let fault = fault(&mut inbound, &record);
        assert_eq!(violation(&fault), "its first record is not a hello");
        assert_eq!(fault.refusal(), Some(Refusal::InvalidMessage));
        assert!(!inbound.has_hello());
    }
}

#[test]
fn a_second_hello_is_a_fault() {
    let mut inbound = inbound(&config());
    let fault = fault(&mut inbound, &Hello::new(7).encode());
    assert_eq!(violation(&fault), "a second hello");
    assert!(inbound.has_hello());
}

#[test]
fn a_refusal_may_come_instead_of_hello() {
    let mut inbound = Inbound::new(&config());
    let refuse = control(RecordKind::Refuse, 4, 0, 0);
    let arrivals = feed(&mut inbound, &refuse).unwrap();
    let [arrival] = &arrivals[..] else { panic!() };
    assert!(matches!(arrival.event, Event::Refused(Refusal::Busy)));
    inbound.spare().unwrap_err();
}

#[test]
fn sides_without_a_common_version_part() {
    let mut hello = Hello::new(1 << 20);
    hello.versions = 2..=3;
    let mut inbound = Inbound::new(&config());
    let fault = fault(&mut inbound, &hello.encode());
    let (theirs, ours) = ((2, 3), (1, 1));
    assert_eq!(fault, Fault::Version { theirs, ours });
    assert_eq!(fault.refusal(), Some(Refusal::Version));
}

#[test]
fn a_side_that_speaks_more_versions_is_welcome() {
    let mut hello = Hello::new(1 << 20);
    hello.versions = 1..=9;
    feed(&mut Inbound::new(&config()), &hello.encode()).unwrap();
}

#[test]
fn nothing_begins_before_the_peers_hello() {
    let mut outbound = Outbound::<u32>::new(&config());
    let message = text(5);
    let begun = outbound.begin(&mut encoder(&message), Tag::default());
    assert_eq!(begun, Err(Blocked::Greeting));
}
