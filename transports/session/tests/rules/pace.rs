use std::time::{Duration, Instant};

use numpush_message::HeapAllocator;
use numpush_session::{Config, Fault, Inbound, Refusal};

use crate::kit::{config, feed, feed_at, inbound, message};

const PATIENCE: Duration = Duration::from_secs(10);

fn patient() -> Config {
    config().patience(PATIENCE)
}

fn after(start: Instant, seconds: u64) -> Instant {
    start + Duration::from_secs(seconds)
}

fn stalled(result: Result<impl Sized, Fault>) -> bool {
    match result {
        Err(fault @ Fault::Stalled { .. }) => {
            assert_eq!(fault.refusal(), Some(Refusal::TooSlow));
            true
        }
        Err(fault) => panic!("{fault}"),
        Ok(_) => false,
    }
}

/// Half a message has come, at `start`.
fn midway(start: Instant) -> (Inbound<u32>, Vec<u8>) {
    let mut inbound = inbound(&patient());
    let mut record = message(500, 1, 0);
    feed_at(&mut inbound, &record[..100], None, start).unwrap();
    (inbound, record.split_off(100))
}

#[test]
fn silence_in_the_middle_of_a_record_is_a_fault() {
    let start = Instant::now();
    let (mut inbound, _) = midway(start);
    inbound.found_nothing(start).unwrap();
    assert_eq!(inbound.deadline(), Some(start + PATIENCE));
    inbound.found_nothing(after(start, 9)).unwrap();
    assert!(stalled(inbound.found_nothing(after(start, 10))));
}

#[test]
fn silence_between_records_is_none() {
    let start = Instant::now();
    let mut inbound = inbound(&patient());
    for hour in 0..5 {
        inbound.found_nothing(after(start, hour * 3600)).unwrap();
        assert_eq!(inbound.deadline(), None);
    }
}

#[test]
fn a_record_that_drips_is_a_fault_however_it_is_read() {
    for asks_between in [true, false] {
        let start = Instant::now();
        let (mut inbound, rest) = midway(start);
        let mut seconds = 0;
        let fault = rest.iter().find_map(|byte| {
            seconds += 1;
            let now = after(start, seconds);
            let fed = feed_at(&mut inbound, &[*byte], None, now).map(|_| ());
            let found = fed.and_then(|()| match asks_between {
                true => inbound.found_nothing(now),
                // A driver that blocks in its reads never finds nothing.
                false => Ok(()),
            });
            stalled(found.clone()).then_some(found)
        });
        assert!(fault.is_some() && seconds == 10, "{seconds}");
    }
}

#[test]
fn a_large_payload_may_take_its_time() {
    let start = Instant::now();
    let mut inbound = inbound(&patient());
    let record = message(1 << 20, 1, 0);
    feed_at(&mut inbound, &record[..1000], None, start).unwrap();
    // 1 MiB at 64 KiB/s.
    assert_eq!(inbound.allowance(), PATIENCE + Duration::from_secs(16));
    for (index, part) in record[1000..].chunks(50_000).enumerate() {
        let now = after(start, index as u64 + 1);
        feed_at(&mut inbound, part, None, now).unwrap();
    }
    assert!(inbound.is_idle());
}

#[test]
fn the_time_between_two_calls_is_the_programs() {
    let start = Instant::now();
    let (mut inbound, rest) = midway(start);
    inbound.found_nothing(start).unwrap();
    let later = after(start, 3600);
    inbound.resume(later);
    inbound.found_nothing(later).unwrap();
    assert_eq!(inbound.deadline(), Some(later + PATIENCE - PATIENCE / 16));
    feed_at(&mut inbound, &rest, None, later).unwrap();
}

/// A program that polls and never waits in a call finds a peer that drips, too.
#[test]
fn the_time_between_polls_adds_up() {
    let start = Instant::now();
    let (mut inbound, _) = midway(start);
    let stalls = (1..100).any(|second| {
        let now = after(start, second);
        inbound.resume(now);
        stalled(inbound.found_nothing(now))
    });
    assert!(stalls);
}

#[test]
fn the_time_without_room_is_not_the_peers() {
    let start = Instant::now();
    let mut inbound = inbound(&patient());
    let record = message(500, 1, 0);
    let spare = inbound.spare().unwrap();
    spare[..100].copy_from_slice(&record[..100]);
    let mut full = crate::room::Full;
    inbound.filled(100, None, start, &mut full).unwrap();
    assert!(inbound.next(&mut full).unwrap_err().is_recoverable());
    assert_eq!(inbound.deadline(), None);
    let mut heap = HeapAllocator::new();
    assert!(inbound.next(&mut heap).unwrap().is_none());
    inbound.found_nothing(after(start, 3600)).unwrap();
    assert!(stalled(inbound.found_nothing(after(start, 3610))));
}

#[test]
fn each_record_has_a_time_of_its_own() {
    let start = Instant::now();
    let mut inbound = inbound(&patient());
    for id in 1..10 {
        let record = message(5, id, 0);
        feed_at(&mut inbound, &record[..70], None, after(start, id * 9)).unwrap();
        inbound.found_nothing(after(start, id * 9)).unwrap();
        feed_at(&mut inbound, &record[70..], None, after(start, id * 9 + 5)).unwrap();
    }
    feed(&mut inbound, &[]).unwrap();
}

/// A driver that waits for many peers at once says what of the time was the program's.
#[test]
fn the_time_that_a_driver_excuses_is_not_the_peers() {
    let start = Instant::now();
    let (mut inbound, rest) = midway(start);
    inbound.excuse(Duration::from_secs(90));
    inbound.resume(after(start, 95));
    inbound.found_nothing(after(start, 95)).unwrap();
    assert_eq!(inbound.deadline(), Some(after(start, 100)));
    inbound.excuse(Duration::from_secs(1));
    inbound.resume(after(start, 100));
    feed_at(&mut inbound, &rest[..10], None, after(start, 100)).unwrap();
    inbound.excuse(Duration::ZERO);
    inbound.resume(after(start, 101));
    assert!(stalled(inbound.found_nothing(after(start, 102))));
}

/// Calls that only send moved the deadline of the record along.
#[test]
fn calls_between_excuses_give_the_peer_no_time() {
    let start = Instant::now();
    let (mut inbound, _rest) = midway(start);
    inbound.excuse(Duration::ZERO);
    let due = inbound.deadline().unwrap();
    for second in 0..100 {
        inbound.resume(after(start, second));
    }
    assert_eq!(inbound.deadline(), Some(due));
    inbound.hand_back();
    inbound.resume(after(start, 100));
    assert!(inbound.deadline() > Some(due));
    inbound.found_nothing(after(start, 100)).unwrap();
}
