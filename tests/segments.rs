//! What a unix connection keeps: memory, mappings and descriptors of both sides, while messages come and go.

use std::collections::BTreeMap;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use numpush::transfer::{Budget, PathReason, TransferPath};
use numpush::unix::SealedBufferMut;
use numpush::{Buffer, Connection, Error, Frame, Listener, Message, Options};
use numpush_tests::{TempPath, bytes, in_turn, open_descriptors, tests};

const MIB: u64 = 1 << 20;

/// One test at a time: what another keeps would count.
fn main() {
    // What a test may have does not depend on the limit of the shell that it is started from.
    drop(Budget::process().max_descriptors(4096));
    in_turn(tests![
        messages_in_a_list_take_little_more_than_their_bytes,
        what_is_made_sent_and_dropped_leaves_nothing,
        a_frame_in_eighty_memories_arrives,
        three_hundred_memories_in_a_list_arrive,
        a_send_that_timed_out_can_be_made_again,
        memory_of_a_burst_is_given_back,
        what_is_dropped_in_turn_takes_two_messages_of_memory,
        a_descriptor_that_cannot_be_taken_is_named,
        over_its_descriptors_a_peer_copies_and_loses_nothing,
    ]);
}

fn pair(name: &str) -> (Connection, Connection, Listener) {
    let place = TempPath::new(name);
    let mut listener = numpush::listen(&format!("unix:{}", place.0.display())).unwrap();
    let (tx, rx) = pair_of(&mut listener);
    (tx, rx, listener)
}

fn pair_of(listener: &mut Listener) -> (Connection, Connection) {
    let mut tx = numpush::connect(&listener.address()).unwrap();
    let mut rx = listener.accept_for(numpush_tests::PATIENCE).unwrap();
    for link in [&mut tx, &mut rx] {
        link.set_timeouts(Some(numpush_tests::PATIENCE), Some(numpush_tests::PATIENCE));
    }
    (tx, rx)
}

/// Handles what has come.
fn poll(link: &mut Connection) {
    link.set_timeouts(Some(numpush_tests::PATIENCE), Some(Duration::ZERO));
    assert!(link.recv().unwrap_err().is_timeout());
    link.set_timeouts(Some(numpush_tests::PATIENCE), Some(numpush_tests::PATIENCE));
}

fn sealed(len: u64, fill: u8) -> Buffer<'static> {
    let mut memory = SealedBufferMut::new(usize::try_from(len).unwrap()).unwrap();
    memory.as_mut_slice().fill(fill);
    memory.seal().unwrap()
}

/// Bytes of the memory that this process has open or mapped, each memory once.
fn memory() -> u64 {
    let mut sizes = BTreeMap::new();
    for entry in std::fs::read_dir("/proc/self/fd").unwrap().flatten() {
        let target = std::fs::read_link(entry.path()).unwrap_or_default();
        if target.to_string_lossy().starts_with("/memfd:numpush") {
            let data = std::fs::metadata(entry.path()).unwrap();
            sizes.insert(data.ino(), data.len());
        }
    }
    for (inode, len) in mappings() {
        let size = sizes.entry(inode).or_default();
        *size = len.max(*size);
    }
    sizes.values().sum()
}

/// Each mapping of memory: its inode and its bytes.
fn mappings() -> Vec<(u64, u64)> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let ours = maps.lines().filter(|line| line.contains("/memfd:numpush"));
    let parsed = ours.map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (start, end) = fields[0].split_once('-').unwrap();
        let [start, end] = [start, end].map(|text| u64::from_str_radix(text, 16).unwrap());
        (fields[4].parse().unwrap(), end - start)
    });
    parsed.collect()
}

/// C2 of the audit: the 257th killed the link, and they took 265 MiB.
fn messages_in_a_list_take_little_more_than_their_bytes() {
    let (mut tx, mut rx, _listener) = pair("list");
    let mut list = Vec::new();
    for at in (0..=u8::MAX).cycle().take(300) {
        let sent = tx.send(&bytes(100_000, at)).unwrap();
        assert_eq!(sent.path, TransferPath::SegmentCopy);
        list.push(rx.recv().unwrap().message);
    }
    for (at, message) in (0..=u8::MAX).cycle().zip(&list) {
        assert_eq!(*message, bytes(100_000, at));
    }
    assert!(memory() <= 40 * MIB, "{} bytes", memory());
    drop(list);
    tx.send(&bytes(10, 1)).unwrap();
    assert_eq!(rx.recv().unwrap().message, bytes(10, 1));
}

