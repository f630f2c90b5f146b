//! Peers that die, flood, stall or lie beside good ones.

use std::collections::HashMap;
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use numpush::poller::{Event, Key};
use numpush::wire::Hello;
use numpush::{Buffer, Connection, Error, Message, Options, Poller};
use numpush_tests::{PATIENCE, Peer, again, bytes, eventually, record, say};

use crate::{join, listeners, next};

/// Sends to the endpoint in the environment until it is killed; started by the test below.
#[test]
fn a_peer_that_is_killed() {
    let Ok(address) = std::env::var("NUMPUSH_POLLER") else {
        return;
    };
    let mut links: Vec<Connection> = (0..5)
        .map(|_| numpush::connect(&address).unwrap())
        .collect();
    for at in 0_u64.. {
        for link in &mut links {
            let _ = link.try_send(&bytes(100_000, 1));
            let _ = link.try_recv();
        }
        if at == 10 {
            say("it sends", 1);
        }
    }
}

const PEERS: usize = 200;
const ROUNDS: u32 = 20;

fn text(peer: usize, round: u32) -> Message<'static> {
    Message::new(Buffer::copy_of(format!("{peer} {round}").as_bytes()))
}

/// The other end: as many connections in one thread, each of which sends the next message when the last one came back.
fn ask(links: Vec<Connection>) {
    let mut poller = Poller::new().unwrap();
    let mut rounds: HashMap<Key, (usize, u32)> = HashMap::new();
    for (at, link) in links.into_iter().enumerate() {
        let key = poller.add(link).unwrap();
        poller.send(key, &text(at, 0)).unwrap();
        rounds.insert(key, (at, 0));
    }
    while !rounds.is_empty() {
        let Event::Message { key, received } = next(&mut poller) else {
            panic!("no message");
        };
        let (at, round) = rounds.get_mut(&key).unwrap();
        assert!(received.message == text(*at, *round), "out of order");
        *round += 1;
        if *round < ROUNDS {
            poller.send(key, &text(*at, *round)).unwrap();
        } else {
            rounds.remove(&key);
        }
    }
}

#[test]
fn one_thread_answers_200_peers_while_others_are_killed() {
    for (listener, _place) in listeners(&Options::new()) {
        let address = listener.address();
        let mut poller = Poller::new().unwrap();
        let mut doomed: Vec<Peer> = (0..3)
            .map(|_| {
                let mut command = again("peers::a_peer_that_is_killed");
                Peer::start(command.env("NUMPUSH_POLLER", &address))
            })
            .collect();
        let listening = poller.add_listener(listener).unwrap();
        let all = PEERS + 5 * doomed.len();
        let links = std::thread::spawn(move || {
            let connect = |_| numpush::connect(&address).unwrap();
            (0..PEERS).map(connect).collect()
        });
        let mut come = 0;
        while come < all {
            match next(&mut poller) {
                Event::Connected { listener, .. } if listener == listening => come += 1,
                Event::Message { .. } => {}
                event => panic!("{event:?}"),
            }
        }
        let links: Vec<Connection> = links.join().unwrap();
        let asking = std::thread::spawn(move || ask(links));
        let (mut answered, mut ended) = (0, 0);
        while !poller.is_empty() {
            match next(&mut poller) {
                Event::Message { key, received } => {
                    answered += 1;
                    let sent = poller.send(key, &received.message);
                    assert!(
                        matches!(
                            sent,
                            Ok(_) | Err(Error::Disconnected { .. } | Error::QueueFull { .. })
                        ),
                        "{sent:?}"
                    );
                    if answered == PEERS
                        && let Some(mut peer) = doomed.pop()
                    {
                        peer.hears("it sends");
                        peer.kill();
                    }
                    if answered > 2 * PEERS {
                        doomed.clear();
                    }
                }
                Event::Ended { .. } => ended += 1,
                Event::Closed { .. } => {}
                event => panic!("{event:?}"),
            }
        }
        asking.join().unwrap();
        assert_eq!(ended, all);
    }
}

