//! Who comes in: other protocols, other versions, other users, and peers that say nothing.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Instant;

use numpush::transfer::{Operation, Ready};
use numpush::wire::{Hello, Preamble, RecordKind};
use numpush::{Error, Listener};
use numpush_tests::{TempPath, bytes};

use crate::raw::{hello, tcp};

/// Lets in whoever comes until somebody is refused, and returns why.
fn refusal(listener: &mut Listener) -> Error {
    numpush_tests::eventually("a refusal", || {
        assert!(listener.try_accept().unwrap().is_none());
        listener.status().refused > 0
    });
    match listener.take_refused().unwrap() {
        Error::Handshake { source, .. } => *source,
        error => panic!("{error:?}"),
    }
}

/// One call of accept, while strangers come and a good peer after them.
fn accept_among_strangers(listener: &mut Listener, mut strangers: impl FnMut()) {
    let address = listener.address();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| listener.accept_for(numpush_tests::PATIENCE));
        strangers();
        let mut tx = numpush::connect(&address).unwrap();
        let mut rx = waiting.join().unwrap().unwrap();
        tx.send(&bytes(10, 1)).unwrap();
        assert_eq!(rx.recv().unwrap().message, bytes(10, 1));
    });
}

/// A stranger ended accept with an error, in the middle of a wait for others.
#[test]
fn no_stranger_ends_accept() {
    let place = TempPath::new("strangers");
    for endpoint in [
        "tcp://127.0.0.1:0".to_owned(),
        format!("unix:{}", place.0.display()),
    ] {
        let mut listener = numpush::listen(&endpoint).unwrap();
        let address = listener.address();
        let come = || -> Box<dyn Stranger> {
            let patience = Some(numpush_tests::PATIENCE);
            match address.strip_prefix("tcp://") {
                Some(address) => {
                    let stranger = TcpStream::connect(address).unwrap();
                    stranger.set_read_timeout(patience).unwrap();
                    Box::new(stranger)
                }
                None => {
                    let stranger = UnixStream::connect(&place.0).unwrap();
                    stranger.set_read_timeout(patience).unwrap();
                    Box::new(stranger)
                }
            }
        };
        let mut newer = Hello::new(1 << 30);
        newer.versions = 9..=9;
        let mut stay = Vec::new();
        accept_among_strangers(&mut listener, || {
            // One that scans ports, one that hangs up in the middle, and those that say something else.
            drop(come());
            come().write_all(&hello(false)[..10]).unwrap();
            for greeting in [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], &newer.encode()] {
                let mut stranger = come();
                stranger.write_all(greeting).unwrap();
                // It is told, or hung up on.
                let _ = stranger.read_to_end(&mut Vec::new());
            }
            // A silent one, and one that drips.
            stay.push(come());
            let mut drips = come();
            drips.write_all(&hello(false)[..1]).unwrap();
            stay.push(drips);
        });
        numpush_tests::eventually("four refusals", || {
            assert!(listener.try_accept().unwrap().is_none());
            listener.status().refused >= 4
        });
        // On a slow machine the time of the silent ones may be over too.
        let status = listener.status();
        assert_eq!(status.refused + status.handshakes as u64, 6, "{endpoint}");
        let mut reasons = String::new();
        while let Some(error) = listener.take_refused() {
            assert!(matches!(error, Error::Handshake { .. }), "{error:?}");
            reasons += &format!("{error:?}\n");
        }
        for reason in ["HTTP", "speaks versions 9 to 9"] {
            assert!(reasons.contains(reason), "{endpoint}: {reasons}");
        }
    }
}

trait Stranger: Read + Write {}

impl<T: Read + Write> Stranger for T {}

