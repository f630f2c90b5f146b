use numpush_message::{DecodeError, RecordKind};
use numpush_session::{Event, Fault, Tag};

use crate::kit::{
    ancillary, config, control, drain, encoder, fault, feed, inbound, message, outbound, preambles,
    send, text, violation,
};

#[test]
fn numbers_rise_by_one() {
    let mut outbound = outbound(&config(), config().hello);
    let written = [send(&mut outbound, 5), send(&mut outbound, 0)].concat();
    let ids: Vec<_> = preambles(&written).iter().map(|one| one.id).collect();
    assert_eq!(ids, [1, 2]);
    assert_eq!(outbound.last_id(), 2);
}

#[test]
fn a_message_out_of_turn_is_a_fault() {
    for id in [0, 1, 3, u64::MAX] {
        let mut inbound = inbound(&config());
        feed(&mut inbound, &message(5, 1, 0)).unwrap();
        let fault = fault(&mut inbound, &message(5, id, 0));
        assert_eq!(violation(&fault), "a message is missing or came twice");
    }
}

#[test]
fn a_message_out_of_turn_is_refused_by_its_preamble_alone() {
    let mut inbound = inbound(&config());
    fault(&mut inbound, &message(500_000, 2, 0)[..64]);
}

#[test]
fn an_ancillary_message_takes_a_number_and_is_skipped() {
    let mut inbound = inbound(&config());
    let records = [ancillary(message(300, 1, 0)), message(5, 2, 0)].concat();
    let arrivals = feed(&mut inbound, &records).unwrap();
    assert!(matches!(arrivals[0].event, Event::Skipped { preamble } if preamble.id == 1));
    assert!(matches!(arrivals[1].event, Event::Message { .. }));
}

#[test]
fn an_ancillary_control_record_is_passed_over() {
    let mut inbound = inbound(&config());
    let record = control(RecordKind::AncillaryControl(0xd0), 9, 9, 0);
    let arrivals = feed(&mut inbound, &record).unwrap();
    assert!(matches!(arrivals[0].event, Event::Nothing));
}

#[test]
fn an_unknown_kind_is_a_fault() {
    let mut record = control(RecordKind::Ping, 0, 0, 0);
    record[5] = 0x90;
    let fault = fault(&mut inbound(&config()), &record);
    let kind = 0x90;
    assert_eq!(fault, Fault::Invalid(DecodeError::UnknownKind { kind }));
}

#[test]
fn a_message_that_was_kept_goes_before_the_next() {
    let mut outbound = outbound(&config(), config().hello);
    let message = text(100);
    let mut encoder = encoder(&message);
    outbound.begin(&mut encoder, Tag::default()).unwrap();
    outbound.keep(encoder.into_owned().0, Vec::new());
    outbound.ping(1);
    let written = drain(&mut outbound);
    let kinds: Vec<_> = preambles(&written).iter().map(|one| one.kind).collect();
    assert_eq!(kinds, [RecordKind::Bytes, RecordKind::Ping]);
}
