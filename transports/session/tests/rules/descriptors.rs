use std::time::Instant;

use numpush_message::{HeapAllocator, RecordKind};
use numpush_session::{Event, Fault, Front, Inbound};

use crate::kit::{
    ack, config, control, drain, feed, feed_at, inbound, message, outbound, preambles, violation,
};

fn segment(number: u64) -> Vec<u8> {
    control(RecordKind::Segment, number, 1, 0)
}

fn with(inbound: &mut Inbound<u32>, bytes: &[u8], descriptor: u32) -> Result<Vec<String>, Fault> {
    let arrivals = feed_at(inbound, bytes, Some(descriptor), Instant::now())?;
    Ok(arrivals
        .iter()
        .map(|one| format!("{:?}", one.event))
        .collect())
}

fn named(number: u64, descriptor: u32) -> String {
    format!("Segment {{ number: {number}, descriptor: Some({descriptor}) }}")
}

#[test]
fn a_descriptor_belongs_to_its_segment_however_the_record_is_split() {
    let record = segment(3);
    for split in 1..record.len() {
        let mut inbound = inbound(&config());
        assert_eq!(with(&mut inbound, &record[..split], 7).unwrap().len(), 0);
        let arrivals = feed(&mut inbound, &record[split..]).unwrap();
        assert_eq!(format!("{:?}", arrivals[0].event), named(3, 7));
    }
}

#[test]
fn a_descriptor_belongs_to_the_record_that_began_last_in_its_read() {
    // The read brings the end of a message, whole records, and the first bytes of the segment's.
    for split in 1..=64 {
        let mut inbound = inbound(&config());
        let record = message(300, 1, 0);
        feed(&mut inbound, &record[..80]).unwrap();
        let segment = segment(3);
        let read = [&record[80..], &ack(0, 65_536), &segment[..split]].concat();
        let mut events = with(&mut inbound, &read, 7).unwrap();
        let rest = feed(&mut inbound, &segment[split..]).unwrap();
        events.extend(rest.iter().map(|one| format!("{:?}", one.event)));
        assert_eq!(events.last(), Some(&named(3, 7)), "split at {split}");
    }
}

#[test]
fn descriptors_that_wait_in_the_read_ahead_keep_their_records() {
    let mut inbound = inbound(&config());
    let mut heap = HeapAllocator::new();
    for number in 1..=5 {
        let record = segment(number.into());
        let spare = inbound.spare().unwrap();
        spare[..64].copy_from_slice(&record);
        inbound
            .filled(64, Some(number * 10), Instant::now(), &mut heap)
            .unwrap();
    }
    for number in 1..=5 {
        let arrival = inbound.next(&mut heap).unwrap().unwrap();
        assert_eq!(
            format!("{:?}", arrival.event),
            named(number.into(), number * 10)
        );
    }
}

#[test]
fn a_segment_says_whether_memory_comes_with_it() {
    let fault = feed(&mut inbound(&config()), &segment(3)).unwrap_err();
    assert!(violation(&fault).contains("without its memory"));
    let forget = control(RecordKind::Segment, 3, 0, 0);
    let fault = with(&mut inbound(&config()), &forget, 7).unwrap_err();
    assert!(violation(&fault).contains("forgotten with some"));
    let arrivals = feed(&mut inbound(&config()), &forget).unwrap();
    let is_forgotten = matches!(
        arrivals[0].event,
        Event::Segment {
            number: 3,
            descriptor: None
        }
    );
    assert!(is_forgotten);
}

#[test]
fn a_descriptor_with_another_record_is_a_fault() {
    for record in [message(5, 1, 0), ack(0, 65_536)] {
        let fault = with(&mut inbound(&config()), &record, 7).unwrap_err();
        assert_eq!(violation(&fault), "a descriptor came with no segment");
    }
}

#[test]
fn two_descriptors_with_one_record_are_a_fault() {
    let record = segment(3);
    let mut inbound = inbound(&config());
    with(&mut inbound, &record[..20], 7).unwrap();
    let fault = with(&mut inbound, &record[20..], 8).unwrap_err();
    assert_eq!(violation(&fault), "two descriptors came with one record");
}

#[test]
fn a_record_cannot_fill_the_process_with_descriptors() {
    for len in [300, 900_000] {
        let mut inbound = inbound(&config());
        let record = message(len, 1, 0);
        feed(&mut inbound, &record[..100]).unwrap();
        let mut held = 0;
        let fault = (0..1000).find_map(|_| match with(&mut inbound, &[7], 7) {
            Ok(_) => {
                held += 1;
                None
            }
            Err(fault) => Some(fault),
        });
        assert!(fault.is_some() && held <= 3, "{held} descriptors");
    }
}

#[test]
fn a_descriptor_is_written_with_the_first_byte_of_its_record() {
    let mut outbound = outbound(&config(), config().hello);
    outbound.announce(3, 7);
    let Some(Front::Descriptor(7, _)) = outbound.front() else {
        panic!()
    };
    outbound.written(1);
    assert!(outbound.is_midway());
    outbound.forget(3);
    let Some(Front::Control(rest)) = outbound.front() else {
        panic!()
    };
    assert_eq!(rest.len(), 63 + 64);
    outbound.written(63);
    let forgotten = preambles(&drain(&mut outbound))[0];
    assert_eq!((forgotten.kind, forgotten.id), (RecordKind::Segment, 3));
    assert_eq!(forgotten.payload_len, 0);
}