/// Many more than handshakes may be under way: the oldest are given up, and who speaks numpush gets in.
#[test]
fn three_hundred_silent_strangers_keep_nobody_out() {
    let (mut listener, address) = tcp();
    let mut silent = Vec::new();
    accept_among_strangers(&mut listener, || {
        silent.extend((0..300).map(|_| TcpStream::connect(&address).unwrap()));
    });
    numpush_tests::eventually("the last stranger", || {
        assert!(listener.try_accept().unwrap().is_none());
        let status = listener.status();
        status.refused + status.handshakes as u64 == 300
    });
    assert!(listener.status().handshakes <= 128);
    let error = format!("{:?}", listener.take_refused().unwrap());
    assert!(
        error.contains("128 handshakes at once") || error.contains("timed out"),
        "{error}"
    );
}

/// The descriptor is readable when there is something to do, and not for ever.
#[test]
fn a_program_waits_for_a_listener_among_others() {
    let (mut listener, _) = tcp();
    let is_ready = |listener: &Listener, until| {
        let wanted = [(listener.descriptor().unwrap(), Ready::READ)];
        numpush_os::wait(&wanted, Some(until)).unwrap()[0].read
    };
    assert!(listener.try_accept().unwrap().is_none());
    assert!(!is_ready(&listener, Instant::now()));
    let _tx = numpush::connect(&listener.address()).unwrap();
    let until = Instant::now() + numpush_tests::PATIENCE;
    while listener.try_accept().unwrap().is_none() {
        assert!(is_ready(&listener, until));
    }
    assert!(!is_ready(&listener, Instant::now()));
    // A handshake ends though nothing comes any more.
    let _silent = TcpStream::connect(listener.address().replace("tcp://", "")).unwrap();
    while listener.status().refused == 0 {
        assert!(is_ready(&listener, until));
        assert!(listener.try_accept().unwrap().is_none());
    }
    // Its timer has run out, and calls of accept span from then on.
    assert!(!is_ready(&listener, Instant::now()));
}

#[test]
fn foreign_protocols_are_named_and_cost_nobody_else_anything() {
    let greetings: [(&[u8], &str); 5] = [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP"),
        (b"SSH-2.0-OpenSSH_9.2\r\n1234567890123456789", "SSH"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", "TLS"),
        (b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f", "ZeroMQ"),
        (b"hi\n", "hi"),
    ];
    for (greeting, name) in greetings {
        let (mut listener, address) = tcp();
        let mut raw = TcpStream::connect(&address).unwrap();
        raw.write_all(greeting).unwrap();
        let source = refusal(&mut listener);
        let Error::InvalidMessage { source, .. } = source else {
            panic!("{source:?}")
        };
        assert!(source.to_string().contains(name), "{source}");
    }
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
    let mut newer = Hello::new(1 << 30);
    newer.versions = 9..=9;
    let mut raw = TcpStream::connect(address).unwrap();
    raw.write_all(&newer.encode()).unwrap();
    let error = refusal(&mut listener);
    assert!(
        matches!(
            error,
            Error::Version {
                theirs: (9, 9),
                ours: (1, 1),
                ..
            }
        ),
        "{error:?}"
    );
    let mut answer = Vec::new();
    raw.read_to_end(&mut answer).unwrap();
    let refusal = Preamble::decode(answer.last_chunk().unwrap()).unwrap();
    assert_eq!(refusal.kind, RecordKind::Refuse, "the peer is told");
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
    numpush_tests::eventually("the deadlines of both", || {
        assert!(listener.try_accept().unwrap().is_none());
        listener.status().refused == 2
    });
    while let Some(error) = listener.take_refused() {
        let Error::Handshake { source, .. } = error else {
            panic!("{error:?}")
        };
        let operation = Operation::Handshake;
        assert!(
            matches!(*source, Error::Timeout { operation: at, .. } if at == operation),
            "{source:?}"
        );
    }
    drop((silent, slow));
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
                      s.sendall(bytes.fromhex(sys.argv[2])); s.recv(128)";
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
        if allowed {
            listener.accept_for(numpush_tests::PATIENCE).unwrap();
        } else {
            let source = refusal(&mut listener);
            assert!(
                matches!(
                    source,
                    Error::ForeignUser {
                        uid: 65534,
                        allowed: 0,
                        ..
                    }
                ),
                "{source:?}"
            );
        }
        child.wait().unwrap();
    }
}
