//! Bad input and bad peers: the fault table F10 to F28, as far as these transports go. Each returns a named error, and costs
//! no other link anything.

use std::io::{IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use numpush::transfer::Operation;
use numpush::wire::{DecodeError, Flags, Preamble, Record, RecordKind};
use numpush::{Connection, Error, Listener, Message};
use numpush_tests::{Peer, TempPath, again, bytes, say, under};

const ROLE: &str = "NUMPUSH_TEST_ROLE";

fn hello(segments: bool) -> [u8; 32] {
    Preamble::control(RecordKind::Hello, u32::from(segments) * 2, 1 << 30).encode(&[])
}

fn tcp() -> (Listener, String) {
    let listener = numpush::listen("tcp://127.0.0.1:0").unwrap();
    let address = listener.address().replace("tcp://", "");
    (listener, address)
}

/// A peer that says hello and then what it likes, and our link with it.
fn raw_tcp() -> (TcpStream, Connection, Listener) {
    let (mut listener, address) = tcp();
    let mut raw = TcpStream::connect(address).unwrap();
    raw.write_all(&hello(false)).unwrap();
    let mut link = listener.accept_for(numpush_tests::PATIENCE).unwrap();
    link.set_timeouts(Some(numpush_tests::PATIENCE), Some(numpush_tests::PATIENCE));
    (raw, link, listener)
}

fn raw_unix() -> (UnixStream, Connection, Listener, TempPath) {
    let place = TempPath::new("raw");
    let mut listener = numpush::listen(&format!("unix:{}", place.0.display())).unwrap();
    let mut raw = UnixStream::connect(&place.0).unwrap();
    raw.write_all(&hello(true)).unwrap();
    let mut link = listener.accept_for(numpush_tests::PATIENCE).unwrap();
    link.set_timeouts(Some(numpush_tests::PATIENCE), Some(numpush_tests::PATIENCE));
    (raw, link, listener, place)
}

fn record(message: &Message<'_>, id: u32) -> Vec<u8> {
    numpush::wire::Encoder::new(message, id, Flags::default())
        .unwrap()
        .copy_rest()
}

/// What our link says to `sent`.
fn answer_to(sent: &[u8]) -> Error {
    let (mut raw, mut link, _listener) = raw_tcp();
    raw.write_all(sent).unwrap();
    let error = link.recv().unwrap_err();
    let again = link.recv().unwrap_err();
    assert!(
        matches!(again, Error::Failed { .. }),
        "a link that met an invalid message is closed: {again:?}"
    );
    error
}

#[test]
fn foreign_protocols_are_named_and_cost_nobody_else_anything() {
    let (mut listener, address) = tcp();
    let greetings: [(&[u8], &str); 5] = [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP"),
        (b"SSH-2.0-OpenSSH_9.2\r\n1234567890123456789", "SSH"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", "TLS"),
        (b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f", "ZeroMQ"),
        (b"hi\n", "hi"),
    ];
    for (greeting, name) in greetings {
        let mut raw = TcpStream::connect(&address).unwrap();
        raw.write_all(greeting).unwrap();
        let error = listener
            .accept_for(numpush_tests::PATIENCE)
            .map(drop)
            .unwrap_err();
        let Error::Handshake { source, .. } = error else {
            panic!("{error:?}")
        };
        let Error::InvalidMessage { source, .. } = *source else {
            panic!("{source:?}")
        };
        assert!(source.to_string().contains(name), "{source}");
    }
    let mut tx = numpush::connect(&listener.address()).unwrap();
    let mut rx = listener.accept_for(numpush_tests::PATIENCE).unwrap();
    tx.send(&bytes(10, 1)).unwrap();
    assert_eq!(rx.recv().unwrap().message, bytes(10, 1));
}

#[test]
fn a_foreign_server_is_named_too() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut link = numpush::connect(&format!("tcp://{}", server.local_addr().unwrap())).unwrap();
    let (mut raw, _) = server.accept().unwrap();
    raw.write_all(b"220 mail.example.org ESMTP ready for you\r\n")
        .unwrap();
    let error = link.send(&bytes(10, 1)).unwrap_err();
    assert!(matches!(error, Error::Handshake { .. }), "{error:?}");
}

#[test]
fn another_version_is_refused_by_name() {
    let (mut listener, address) = tcp();
    let mut newer = hello(false);
    newer[4] = 9;
    let mut raw = TcpStream::connect(address).unwrap();
    raw.write_all(&newer).unwrap();
    let error = listener
        .accept_for(numpush_tests::PATIENCE)
        .map(drop)
        .unwrap_err();
    let Error::Handshake { source, .. } = error else {
        panic!()
    };
    assert!(matches!(
        *source,
        Error::InvalidMessage {
            source: DecodeError::Version { theirs: 9, ours: 1 },
            ..
        }
    ));
    let mut answer = Vec::new();
    raw.read_to_end(&mut answer).unwrap();
    let refusal = Preamble::decode(answer[32..64].try_into().unwrap()).unwrap();
    assert_eq!(refusal.kind, RecordKind::Refuse, "the peer is told");
}

/// F20, F21, F27: claims, overflows and truncation.
#[test]
fn rubbish_after_a_good_handshake_is_named() {
    let preamble = |header_len, buffers, payload_len| {
        let flags = Flags::default();
        Preamble {
            kind: RecordKind::Array,
            flags,
            header_len,
            buffers,
            payload_len,
            id: 1,
        }
        .encode(&[])
    };
    let decode = |sent: &[u8]| match answer_to(sent) {
        Error::InvalidMessage { source, .. } => source,
        error => panic!("{error:?}"),
    };
    assert!(matches!(
        decode(&preamble(100, 1, 1 << 50)),
        DecodeError::PayloadTooLong { .. }
    ));
    assert!(matches!(
        decode(&preamble(u32::MAX, 1, 64)),
        DecodeError::HeaderTooLong { .. }
    ));
    assert!(matches!(
        decode(&preamble(100, u32::MAX, 64)),
        DecodeError::TooManyBuffers { .. }
    ));
    assert!(matches!(
        decode(&[0; 64]),
        DecodeError::ForeignProtocol { .. }
    ));
    let good = record(&bytes(1000, 1), 1);
    let mut flipped = good.clone();
    flipped[40] ^= 1;
    assert!(matches!(
        decode(&flipped),
        DecodeError::HeaderChecksum { .. }
    ));
    let mut flags = good;
    flags[6] = 0x80;
    assert!(matches!(decode(&flags), DecodeError::UnknownFlags { .. }));
    let wrong_number = record(&bytes(1000, 1), 7);
    assert!(
        matches!(answer_to(&wrong_number), Error::ProtocolViolation { .. }),
        "a message is missing"
    );
    let twice = record(&bytes(10, 1), 1);
    let (mut raw, mut link, _listener) = raw_tcp();
    raw.write_all(&twice).unwrap();
    raw.write_all(&twice).unwrap();
    assert_eq!(link.recv().unwrap().message, bytes(10, 1));
    assert!(
        matches!(link.recv().unwrap_err(), Error::ProtocolViolation { .. }),
        "F34: a message came twice"
    );
}

#[test]
fn a_forged_acknowledgement_is_refused() {
    for id in [1, 77] {
        let error = answer_to(&Preamble::control(RecordKind::Ack, id, 0).encode(&[]));
        assert!(
            matches!(error, Error::ProtocolViolation { .. }),
            "{id}: {error:?}"
        );
    }
    let segment = Preamble::control(RecordKind::Segment, 1, 0).encode(&[]);
    let (mut raw, mut link, _listener) = raw_tcp();
    raw.write_all(&segment).unwrap();
    assert!(
        matches!(link.recv().unwrap_err(), Error::Io { .. }),
        "tcp takes no segments"
    );
}

/// F27: a partial message is never shown.
#[test]
fn a_connection_cut_in_mid_message_shows_nothing() {
    let record = record(&bytes(1 << 20, 1), 1);
    for cut in [1, 31, 32, 60, 5000, record.len() - 1] {
        let (mut raw, mut link, _listener) = raw_tcp();
        raw.write_all(&record[..cut]).unwrap();
        drop(raw);
        let error = link.recv().unwrap_err();
        assert!(
            matches!(error, Error::Disconnected { missing: 1.., .. }),
            "cut at {cut}: {error:?}"
        );
    }
}

/// F28: a peer that says nothing, or little, holds up nobody, and is told off in time.
#[test]
fn silent_and_slow_peers_hold_up_nobody() {
    let (mut listener, address) = tcp();
    let silent = TcpStream::connect(&address).unwrap();
    let mut slow = TcpStream::connect(&address).unwrap();
    slow.write_all(&hello(false)[..1]).unwrap();
    let mut tx = numpush::connect(&listener.address()).unwrap();
    // The last to come is the first to be let in: whoever is slow has not been waited for.
    let mut rx = listener.accept_for(numpush_tests::PATIENCE).unwrap();
    tx.send(&bytes(10, 1)).unwrap();
    assert_eq!(rx.recv().unwrap().message, bytes(10, 1));
    for _ in 0..2 {
        let error = listener
            .accept_for(numpush_tests::PATIENCE)
            .map(drop)
            .unwrap_err();
        let Error::Handshake { source, .. } = error else {
            panic!("{error:?}")
        };
        assert!(
            matches!(
                *source,
                Error::Timeout {
                    operation: Operation::Handshake,
                    ..
                }
            ),
            "{source:?}"
        );
    }
    drop((silent, slow));
}

#[test]
fn a_header_that_does_not_go_on_is_given_up() {
    let (mut raw, mut link, _listener) = raw_tcp();
    raw.write_all(&record(&bytes(1 << 20, 1), 1)[..40]).unwrap();
    let error = link.recv().unwrap_err();
    assert!(matches!(error, Error::Stalled { .. }), "{error:?}");
}

/// A message by reference, as `unix` sends it, and a segment for it to refer to.
fn referring(segment: u32, offset: u64) -> Vec<u8> {
    let message = bytes(100_000, 1);
    let encoder = numpush::wire::Encoder::new(
        &message,
        1,
        Flags {
            checksums: false,
            references: true,
        },
    )
    .unwrap();
    let mut record = Vec::from(encoder.head());
    record.extend_from_slice(&u64::from(segment).to_le_bytes());
    record.extend_from_slice(&offset.to_le_bytes());
    record
}

fn announce(raw: &UnixStream, descriptor: &OwnedFd) {
    let record = Preamble::control(RecordKind::Segment, 1, 0).encode(&[]);
    numpush_os::send_with_descriptor(raw, &[IoSlice::new(&record)], descriptor, true).unwrap();
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
    for _ in 0..20 {
        let mut raw = UnixStream::connect(&place.0).unwrap();
        raw.write_all(&hello(true)).unwrap();
        // One with a record that has no use for it.
        let ack = Preamble::control(RecordKind::Ack, 1, 0).encode(&[]);
        let _ = numpush_os::send_with_descriptor(&raw, &[IoSlice::new(&ack)], &descriptor, true);
        let mut rest = Vec::new();
        let _ = raw.read_to_end(&mut rest);
    }
    let mut raw = UnixStream::connect(&place.0).unwrap();
    raw.write_all(b"the end, with enough bytes to be told")
        .unwrap();
    assert_eq!(count(&mut peer), before);
    peer.ends_well();
}

/// F19: another user is refused before anything of it is read, unless the endpoint allows it.
#[test]
fn another_user_is_refused() {
    if numpush_os::user() != 0 {
        numpush_tests::not_run("only root can act as another user");
        return;
    }
    let place = TempPath::new("user");
    let act = |path: &std::path::Path| {
        let script = "import os, socket, sys; os.setuid(65534); s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); \
                      s.sendall(bytes.fromhex(sys.argv[2])); s.recv(64)";
        let hello: String = hello(true)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Command::new("python3")
            .args(["-c", script, path.to_str().unwrap(), &hello])
            .spawn()
            .unwrap()
    };
    for (query, allowed) in [("", false), ("?users=65534", true)] {
        let mut listener = numpush::listen(&format!("unix:{}{query}", place.0.display())).unwrap();
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(&place.0, permissions).unwrap();
        let mut child = act(&place.0);
        match listener.accept_for(numpush_tests::PATIENCE) {
            Ok(_) => assert!(allowed),
            Err(Error::Handshake { source, .. }) => {
                assert!(!allowed);
                assert!(
                    matches!(
                        *source,
                        Error::ForeignUser {
                            uid: 65534,
                            allowed: 0,
                            ..
                        }
                    ),
                    "{source:?}"
                );
            }
            Err(error) => panic!("{error:?}"),
        }
        child.wait().unwrap();
    }
}

/// Does nothing unless a test above or below started it.
#[test]
fn peer() {
    match std::env::var(ROLE).as_deref() {
        Ok("count-descriptors") => {
            let path = std::env::var("NUMPUSH_TEST_PATH").unwrap();
            let mut listener = numpush::listen(&format!("unix:{path}")).unwrap();
            say("descriptors", numpush_tests::open_descriptors());
            while let Ok(mut link) = listener.accept_for(numpush_tests::PATIENCE) {
                let error = link.recv().map(drop).unwrap_err();
                let expected = matches!(error, Error::ProtocolViolation { .. });
                assert!(expected, "{error:?}");
            }
            say("descriptors", numpush_tests::open_descriptors());
        }
        Ok("few-descriptors") => few_descriptors(),
        _ => {}
    }
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

fn few_descriptors() {
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

/// F12, F25: a message file that was cut is an error, never a signal.
#[test]
fn a_truncated_file_is_an_error() {
    let path = TempPath::new("cut");
    numpush::file::write(&path.0, &bytes(1 << 20, 1), true).unwrap();
    let whole = std::fs::read(&path.0).unwrap();
    let read = || {
        numpush::file::read(&path.0, &mut numpush::model::HeapAllocator::new(), u64::MAX)
            .map(drop)
            .unwrap_err()
    };
    for len in [0, 31, 100, 4096, whole.len() - 1] {
        std::fs::write(&path.0, &whole[..len]).unwrap();
        let error = read();
        let is_cut = matches!(
            &error,
            Error::InvalidMessage {
                source: DecodeError::Truncated { .. },
                ..
            }
        );
        assert!(is_cut, "{len}: {error:?}");
    }
    let mut longer = whole.clone();
    longer.push(b'x');
    std::fs::write(&path.0, longer).unwrap();
    assert!(matches!(
        read(),
        Error::InvalidMessage {
            source: DecodeError::TrailingBytes { count: 1 },
            ..
        }
    ));
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 4;
    std::fs::write(&path.0, flipped).unwrap();
    assert!(
        matches!(
            read(),
            Error::InvalidMessage {
                source: DecodeError::PayloadChecksum { .. },
                ..
            }
        ),
        "F33"
    );
}

/// F13: a full file system is an error, and nothing is left of the attempt.
#[test]
fn a_full_file_system_is_an_error() {
    let folder = TempPath::new("full");
    std::fs::create_dir(&folder.0).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
        .arg(&folder.0)
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        numpush_tests::not_run("only root can mount a small file system");
        return;
    }
    let error =
        numpush::file::write(&folder.0.join("big.np"), &bytes(4 << 20, 1), false).unwrap_err();
    let left = std::fs::read_dir(&folder.0).unwrap().count();
    let unmounted = Command::new("umount").arg(&folder.0).status().unwrap();
    assert!(unmounted.success());
    let Error::Io { source, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(source.kind(), std::io::ErrorKind::StorageFull);
    assert_eq!(left, 0);
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

/// F26: short calls change nothing: the receiver gets every split the sender makes.
#[test]
fn bytes_in_any_pieces_are_the_same_message() {
    let message = bytes(300_000, 1);
    let record = record(&message, 1);
    for piece in [1, 7, 33, 4096] {
        let (mut raw, mut link, _listener) = raw_tcp();
        raw.set_nodelay(true).unwrap();
        let record = record.clone();
        let count = if piece == 1 { 3000 } else { record.len() };
        let writer = std::thread::spawn(move || {
            record[..count]
                .chunks(piece)
                .for_each(|part| raw.write_all(part).unwrap());
            raw.write_all(&record[count..]).unwrap();
            raw
        });
        assert_eq!(link.recv().unwrap().message, message);
        drop(writer.join().unwrap());
    }
}

/// F26: calls that a signal interrupts change nothing.
#[test]
fn interrupted_calls_change_nothing() {
    let place = TempPath::new("interrupted");
    for endpoint in [
        "tcp://127.0.0.1:0".to_owned(),
        format!("unix:{}", place.0.display()),
        format!("file:{}/", place.0.with_extension("spool").display()),
    ] {
        let mut listener = numpush::listen(&endpoint).unwrap();
        let mut tx = numpush::connect(&listener.address()).unwrap();
        let mut rx = listener.accept_for(numpush_tests::PATIENCE).unwrap();
        let before = storm::caught();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _storm = storm::over_this_thread();
                for turn in 0..10 {
                    tx.send(&bytes(8 << 20, turn)).unwrap();
                    tx.send(&bytes(100, turn)).unwrap();
                }
                tx.flush().unwrap();
            });
            let _storm = storm::over_this_thread();
            for turn in 0..10 {
                assert!(rx.recv().unwrap().message == bytes(8 << 20, turn));
                assert_eq!(rx.recv().unwrap().message, bytes(100, turn));
            }
            // The last acknowledgement goes with the next call.
            rx.set_timeouts(None, Some(Duration::from_millis(100)));
            let _ = rx.recv();
        });
        let caught = storm::caught() - before;
        assert!(caught > 100, "{endpoint}: only {caught} signals");
    }
    let _ = std::fs::remove_dir_all(place.0.with_extension("spool"));
}

/// Signals that interrupt the calls of one thread, again and again.
mod storm {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::thread::JoinHandle;
    use std::time::Duration;

    use nix::sys::pthread::{pthread_kill, pthread_self};
    use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

    static CAUGHT: AtomicU64 = AtomicU64::new(0);

    extern "C" fn count(_: i32) {
        CAUGHT.fetch_add(1, Ordering::Relaxed);
    }

    /// Signals that have been handled so far.
    pub(crate) fn caught() -> u64 {
        CAUGHT.load(Ordering::Relaxed)
    }

    /// Ends the storm over its thread.
    pub(crate) struct Storm {
        done: Arc<AtomicBool>,
        sender: Option<JoinHandle<()>>,
    }

    pub(crate) fn over_this_thread() -> Storm {
        // Without SA_RESTART: what the signal meets returns EINTR.
        let action = SigAction::new(
            SigHandler::Handler(count),
            SaFlags::empty(),
            SigSet::empty(),
        );
        #[expect(unsafe_code, reason = "a handler may do anything")]
        // SAFETY: the handler adds to an atomic, which signal-safety(7) allows.
        unsafe { sigaction(Signal::SIGALRM, &action) }.unwrap();
        let (target, done) = (pthread_self(), Arc::new(AtomicBool::new(false)));
        let ended = Arc::clone(&done);
        let sender = std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                // The thread lives until its `Storm` is dropped, and that waits for this one.
                pthread_kill(target, Signal::SIGALRM).unwrap();
                std::thread::sleep(Duration::from_micros(100));
            }
        });
        Storm {
            done,
            sender: Some(sender),
        }
    }

    impl Drop for Storm {
        fn drop(&mut self) {
            self.done.store(true, Ordering::Relaxed);
            self.sender.take().map(JoinHandle::join);
        }
    }
}

#[test]
fn a_decoder_that_failed_stays_failed() {
    let mut decoder = numpush::wire::Decoder::new(numpush::wire::Limits::default());
    decoder.spare().unwrap().fill(7);
    let mut heap = numpush::model::HeapAllocator::new();
    assert!(matches!(
        decoder.filled(32, &mut heap).map(|_: Option<Record>| ()),
        Err(DecodeError::ForeignProtocol { .. })
    ));
    assert!(decoder.spare().is_err());
}
