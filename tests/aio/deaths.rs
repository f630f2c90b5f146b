//! Peers in other processes, which are killed.

use std::io::Read;

use numpush::aio;
use numpush::{Buffer, Error, Message};
use numpush_tests::{Peer, TempPath, again, bytes, say};

use crate::{on_each_runtime, within};

const ROLE: &str = "NUMPUSH_TEST_AIO_PEER";

/// Not a test of its own: it plays the peer.
#[test]
fn peer() {
    let Ok(endpoint) = std::env::var(ROLE) else {
        return;
    };
    let mut link = numpush::connect(&endpoint).unwrap();
    say("pid", std::process::id());
    // The other side takes nothing, so that this is in the middle of a message for ever.
    let large = Message::new(Buffer::from(vec![1; 300 << 20]));
    let (mut tx, mut rx) = match endpoint.starts_with("tcp") {
        true => link.split().unwrap(),
        false => {
            // By writing: a reference would be whole at once.
            for _ in 0.. {
                if link.send(&bytes(50_000, 1)).is_err() {
                    return;
                }
            }
            return;
        }
    };
    let sender = std::thread::spawn(move || tx.send(&large).map(drop));
    let _ = rx.recv();
    let _ = sender.join();
    let _ = std::io::stdin().read(&mut [0]);
}

/// A child process that sends, and is in the middle of it.
fn started(endpoint: &str) -> Peer {
    let mut peer = Peer::start(again("deaths::peer").env(ROLE, endpoint));
    peer.hears("pid");
    peer
}

#[test]
fn a_peer_that_is_killed_in_the_middle_of_a_message_is_named() {
    on_each_runtime(|| async {
        let mut listener = aio::listen("tcp://127.0.0.1:0").unwrap();
        let address = listener.address();
        let mut peer = started(&address);
        let mut link = within(listener.accept()).await.unwrap();
        // Until a part of the message is here.
        while link.status().waiting_bytes == 0 {
            let looked = tokio::time::timeout(std::time::Duration::from_millis(1), link.recv());
            assert!(looked.await.is_err());
        }
        peer.signal("-STOP");
        let killer = std::thread::spawn(move || peer.kill());
        let error = loop {
            match within(link.recv()).await {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        killer.join().unwrap();
        let Error::Disconnected { peer, missing } = &error else {
            panic!("{error:?}");
        };
        assert!(
            peer.starts_with("tcp://127.0.0.1:") && *missing > 0,
            "{error:?}"
        );
        // What its kernel was sent before it told of the end was taken.
        while within(link.send(&bytes(10, 1))).await.is_ok() {}
    });
}

#[test]
fn a_peer_that_is_killed_ends_what_waits_for_it() {
    on_each_runtime(|| async {
        let place = TempPath::new("killed");
        let mut listener = aio::listen(&format!("unix:{}", place.0.display())).unwrap();
        let mut peer = started(&listener.address());
        let link = within(listener.accept()).await.unwrap();
        let (mut tx, mut rx) = link.split();
        rx.recv().await.unwrap();
        // It reads nothing, so that this waits.
        let sender = tokio::spawn(async move {
            loop {
                if let Err(error) = tx.send(&bytes(60_000, 1)).await {
                    return error;
                }
            }
        });
        let killer = std::thread::spawn(move || peer.kill());
        let error = loop {
            if let Err(error) = within(rx.recv()).await {
                break error;
            }
        };
        killer.join().unwrap();
        assert!(matches!(error, Error::Disconnected { .. }), "{error:?}");
        assert!(error.to_string().contains("unix:"), "{error}");
        let error = sender.await.unwrap();
        assert!(!error.is_recoverable(), "{error:?}");
    });
}