/// C6: 64 of them stayed open and mapped on both sides.
fn what_is_made_sent_and_dropped_leaves_nothing() {
    let (mut tx, mut rx, _listener) = pair("made");
    let descriptors = open_descriptors();
    let send = |tx: &mut Connection, rx: &mut Connection| {
        let sent = tx.send(&Message::new(sealed(16 * MIB, 1))).unwrap();
        assert_eq!(sent.path, TransferPath::Reference);
        rx.recv().unwrap();
    };
    for _ in 0..100 {
        send(&mut tx, &mut rx);
        // The receiver tells of its release in its next call, and the sender hears of it in its own.
        poll(&mut rx);
        assert!(memory() <= 48 * MIB, "{} bytes", memory());
        assert!(open_descriptors() <= descriptors + 6);
        assert!(mappings().len() <= 6);
    }
    // Nothing more is sent, and still nothing stays.
    numpush_tests::eventually("all memory is given back", || {
        poll(&mut rx);
        poll(&mut tx);
        poll(&mut rx);
        memory() == 0
    });
    assert_eq!(open_descriptors(), descriptors);
}

fn frame(columns: Vec<Buffer<'static>>) -> Message<'static> {
    use numpush::model::{Column, ColumnData, ColumnType};
    let columns = columns.into_iter().enumerate().map(|(at, values)| {
        let (rows, nulls) = (values.len(), Buffer::default());
        let data = ColumnData::new(ColumnType::Uint8, rows, vec![nulls, values]).unwrap();
        Column::new(at.to_string(), data).unwrap()
    });
    Message::new(Frame::new(columns.collect()).unwrap())
}

/// M4: from 65 on the link was killed.
fn a_frame_in_eighty_memories_arrives() {
    let (mut tx, mut rx, _listener) = pair("eighty");
    let columns = (0..80).map(|at| sealed(64 << 10, at)).collect();
    let message = frame(columns);
    for _ in 0..2 {
        tx.send(&message).unwrap();
        assert!(rx.recv().unwrap().message == message);
    }
}

/// Each takes a descriptor of the receiver's: when it has no more to give, messages are written.
fn three_hundred_memories_in_a_list_arrive() {
    let (mut tx, mut rx, _listener) = pair("memories");
    let mut list = Vec::new();
    let mut reasons = BTreeMap::new();
    for at in (0..=u8::MAX).cycle().take(300) {
        let message = Message::new(sealed(64 << 10, at));
        let sent = tx.send(&message).unwrap();
        *reasons.entry(sent.reason.name()).or_insert(0) += 1;
        list.push(rx.recv().unwrap().message);
    }
    assert!(reasons[PathReason::SegmentsHeld.name()] > 0, "{reasons:?}");
    assert!(
        reasons[PathReason::StableDescriptor.name()] > 0,
        "{reasons:?}"
    );
    for (at, message) in (0..=u8::MAX).cycle().zip(&list) {
        let bytes = message.as_bytes().unwrap();
        assert!(bytes.iter().all(|&byte| byte == at));
    }
}

/// M3: the receiver hung up, because the segment of the second try was never announced.
fn a_send_that_timed_out_can_be_made_again() {
    let (mut tx, mut rx, _listener) = pair("again");
    // Until the socket is full.
    tx.set_timeouts(Some(Duration::ZERO), Some(numpush_tests::PATIENCE));
    let small = bytes(10, 1);
    let mut count = 0;
    let full = loop {
        match tx.send(&small) {
            Ok(_) => count += 1,
            Err(error) => break error,
        }
    };
    assert!(full.is_timeout(), "{full:?}");
    let messages = [
        Message::new(sealed(MIB, 3)),
        bytes(100_000, 4),
        frame(vec![sealed(64 << 10, 1), Buffer::from(vec![2; 64 << 10])]),
    ];
    for message in messages.iter().chain(&messages) {
        let error = tx.send(message).unwrap_err();
        assert!(error.is_timeout() && error.is_recoverable(), "{error:?}");
    }
    for _ in 0..count {
        assert_eq!(rx.recv().unwrap().message, small);
    }
    tx.set_timeouts(Some(numpush_tests::PATIENCE), Some(numpush_tests::PATIENCE));
    for message in &messages {
        let sent = tx.send(message).unwrap();
        assert_ne!(sent.path, TransferPath::Write);
        let received = rx.recv().unwrap();
        assert!(received.message == *message);
    }
}

fn memory_of_a_burst_is_given_back() {
    let (mut tx, mut rx, _listener) = pair("burst");
    let mut list = Vec::new();
    for at in 0..64 {
        tx.send(&bytes(1 << 20, at)).unwrap();
        list.push(rx.recv().unwrap().message);
    }
    assert!(memory() >= 64 * MIB);
    drop(list);
    for at in (0..=u8::MAX).cycle().take(600) {
        tx.send(&bytes(1 << 20, at)).unwrap();
        assert_eq!(rx.recv().unwrap().message, bytes(1 << 20, at));
    }
    assert!(memory() <= 24 * MIB, "{} bytes", memory());
}

fn what_is_dropped_in_turn_takes_two_messages_of_memory() {
    numpush_tests::eventually("all memory is given back", || memory() == 0);
    let (mut tx, mut rx, _listener) = pair("turns");
    for at in (0..=u8::MAX).cycle().take(500) {
        tx.send(&bytes(1 << 20, at)).unwrap();
        assert_eq!(rx.recv().unwrap().message, bytes(1 << 20, at));
        assert!(memory() <= 2 * MIB, "{} bytes", memory());
    }
}

/// The error said that the peer had broken the protocol.
fn a_descriptor_that_cannot_be_taken_is_named() {
    let (mut tx, mut rx, _listener) = pair("none");
    let message = Message::new(sealed(MIB, 1));
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    // The lowest free number, and the first that may not be had.
    let last = std::fs::File::open("/dev/null").unwrap();
    let few = u64::try_from(last.as_raw_fd()).unwrap() + 1;
    setrlimit(Resource::RLIMIT_NOFILE, few, hard).unwrap();
    tx.send(&message).unwrap();
    let error = rx.recv().unwrap_err();
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    let told = format!("{error:?}");
    assert!(
        told.contains(&format!("more than {few} (RLIMIT_NOFILE)")),
        "{told}"
    );
    // Both know why, and that this connection is over, and no other.
    assert!(matches!(rx.recv(), Err(Error::Failed { .. })));
    let error = tx.flush().unwrap_err();
    assert!(error.to_string().contains("RLIMIT_NOFILE"), "{error}");
    assert!(!error.is_recoverable());
    let (mut tx, mut rx, _listener) = pair("after");
    tx.send(&message).unwrap();
    assert_eq!(rx.recv().unwrap().message, message);
}

/// M22 of the audit: only `RLIMIT_NOFILE` bounded them, and each connection had 8 whatever the others had.
fn over_its_descriptors_a_peer_copies_and_loses_nothing() {
    let place = TempPath::new("over");
    let budget = Budget::new().max_descriptors(4);
    let used = || budget.status().descriptors.used;
    let options = Options::new().budget(budget.clone());
    let mut listener = options
        .listen(&format!("unix:{}", place.0.display()))
        .unwrap();
    let (mut tx, mut rx) = pair_of(&mut listener);
    assert_eq!((used(), budget.status().descriptors.limit), (4, 4));
    let mut kept = Vec::new();
    let mut referred = 0;
    for fill in 0..20 {
        let sent = tx.send(&Message::new(sealed(100_000, fill))).unwrap();
        referred += u64::from(sent.path == TransferPath::Reference);
        let expected = vec![fill; 100_000];
        let received = rx.recv().unwrap().message;
        assert!(received.as_bytes().unwrap()[..] == expected);
        kept.push(received);
    }
    assert!(referred > 0 && referred < 5, "{referred} by reference");
    // Nothing is left for another one.
    let (mut late, mut its) = pair_of(&mut listener);
    assert_eq!(used(), 4);
    let sent = late.send(&Message::new(sealed(100_000, 1))).unwrap();
    assert_eq!(sent.path, TransferPath::Write);
    assert_eq!(its.recv().unwrap().message.payload_len(), 100_032);
    drop((late, its));
    // A connection that is gone keeps what its messages lie in.
    drop(tx);
    rx.recv().map(drop).unwrap_err();
    assert!(used() >= referred && used() < 5, "{}", used());
    drop(rx);
    assert!(used() >= referred, "{}", used());
    drop(kept);
    numpush_tests::eventually("no descriptor is kept", || used() == 0);
}
