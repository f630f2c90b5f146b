use std::time::Instant;

use numpush_message::{DecodeError, Flags, Hello, Preamble, RecordKind};
use numpush_session::{Config, Event, Fault, Inbound, Refusal};

use crate::kit::{
    MAX, ack, ancillary, config, control, fault, feed, inbound, message, text, with_credit,
};

/// A stream with records of every sort.
fn stream() -> Vec<u8> {
    [
        Hello::new(MAX).encode(),
        message(5, 1, 0),
        ack(3, 65_536),
        message(0, 2, 3),
        ancillary(message(70_000, 3, 3)),
        message(100_000, 4, 3),
        control(RecordKind::Ping, 0, 9, 4),
        message(5_000, 5, 4),
        control(RecordKind::Close, 5, 0, 4),
        control(RecordKind::Pong, 0, 9, 4),
    ]
    .concat()
}

fn events(bytes: &[u8], step: usize) -> Vec<String> {
    let mut inbound = Inbound::new(&with_credit(1 << 20));
    let mut events = Vec::new();
    for part in bytes.chunks(step) {
        for arrival in feed(&mut inbound, part).unwrap() {
            let event = format!("{} {:?}", arrival.ack, arrival.event);
            // How many bytes were copied is the one thing that differs.
            events.push(event.split(", copied").next().unwrap().to_owned());
        }
    }
    inbound.ended().unwrap();
    events
}

#[test]
fn events_are_the_same_however_bytes_are_split() {
    let stream = stream();
    let whole = events(&stream, stream.len());
    assert_eq!(whole.len(), 10);
    for step in [1, 7, 63, 64, 65, 1000, 4096, 16 << 10, 50_000] {
        assert_eq!(events(&stream, step), whole, "in steps of {step}");
    }
}

#[test]
fn a_large_payload_is_read_in_place() {
    let mut inbound = inbound(&config());
    let record = message(500_000, 1, 0);
    feed(&mut inbound, &record[..1000]).unwrap();
    assert!(inbound.spare().unwrap().len() > 400_000);
}

/// Its end was copied if it was short: up to 4 KiB more than what came with the header.
#[test]
fn the_end_of_a_payload_that_has_landed_is_read_in_place() {
    let mut inbound = inbound(&config());
    let record = message(500_000, 1, 0);
    let (most, end) = record.split_at(record.len() - 100);
    feed(&mut inbound, most).unwrap();
    assert_eq!(inbound.spare().unwrap().len(), 100);
    let arrivals = feed(&mut inbound, end).unwrap();
    let Event::Message { copied, .. } = &arrivals[0].event else {
        panic!()
    };
    assert!(*copied <= 16 << 10, "{copied}");
    assert!(inbound.spare().unwrap().len() > 100);
}

#[test]
fn what_is_over_the_limits_of_our_hello_is_a_fault() {
    let record = message((1 << 20) + 1, 1, 0);
    let error = fault(&mut inbound(&config()), &record[..64]);
    assert!(matches!(
        error,
        Fault::Invalid(DecodeError::PayloadTooLong { .. })
    ));
    assert_eq!(error.refusal(), Some(Refusal::TooLarge));

    let mut hello = Hello::new(MAX);
    hello.header = 100;
    let message = text(5).with_attribute("long", "x".repeat(200));
    let mut encoder = crate::kit::encoder(&message);
    encoder.stamp(numpush_message::Stamp {
        id: 1,
        ..Default::default()
    });
    let record = encoder.copy_rest();
    let fault = fault(&mut inbound(&Config::new(hello)), &record[..64]);
    assert!(matches!(
        fault,
        Fault::Invalid(DecodeError::HeaderTooLong { max: 100, .. })
    ));
}

#[test]
fn what_we_did_not_offer_to_take_is_a_fault() {
    let record = message(5, 1, 0);
    let forge = |change: fn(&mut Preamble)| {
        let (first, rest) = record.split_first_chunk::<64>().unwrap();
        let mut preamble = Preamble::decode(first).unwrap();
        change(&mut preamble);
        let header = &rest[..preamble.header_len as usize];
        [&preamble.encode(header)[..], rest].concat()
    };
    let part = forge(|preamble| preamble.kind = RecordKind::Part);
    let compressed = forge(|preamble| {
        preamble.flags = Flags {
            compressed: true,
            ..Flags::default()
        };
    });
    for record in [part, compressed] {
        let fault = fault(&mut inbound(&config()), &record);
        assert_eq!(fault.refusal(), Some(Refusal::InvalidMessage), "{fault}");
    }
}

#[test]
fn a_flipped_bit_is_a_fault() {
    for bit in 0..64 * 8 {
        let mut record = message(5, 1, 0);
        record[bit / 8] ^= 1 << (bit % 8);
        let mut inbound = inbound(&config());
        // A length that grew makes us wait for more.
        let more = vec![0; 70_000];
        let fed = feed(&mut inbound, &record).and_then(|_| feed(&mut inbound, &more));
        fed.unwrap_err();
    }
}

#[test]
fn a_quiet_session_holds_a_kilobyte() {
    let mut inbound = inbound(&with_credit(16 << 20));
    let burst: Vec<u8> = (1..2_000).flat_map(|id| message(5, id, 0)).collect();
    feed(&mut inbound, &burst).unwrap();
    assert!(inbound.spare().unwrap().len() > 10_000);
    inbound.found_nothing(Instant::now()).unwrap();
    assert!(inbound.spare().unwrap().len() <= 1_024);
}
