use std::time::Instant;

use numpush_message::{AllocError, BufferAllocator, BufferMut, HeapAllocator};
use numpush_session::{Event, Fault, Refusal};

use crate::kit::{config, feed, inbound, message, text, with_credit};

/// Has no room.
pub(crate) struct Full;

impl BufferAllocator for Full {
    fn allocate(&mut self, len: usize) -> Result<Box<dyn BufferMut>, AllocError> {
        Err(AllocError::NoMemory { len })
    }
}

/// Will never have room.
struct Narrow;

impl BufferAllocator for Narrow {
    fn allocate(&mut self, len: usize) -> Result<Box<dyn BufferMut>, AllocError> {
        Err(AllocError::TooLarge { len, max: 0 })
    }
}

#[test]
fn without_room_nothing_is_lost_and_the_same_bytes_go_on() {
    for len in [5, 500, 70_000, 500_000] {
        let mut inbound = inbound(&with_credit(1 << 20));
        let record = [message(len, 1, 0), message(5, 2, 0)].concat();
        let mut heap = HeapAllocator::new();
        let (mut rest, mut found) = (&record[..], Vec::new());
        let mut refused = 0;
        while found.len() < 2 {
            // Every other call finds no room.
            match inbound.next(&mut Full) {
                Ok(None) => {}
                // There was room when it began.
                Ok(Some(arrival)) => found.push(arrival),
                Err(fault) => {
                    assert!(fault.is_recoverable());
                    assert_eq!(fault.refusal(), None);
                    inbound.spare().unwrap_err();
                    refused += 1;
                }
            }
            if let Some(arrival) = inbound.next(&mut heap).unwrap() {
                found.push(arrival);
                continue;
            }
            let spare = inbound.spare().unwrap();
            let count = spare.len().min(rest.len());
            spare[..count].copy_from_slice(&rest[..count]);
            rest = &rest[count..];
            match inbound.filled(count, None, Instant::now(), &mut Full) {
                Ok(()) => {}
                Err(fault) => assert!(fault.is_recoverable()),
            }
        }
        assert!(refused >= 1, "{len}");
        for (arrival, len) in found.iter().zip([len, 5]) {
            let Event::Message { message, .. } = &arrival.event else {
                panic!()
            };
            assert_eq!(*message, text(len));
        }
    }
}

#[test]
fn room_that_will_never_be_is_told_to_the_peer() {
    let mut inbound = inbound(&config());
    let record = message(5, 1, 0);
    let spare = inbound.spare().unwrap();
    spare[..record.len()].copy_from_slice(&record);
    let now = Instant::now();
    let filled = inbound.filled(record.len(), None, now, &mut Narrow);
    let fault = filled
        .and_then(|()| inbound.next(&mut Narrow).map(|_| ()))
        .unwrap_err();
    assert!(matches!(fault, Fault::NoRoom(_)) && !fault.is_recoverable());
    assert_eq!(fault.refusal(), Some(Refusal::NoRoom));
    assert_eq!(Refusal::NoRoom.to_wire(), 8);
    inbound.next(&mut HeapAllocator::new()).unwrap_err();
    feed(&mut inbound, &[0]).unwrap_err();
}

/// Without its header a decoder asks for no more than that, and a record whose payload never comes looked whole.
#[test]
fn a_record_is_cut_if_its_payload_cannot_come() {
    let mut inbound = inbound(&with_credit(1 << 20));
    let record = message(200_000, 1, 0);
    feed(&mut inbound, &record[..64]).unwrap();
    let rest = record.len() as u64 - 64;
    assert!(!inbound.is_cut(rest), "all of it can come");
    assert!(inbound.is_cut(rest - 1));
    assert!(inbound.is_cut(100), "its header alone is no record");
}
