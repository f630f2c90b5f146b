//! What peers may make us allocate, and what happens when there is no more room.

use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use numpush::model::{Buffer, BufferAllocator as _, HeapAllocator};
use numpush::shm::Arena;
use numpush::transfer::Refusal;
use numpush::wire::{Encoder, Flags, Stamp};
use numpush::{Connection, Error, Message, Options};
use numpush_tests::{PATIENCE, TempPath, bytes};

use crate::raw::hello;

const MIB: usize = 1 << 20;

/// The first bytes of a message of `len` bytes, which are never sent.
fn claim(len: usize) -> Vec<u8> {
    // The system gives no memory for zeros that nobody touches.
    let message = Message::from(Buffer::from(vec![0; len]));
    let mut encoder = Encoder::new(&message, Flags::default()).unwrap();
    encoder.stamp(Stamp {
        id: 1,
        ..Stamp::default()
    });
    encoder.head().into()
}

/// C3: three peers that claimed a GiB each took 3 GiB, for hours.
#[test]
fn silent_peers_take_no_memory() {
    let arena = Arena::new(3 << 29);
    let options = Options::new()
        .allocator(arena.clone())
        .recv_timeout(Duration::from_millis(5));
    let mut listener = options.listen("tcp://127.0.0.1:0").unwrap();
    let address = listener.address().replace("tcp://", "");
    let mut silent = Vec::new();
    for number in 1..=3 {
        let mut peer = TcpStream::connect(&address).unwrap();
        peer.write_all(&hello(false)).unwrap();
        peer.write_all(&claim(1 << 30)).unwrap();
        let mut link = listener.accept_for(PATIENCE).unwrap();
        numpush_tests::eventually("the claim", || {
            assert!(link.recv().unwrap_err().is_timeout());
            arena.usage().reserved >= number * MIB
        });
        silent.push((peer, link));
    }
    let taken = arena.usage().reserved;
    assert!(taken <= 64 * MIB, "{} MiB", taken / MIB);
    // There is room for everybody else.
    let mut sender = numpush::connect(&format!("tcp://{address}")).unwrap();
    let mut receiver = listener.accept_for(PATIENCE).unwrap();
    receiver.set_timeouts(Some(PATIENCE), Some(PATIENCE));
    let message = bytes(100 * MIB, 1);
    thread::scope(|scope| {
        scope.spawn(|| sender.send(&message).unwrap());
        assert!(receiver.recv().unwrap().message == message);
    });
    drop(silent);
    numpush_tests::eventually("the end of the claims", || arena.usage().used < 101 * MIB);
}

#[test]
fn a_claim_on_the_heap_touches_no_page_ahead() {
    let mut region = HeapAllocator::new().claim(1 << 30).unwrap();
    region.ensure(1 << 30).unwrap();
    region.as_mut_slice()[..96].fill(7);
    let address = region.as_mut_slice().as_ptr().addr();
    let resident = resident_around(address);
    assert!(resident <= 16 << 10, "{resident} KiB");
}

/// Resident KiB of the mapping with this address.
fn resident_around(address: usize) -> u64 {
    let text = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let mut is_inside = false;
    for line in text.lines() {
        let bounds = line.split(' ').next().and_then(|it| it.split_once('-'));
        let hex = |text| usize::from_str_radix(text, 16);
        if let Some((Ok(start), Ok(end))) = bounds.map(|(start, end)| (hex(start), hex(end))) {
            is_inside = (start..end).contains(&address);
        } else if is_inside && let Some(rest) = line.strip_prefix("Rss:") {
            return rest.trim().trim_end_matches(" kB").parse().unwrap();
        }
    }
    panic!("no mapping has the address");
}

/// Both ends of a link, the receiving one into `arena`.
fn into(arena: &Arena, endpoint: &str) -> (Connection, Connection) {
    let options = Options::new().allocator(arena.clone());
    let mut listener = options.listen(endpoint).unwrap();
    let mut sender = numpush::connect(&listener.address()).unwrap();
    let mut receiver = listener.accept_for(PATIENCE).unwrap();
    for link in [&mut sender, &mut receiver] {
        link.set_timeouts(Some(PATIENCE), Some(PATIENCE));
    }
    (sender, receiver)
}

fn endpoints(place: &TempPath) -> [String; 3] {
    let path = place.0.display();
    let zmq = "zmq+tcp://127.0.0.1:0".to_owned();
    ["tcp://127.0.0.1:0".into(), format!("inproc:{path}"), zmq]
}

/// M5: an arena that was full for a moment ended the link, and the peer was told that it had sent rubbish.
#[test]
fn a_full_arena_holds_messages_back_and_loses_none() {
    let place = TempPath::new("full");
    for endpoint in endpoints(&place) {
        let mut arena = Arena::new(40 * MIB);
        let (mut sender, mut receiver) = into(&arena, &endpoint);
        let value = arena.allocate(30 * MIB).unwrap();
        // One that is taken at once, one that grows, and one behind them.
        let sizes = [12 * MIB, 20 * MIB, 100];
        thread::scope(|scope| {
            scope.spawn(move || {
                for (seed, size) in (1..).zip(sizes) {
                    sender.send(&bytes(size, seed)).unwrap();
                }
                // A connection that is dropped waits no longer than it must for the peer to read.
                sender.close()
            });
            for _ in 0..3 {
                let error = receiver.recv().unwrap_err();
                assert!(matches!(error, Error::NoRoom { .. }), "{error:?}");
                assert!(error.is_recoverable());
            }
            let mut value = Some(value);
            for (seed, size) in (1..).zip(sizes) {
                drop(value.take());
                let message = receiver.recv().unwrap().message;
                assert!(message == bytes(size, seed), "{endpoint}: {size} bytes");
            }
        });
    }
}

#[test]
fn a_message_that_never_fits_is_an_error_with_both_lengths() {
    let place = TempPath::new("never");
    let [tcp, inproc, _] = endpoints(&place);
    for (endpoint, len) in [(tcp, 20 * MIB), (inproc, 20 * MIB)] {
        let arena = Arena::new(16 * MIB);
        let (mut sender, mut receiver) = into(&arena, &endpoint);
        let said = thread::scope(|scope| {
            let said = scope.spawn(|| {
                let message = bytes(len, 1);
                loop {
                    if let Err(error) = sender.send(&message) {
                        break error;
                    }
                }
            });
            let error = receiver.recv().unwrap_err();
            assert!(!error.is_recoverable());
            let text = format!("{error:?}");
            for length in [len, 16 * MIB] {
                assert!(text.contains(&length.to_string()), "{text}");
            }
            drop(receiver);
            said.join().unwrap()
        });
        assert!(
            matches!(
                said,
                Error::Refused {
                    reason: Refusal::NoRoom,
                    ..
                }
            ),
            "{endpoint}: {said:?}"
        );
    }
}
