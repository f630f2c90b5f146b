//! Who comes in: other protocols, other versions, other users, and peers that say nothing.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;

use numpush::transfer::Operation;
use numpush::wire::{Hello, Preamble, RecordKind};
use numpush::{Error, Listener};
use numpush_tests::{TempPath, bytes};

use crate::raw::{hello, tcp};

/// Why the next to come was not let in.
fn failed_handshake(listener: &mut Listener) -> Box<Error> {
    let error = listener
        .accept_for(numpush_tests::PATIENCE)
        .map(drop)
        .unwrap_err();
    match error {
        Error::Handshake { source, .. } => source,
        error => panic!("{error:?}"),
    }
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
        let source = failed_handshake(&mut listener);
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
    let mut newer = Hello::new(1 << 30);
    newer.versions = 9..=9;
    let mut raw = TcpStream::connect(address).unwrap();
    raw.write_all(&newer.encode()).unwrap();
    let error = listener
        .accept_for(numpush_tests::PATIENCE)
        .map(drop)
        .unwrap_err();
    let Error::Handshake { source, .. } = error else {
        panic!()
    };
    assert!(matches!(
        *source,
        Error::Version {
            theirs: (9, 9),
            ours: (1, 1),
            ..
        }
    ));
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
    for _ in 0..2 {
        let source = failed_handshake(&mut listener);
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
