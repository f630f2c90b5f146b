//! Descriptors: of memory that could change, of memory that is not there, too many, and none left.

use std::io::{IoSlice, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use numpush::wire::{DecodeError, Encoder, Flags, Preamble, RecordKind, Reference, Stamp};
use numpush::{Error, Message};
use numpush_tests::{Peer, TempPath, again, bytes, say, under};

use crate::ROLE;
use crate::raw::{hello, raw_unix, tcp};

/// A message by reference, as `unix` sends it, and a segment for it to refer to.
fn referring(segment: u32, offset: u64) -> Vec<u8> {
    let message = bytes(100_000, 1);
    let mut encoder = Encoder::new(&message, Flags::default()).unwrap();
    encoder.stamp(Stamp {
        id: 1,
        ..Stamp::default()
    });
    let reference = Reference { segment, offset };
    encoder.by_reference(&[reference]).copy_rest()
}

fn announce(raw: &UnixStream, descriptor: &OwnedFd) {
    let record = Preamble::control(RecordKind::Segment, 1, 1).encode(&[]);
    numpush_os::send_with_descriptor(raw, &[IoSlice::new(&record)], descriptor, true).unwrap();
}

/// Sends a record with one descriptor many times.
fn send_many(raw: &UnixStream, record: &[u8], descriptor: &OwnedFd, times: usize) {
    let descriptors = vec![descriptor.as_raw_fd(); times];
    let rights = [ControlMessage::ScmRights(&descriptors)];
    let slices = [IoSlice::new(record)];
    sendmsg::<()>(
        raw.as_raw_fd(),
        &slices,
        &rights,
        MsgFlags::MSG_NOSIGNAL,
        None,
    )
    .unwrap();
}

fn sealed(len: usize) -> std::sync::Arc<OwnedFd> {
    let segment = numpush::unix::SealedBufferMut::new(len).unwrap();
    std::sync::Arc::clone(&segment.seal().unwrap().backing().unwrap().file)
}

/// F10, F18: only memory that cannot shrink is mapped.
#[test]
fn descriptors_that_could_shrink_are_refused() {
    let file = std::fs::File::open("/proc/self/exe").unwrap();
    let zero = std::fs::File::open("/dev/zero").unwrap();
    let (pipe, _end) = std::io::pipe().unwrap();
    let (socket, _other) = UnixStream::pair().unwrap();
    let place = TempPath::new("unsealed");
    std::fs::write("/dev/shm/numpush-test-unsealed", [0; 4096]).unwrap();
    let shared = std::fs::File::open("/dev/shm/numpush-test-unsealed").unwrap();
    std::fs::remove_file("/dev/shm/numpush-test-unsealed").unwrap();
    drop(place);
    for descriptor in [
        OwnedFd::from(file),
        zero.into(),
        pipe.into(),
        socket.into(),
        shared.into(),
    ] {
        let (raw, mut link, _listener, _place) = raw_unix();
        announce(&raw, &descriptor);
        let error = link.recv().unwrap_err();
        let Error::Io { source, .. } = &error else {
            panic!("{error:?}")
        };
        assert_eq!(source.kind(), std::io::ErrorKind::PermissionDenied);
    }
}

/// F21 for segments: a reference is checked before a byte of it is read.
#[test]
fn references_outside_their_segment_are_refused() {
    let outside = [(1, 1), (1, u64::MAX), (1, 1 << 40), (2, 0), (0, 0)];
    for (segment, offset) in outside {
        let (mut raw, mut link, _listener, _place) = raw_unix();
        announce(&raw, &sealed(100_000));
        raw.write_all(&referring(segment, offset)).unwrap();
        let error = link.recv().unwrap_err();
        let is_reference = matches!(
            &error,
            Error::InvalidMessage {
                source: DecodeError::Reference { .. },
                ..
            }
        );
        assert!(is_reference, "segment {segment} at {offset}: {error:?}");
    }
    let (mut raw, mut link, _listener, _place) = raw_unix();
    announce(&raw, &sealed(100_000));
    raw.write_all(&referring(1, 0)).unwrap();
    assert_eq!(link.recv().unwrap().message.payload_len(), 100_032);
}

/// How often each way of too many descriptors is tried.
const ROUNDS: usize = 2;
const HOW_MANY: [usize; 5] = [1, 2, 3, 10, 253];

/// F17: descriptors nobody asked for are closed, and a peer may not fill our table with them.
#[test]
fn surplus_descriptors_do_not_stay() {
    let count = |peer: &mut Peer| peer.hears("descriptors").parse::<usize>().unwrap();
    let place = TempPath::new("surplus");
    let mut command = again("peer");
    command.env(ROLE, "count-descriptors");
    let mut peer = Peer::start(command.env("NUMPUSH_TEST_PATH", &place.0));
    let before = count(&mut peer);
    let descriptor = sealed(4096);
    // With a record that has no use for any, and with the first one.
    let ack = Preamble::control(RecordKind::Ack, 0, 0).encode(&[]);
    let ways = HOW_MANY.map(|times| [(times, false), (times, true)]);
    for (times, with_hello) in ways.as_flattened().repeat(ROUNDS) {
        let mut raw = UnixStream::connect(&place.0).unwrap();
        let mut record = Vec::from(ack);
        if with_hello {
            record = hello(true);
        } else {
            raw.write_all(&hello(true)).unwrap();
        }
        send_many(&raw, &record, &descriptor, times);
        let mut rest = Vec::new();
        let _ = raw.read_to_end(&mut rest);
    }
    let mut raw = UnixStream::connect(&place.0).unwrap();
    raw.write_all(b"the end, with enough bytes to be told")
        .unwrap();
    assert_eq!(count(&mut peer), before);
    peer.ends_well();
}

/// F16: out of descriptors, the listener waits without spinning, and those who are in go on.
#[test]
fn out_of_descriptors_the_others_go_on() {
    let wrapper = ["sh", "-c", "ulimit -n 24; exec \"$0\" \"$@\""];
    let status = under(&wrapper, "peer")
        .env(ROLE, "few-descriptors")
        .status()
        .unwrap();
    assert!(status.success());
}

pub(crate) fn few_descriptors() {
    let (mut listener, address) = tcp();
    let mut tx = numpush::connect(&listener.address()).unwrap();
    let mut rx = listener.accept_for(numpush_tests::PATIENCE).unwrap();
    let mut crowd = Vec::new();
    while let Ok(raw) = TcpStream::connect(&address) {
        crowd.push(raw);
    }
    let before = numpush_os::usage().unwrap();
    assert!(listener.accept_for(Duration::from_secs(1)).is_err());
    let after = numpush_os::usage().unwrap();
    let spent = (after.user + after.system) - (before.user + before.system);
    assert!(
        spent < Duration::from_millis(200),
        "{spent:?} of processor time in one second of waiting"
    );
    tx.send(&bytes(1000, 1)).unwrap();
    assert_eq!(rx.recv().unwrap().message, bytes(1000, 1));
    crowd.clear();
    let mut late = None;
    numpush_tests::eventually("a place for the late", || {
        late = late
            .take()
            .or_else(|| numpush::connect(&listener.address()).ok());
        late.is_some() && listener.accept_for(Duration::from_secs(1)).is_ok()
    });
}

/// F24: what goes by sendfile cannot change, because only sealed memory has a descriptor to send from.
#[test]
fn memory_that_goes_by_its_pages_cannot_change() {
    let mut listener = numpush::listen("tcp://127.0.0.1:0").unwrap();
    let mut tx = numpush::connect(&format!("{}?sendfile=on", listener.address())).unwrap();
    let mut rx = listener.accept_for(numpush_tests::PATIENCE).unwrap();
    let mut segment = numpush::unix::SealedBufferMut::new(1 << 20).unwrap();
    segment.as_mut_slice().fill(1);
    let buffer = segment.seal().unwrap();
    let file = std::sync::Arc::clone(&buffer.backing().unwrap().file);
    tx.send(&Message::new(numpush::model::Body::Bytes(buffer)))
        .unwrap();
    let mut writable = std::fs::File::from(file.as_fd().try_clone_to_owned().unwrap());
    assert!(
        writable.write_all(&[2; 4096]).is_err(),
        "the seal forbids it"
    );
    assert!(
        rx.recv()
            .unwrap()
            .message
            .as_bytes()
            .unwrap()
            .iter()
            .all(|&byte| byte == 1)
    );
}

/// Counts the descriptors before and after it has let in everybody who comes to `NUMPUSH_TEST_PATH`.
pub(crate) fn count_descriptors() {
    let path = std::env::var("NUMPUSH_TEST_PATH").unwrap();
    let mut listener = numpush::listen(&format!("unix:{path}")).unwrap();
    say("descriptors", numpush_tests::open_descriptors());
    // Who sends descriptors with the hello is refused, or right behind it; the last one speaks something else.
    let peers = (2 * ROUNDS * HOW_MANY.len() + 1) as u64;
    let mut accepted = 0;
    while accepted + listener.status().refused < peers {
        let wanted = [(listener.descriptor().unwrap(), numpush_os::Ready::READ)];
        numpush_os::wait(&wanted, None).unwrap();
        let Some(mut link) = listener.try_accept().unwrap() else {
            continue;
        };
        accepted += 1;
        let error = link.recv().map(drop).unwrap_err();
        let expected = matches!(error, Error::ProtocolViolation { .. });
        assert!(expected, "{error:?}");
    }
    say("descriptors", numpush_tests::open_descriptors());
}