/// One message of each connection in turn: who floods does not starve the others.
#[test]
fn a_flood_starves_nobody() {
    for (mut listener, _place) in listeners(&Options::new()) {
        let mut poller = Poller::new().unwrap();
        let (mut flood, flooding) = join(&mut poller, &mut listener);
        let (mut good, _) = join(&mut poller, &mut listener);
        for _ in 0..160 {
            flood.send(&bytes(10, 1)).unwrap();
        }
        // The flood has been read ahead when the other one speaks.
        for _ in 0..10 {
            next(&mut poller);
        }
        good.send(&bytes(10, 2)).unwrap();
        let mut before = 0;
        while let Event::Message { key, .. } = next(&mut poller)
            && key == flooding
        {
            before += 1;
        }
        assert!(before <= 128, "{before} messages of the flood came first");
    }
}

/// A peer that stalls in the middle of a message is given up by the poller's own timer.
#[test]
fn a_peer_that_stalls_is_given_up_and_nobody_else() {
    let options = Options::new().patience(Duration::from_millis(200));
    let mut listener = options.listen("tcp://127.0.0.1:0").unwrap();
    let mut poller = Poller::new().unwrap();
    let mut raw = TcpStream::connect(listener.address().replace("tcp://", "")).unwrap();
    raw.write_all(&Hello::new(1 << 20).encode()).unwrap();
    let stalling = poller.add(listener.accept_for(PATIENCE).unwrap()).unwrap();
    let (_idle, _) = join(&mut poller, &mut listener);
    raw.write_all(b"NPSH").unwrap();
    let Event::Ended { key, error, .. } = next(&mut poller) else {
        panic!("no end");
    };
    assert!(key == stalling, "{error:?}");
    assert_eq!(poller.len(), 1);
}

/// The time that the program takes between two waits is not the peer's.
#[test]
fn a_slow_program_gives_up_no_peer() {
    let patience = Duration::from_secs(3);
    let mut listener = Options::new()
        .patience(patience)
        .listen("tcp://127.0.0.1:0")
        .unwrap();
    let mut poller = Poller::new().unwrap();
    let mut raw = TcpStream::connect(listener.address().replace("tcp://", "")).unwrap();
    raw.write_all(&Hello::new(1 << 20).encode()).unwrap();
    let key = poller.add(listener.accept_for(PATIENCE).unwrap()).unwrap();
    let message = bytes(1000, 1);
    let record = record(&message, 1);
    let (first, rest) = record.split_at(100);
    raw.write_all(first).unwrap();
    eventually("the first bytes are read", || {
        let event = poller.wait(Duration::ZERO).unwrap();
        assert!(event.is_none(), "{event:?}");
        poller.get_mut(key).unwrap().status().waiting_bytes > 0
    });
    raw.write_all(rest).unwrap();
    std::thread::sleep(2 * patience);
    let Event::Message { received, .. } = next(&mut poller) else {
        panic!("no message");
    };
    assert!(received.message == message);
}

#[test]
fn a_peer_that_lies_ends_alone() {
    let mut listener = numpush::listen("tcp://127.0.0.1:0").unwrap();
    let mut poller = Poller::new().unwrap();
    let mut raw = TcpStream::connect(listener.address().replace("tcp://", "")).unwrap();
    raw.write_all(&Hello::new(1 << 20).encode()).unwrap();
    let lying = poller.add(listener.accept_for(PATIENCE).unwrap()).unwrap();
    let (mut good, key) = join(&mut poller, &mut listener);
    raw.write_all(&[0x5a; 4096]).unwrap();
    let Event::Ended {
        key: ended, error, ..
    } = next(&mut poller)
    else {
        panic!("no end");
    };
    assert!(ended == lying && error.is_some(), "{error:?}");
    good.send(&bytes(10, 1)).unwrap();
    let Event::Message { key: from, .. } = next(&mut poller) else {
        panic!("no message");
    };
    assert_eq!(from, key);
}
