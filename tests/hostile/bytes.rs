//! Peers that together send more than there is memory for.

use std::io::Write;
use std::net::TcpStream;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use numpush::transfer::Budget;
use numpush::{Connection, Error, Listener, Options};
use numpush_tests::{PATIENCE, Peer, again, bytes, eventually, record, say};

use crate::ROLE;
use crate::raw::{hello, tcp};

const MIB: u64 = 1 << 20;
const BUDGET: u64 = 48 * MIB;

/// Half of them send many messages, the other half each one that is larger than their credit, and never its end.
const FLOODERS: usize = 100;
const LARGE: usize = 8 << 20;

/// Every connection may have this much more than the budget: the least credit, and what one read brings.
const EACH: u64 = 128 << 10;

/// M22: a hundred peers made us hold what a hundred may send.
#[test]
fn a_hundred_flooders_hold_no_more_than_the_budget_and_leave_nothing() {
    let mut server = Peer::start(again("peer").env(ROLE, "budgeted-server"));
    let small = server.hears("small");
    let large = server.hears("large");
    let mut good = numpush::connect(&small).unwrap();
    good.set_timeouts(Some(PATIENCE), Some(PATIENCE));
    server.hears("good");
    let mut flooders = again("peer");
    flooders.env(ROLE, "flooders");
    flooders.env("NUMPUSH_TEST_SMALL", &small);
    flooders.env("NUMPUSH_TEST_LARGE", large);
    let mut flooders = Peer::start(&mut flooders);
    for seed in 0..100 {
        good.send(&bytes(50_000, seed)).unwrap();
        assert!(good.recv().unwrap().message == bytes(50_000, seed));
    }
    server.hears("full");
    good.send(&bytes(50_000, 1)).unwrap();
    assert!(good.recv().unwrap().message == bytes(50_000, 1));
    flooders.kill();
    server.hears("empty");
    good.send(&bytes(50_000, 2)).unwrap();
    assert!(good.recv().unwrap().message == bytes(50_000, 2));
    good.close().unwrap();
    server.ends_well();
}

pub(crate) fn budgeted_server() {
    let budget = Budget::new().max_bytes(BUDGET);
    let options = Options::new()
        .budget(budget.clone())
        .patience(Duration::from_secs(3600));
    let [mut small, mut large] = [0; 2].map(|_| options.listen("tcp://127.0.0.1:0").unwrap());
    say("small", small.address());
    say("large", large.address().replace("tcp://", ""));
    let before = numpush_os::peak_memory().unwrap();
    let mut good = small.accept_for(PATIENCE).unwrap();
    good.set_timeouts(Some(PATIENCE), Some(PATIENCE));
    say("good", "");
    let mut senders = accept(&mut small);
    let mut claimants = accept(&mut large);
    for sender in &mut senders {
        // It is never acknowledged, so that each flush waits for it and reads meanwhile.
        sender.send(&bytes(10, 1)).unwrap();
        sender.set_timeouts(Some(Duration::ZERO), Some(Duration::ZERO));
    }
    let mut echoed = 0;
    eventually("enough", || {
        echoed += usize::from(echo(&mut good));
        let is_held = |sender: &Connection| sender.status().waiting_bytes > 30_000;
        for sender in senders.iter_mut().filter(|sender| !is_held(sender)) {
            assert!(sender.flush().unwrap_err().is_recoverable());
        }
        let waiting = claimants.iter_mut().filter_map(|claimant| {
            let error = claimant.try_recv().map(drop).unwrap_err();
            assert!(error.is_recoverable(), "{error:?}");
            matches!(error, Error::NoRoom { .. }).then_some(())
        });
        let waiting = waiting.count();
        echoed == 100 && waiting > FLOODERS / 3 && senders.iter().all(is_held)
    });
    let used = budget.status().bytes;
    assert_eq!(used.limit, BUDGET);
    let most = BUDGET + FLOODERS as u64 * EACH;
    assert!(used.used > BUDGET / 2 && used.used <= most, "{used:?}");
    assert_eq!(Budget::process().bytes(), used.used);
    assert_eq!(small.status().budget.bytes, used);
    let grown = numpush_os::peak_memory().unwrap() - before;
    assert!(grown <= most + 16 * MIB, "{grown} bytes more are resident");
    say("full", "");
    eventually("an echo", || echo(&mut good));
    eventually("the end of all", || {
        for links in [&mut senders, &mut claimants] {
            links.retain_mut(|link| {
                loop {
                    match link.try_recv() {
                        Ok(_) => {}
                        Err(error) => break error.is_recoverable(),
                    }
                }
            });
        }
        senders.is_empty() && claimants.is_empty()
    });
    // Another thread may still let go of the last of them.
    eventually("the room of all", || budget.bytes() <= MIB);
    assert!(budget.bytes() > 0);
    say("empty", "");
    eventually("an echo", || echo(&mut good));
    assert!(good.recv().map(drop).unwrap_err().is_closed());
    drop(good);
    eventually("nothing is left", || {
        budget.bytes() == 0 && Budget::process().bytes() == 0
    });
}

fn accept(listener: &mut Listener) -> Vec<Connection> {
    let half = 0..FLOODERS / 2;
    half.map(|_| listener.accept_for(PATIENCE).unwrap())
        .collect()
}

fn echo(good: &mut Connection) -> bool {
    match good.try_recv() {
        Ok(received) => good.send(&received.message).is_ok(),
        Err(error) => {
            assert!(error.is_timeout(), "{error:?}");
            false
        }
    }
}

pub(crate) fn flooders() {
    let small = std::env::var("NUMPUSH_TEST_SMALL").unwrap();
    let large = std::env::var("NUMPUSH_TEST_LARGE").unwrap();
    let half = 0..FLOODERS / 2;
    let mut senders: Vec<_> = half
        .clone()
        .map(|_| numpush::connect(&small).unwrap())
        .collect();
    let record = record(&bytes(LARGE, 1), 1);
    let mut start = hello(false);
    start.extend_from_slice(&record[..record.len() - 1000]);
    let mut claimants: Vec<(TcpStream, usize)> = half
        .map(|_| {
            let raw = TcpStream::connect(&large).unwrap();
            raw.set_nonblocking(true).unwrap();
            (raw, 0)
        })
        .collect();
    std::thread::spawn(move || {
        loop {
            for sender in &mut senders {
                let _ = sender.try_send(&bytes(30_000, 1));
            }
        }
    });
    loop {
        let moved = claimants.iter_mut().filter_map(|(raw, at)| {
            let count = raw.write(&start[*at..]).ok().filter(|&count| count > 0)?;
            *at += count;
            Some(())
        });
        if moved.count() == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// A payload that never fits is refused before a byte of it is sent, and one that a peer sends all the same ends only its link.
#[test]
fn what_never_fits_is_named_with_both_numbers() {
    let budget = Budget::new().max_bytes(3 * MIB);
    let options = Options::new().budget(budget.clone());
    let mut listener = options.listen("tcp://127.0.0.1:0").unwrap();
    let mut client = numpush::connect(&listener.address()).unwrap();
    client.set_timeouts(Some(PATIENCE), Some(PATIENCE));
    let mut server = listener.accept_for(PATIENCE).unwrap();
    let error = client.send(&bytes(2_100_000, 1)).unwrap_err();
    let text =
        "payload of 2100032 bytes is over the 2097152 bytes that the peer accepts in one message";
    assert_eq!(error.to_string(), text);
    client.send(&bytes(2_000_000, 1)).unwrap();
    assert!(server.recv().unwrap().message == bytes(2_000_000, 1));

    let mut raw = TcpStream::connect(listener.address().replace("tcp://", "")).unwrap();
    raw.write_all(&hello(false)).unwrap();
    raw.write_all(&record(&bytes(4_000_000, 1), 1)[..1000])
        .unwrap();
    let mut other = listener.accept_for(PATIENCE).unwrap();
    let error = other.recv().map(drop).unwrap_err();
    assert!(format!("{error:?}").contains("2097152"), "{error:?}");
    drop(other);
    client.send(&bytes(50_000, 1)).unwrap();
    assert!(server.recv().unwrap().message == bytes(50_000, 1));
    drop(server);
    eventually("nothing is left", || budget.bytes() == 0);
}

/// A program may keep a connection that is dead for as long as it likes, while it makes others.
#[test]
fn a_connection_that_is_dead_keeps_no_room() {
    let budget = Budget::new().max_bytes(48 * MIB);
    let options = Options::new().budget(budget.clone());
    let mut listener = options.listen("tcp://127.0.0.1:0").unwrap();
    let mut raw = TcpStream::connect(listener.address().replace("tcp://", "")).unwrap();
    raw.write_all(&hello(false)).unwrap();
    let mut server = listener.accept_for(PATIENCE).unwrap();
    let record = record(&bytes(LARGE, 1), 1);
    let writer = std::thread::spawn(move || {
        raw.write_all(&record[..record.len() / 2]).unwrap();
        raw
    });
    eventually("half of a message", || {
        assert!(server.try_recv().unwrap_err().is_recoverable());
        budget.bytes() > LARGE as u64 / 2 && writer.is_finished()
    });
    drop(writer.join().unwrap());
    server.set_timeouts(Some(PATIENCE), Some(PATIENCE));
    let error = server.recv().map(drop).unwrap_err();
    assert!(matches!(error, Error::Disconnected { .. }), "{error:?}");
    assert_eq!((budget.bytes(), server.status().budgeted), (0, 0));
    assert_eq!(budget.connections(), 1);
}

/// A peer that writes a message of `len` bytes but for the last ten, and the thread that does it.
fn half_of_a_message(
    len: usize,
    listener: &Listener,
) -> (TcpStream, JoinHandle<std::io::Result<()>>) {
    let mut start = hello(false);
    let whole = record(&bytes(len, 1), 1);
    start.extend_from_slice(&whole[..whole.len() - 10]);
    let raw = TcpStream::connect(listener.address().replace("tcp://", "")).unwrap();
    let mut writing = raw.try_clone().unwrap();
    (raw, std::thread::spawn(move || writing.write_all(&start)))
}

/// A program that only sends makes no call that would find the end of what comes.
#[test]
fn a_sender_that_finds_its_peer_dead_keeps_no_room() {
    let budget = Budget::new().max_bytes(12 * MIB);
    let options = Options::new().budget(budget.clone());
    let mut patient = options.listen("tcp://127.0.0.1:0").unwrap();
    // A sender that gets no time on a busy machine is not to be found slow.
    let options = options.patience(Duration::from_secs(3));
    let mut listener = options.listen("tcp://127.0.0.1:0").unwrap();
    // Another connection has most of the room.
    let (other, writer) = half_of_a_message(7 << 20, &patient);
    let mut holder = patient.accept_for(PATIENCE).unwrap();
    eventually("the most of it", || {
        assert!(holder.try_recv().map(drop).unwrap_err().is_timeout());
        budget.bytes() > 6 * MIB
    });
    writer.join().unwrap().unwrap();

    let (raw, writer) = half_of_a_message(6 << 20, &listener);
    let mut server = listener.accept_for(PATIENCE).unwrap();
    server.set_timeouts(Some(PATIENCE), Some(PATIENCE));
    server.send(&bytes(10, 3)).unwrap();
    let error = server.flush().unwrap_err();
    assert!(matches!(error, Error::NoRoom { .. }), "{error:?}");
    assert!(server.status().budgeted > 0);
    raw.shutdown(std::net::Shutdown::Both).unwrap();
    // The kernel may have taken all of it before.
    let _ = writer.join().unwrap();
    // What it was sent is unread there, so its end is no mere end of a stream.
    drop(raw);
    eventually("the end", || {
        let error = server.flush().unwrap_err();
        matches!(error, Error::Disconnected { .. })
    });
    assert_eq!(server.status().budgeted, 0);
    drop((holder, other));
    assert_eq!(budget.bytes(), 0);
}

/// Two messages that each need more than half of the room come one after the other, in whatever order they are asked for.
#[test]
fn messages_that_do_not_fit_together_come_one_after_another() {
    let budget = Budget::new().max_bytes(12 * MIB);
    let options = Options::new().budget(budget.clone());
    let mut listener = options.listen("tcp://127.0.0.1:0").unwrap();
    let address = listener.address();
    let senders: Vec<_> = (0..4)
        .map(|seed| {
            let address = address.clone();
            std::thread::spawn(move || {
                let mut client = numpush::connect(&address).unwrap();
                client.set_timeouts(Some(PATIENCE), Some(PATIENCE));
                for _ in 0..5 {
                    client.send(&bytes(7 << 20, seed)).unwrap();
                }
                client.close().unwrap();
            })
        })
        .collect();
    let receivers: Vec<_> = (0..4)
        .map(|_| {
            let mut server = listener.accept_for(PATIENCE).unwrap();
            server.set_timeouts(Some(PATIENCE), Some(PATIENCE));
            std::thread::spawn(move || {
                let messages = server.messages().map(|received| received.unwrap().message);
                messages.filter(|one| one.payload_len() == 7 << 20).count()
            })
        })
        .collect();
    let counts: Vec<usize> = receivers
        .into_iter()
        .map(|one| one.join().unwrap())
        .collect();
    assert_eq!(counts, [5; 4]);
    senders.into_iter().for_each(|one| one.join().unwrap());
    eventually("nothing is left", || budget.bytes() == 0);
}

/// A message that waits for room costs the call its time, and not the message.
#[test]
fn who_waits_for_room_is_told_in_time_and_goes_on() {
    let budget = Budget::new().max_bytes(12 * MIB);
    let options = Options::new().budget(budget.clone());
    let mut listener = options.listen("tcp://127.0.0.1:0").unwrap();
    let (_, address) = (tcp(), listener.address().replace("tcp://", ""));
    let mut start = hello(false);
    let first = record(&bytes(7 << 20, 1), 1);
    start.extend_from_slice(&first[..first.len() - 10]);
    let mut raw = TcpStream::connect(address).unwrap();
    let writer = std::thread::spawn(move || raw.write_all(&start).map(|()| raw));
    let mut holder = listener.accept_for(PATIENCE).unwrap();
    let come = |holder: &mut Connection| {
        assert!(holder.try_recv().map(drop).unwrap_err().is_timeout());
        budget.bytes() > 6 * MIB
    };
    eventually("the most of it", || come(&mut holder));

    let mut client = numpush::connect(&listener.address()).unwrap();
    client.set_timeouts(Some(PATIENCE), None);
    let mut server = listener.accept_for(PATIENCE).unwrap();
    let sender = std::thread::spawn(move || {
        client.send(&bytes(6 << 20, 2)).unwrap();
        client.close().unwrap();
    });
    server.set_timeouts(None, Some(Duration::from_millis(50)));
    let mut shown = String::new();
    eventually("no room", || {
        let error = server.recv().map(drop).unwrap_err();
        shown = format!("{error:?}");
        assert!(error.is_recoverable(), "{shown}");
        matches!(error, Error::NoRoom { .. })
    });
    assert!(shown.contains("over the budget of 9437184"), "{shown}");
    // Half of a message ends with its connection, and the other one goes on.
    writer.join().unwrap().map(drop).unwrap();
    eventually("its end", || {
        !holder.try_recv().map(drop).unwrap_err().is_recoverable()
    });
    drop(holder);
    server.set_timeouts(None, Some(PATIENCE));
    assert!(server.recv().unwrap().message == bytes(6 << 20, 2));
    assert!(server.recv().map(drop).unwrap_err().is_closed());
    sender.join().unwrap();
    drop(server);
    eventually("nothing is left", || budget.bytes() == 0);
}

/// Each side takes in what the other one sends while it sends itself, and no call takes any of it.
#[test]
fn two_that_send_more_than_half_of_the_room_to_each_other_both_go_on() {
    let budget = Budget::new().max_bytes(12 * MIB);
    let options = Options::new().budget(budget.clone());
    let mut listener = options.listen("tcp://127.0.0.1:0").unwrap();
    let client = options.connect(&listener.address()).unwrap();
    let server = listener.accept_for(PATIENCE).unwrap();
    let both = [client, server].map(|mut side| {
        side.set_timeouts(Some(PATIENCE), Some(PATIENCE));
        std::thread::spawn(move || {
            side.send(&bytes(7 << 20, 1)).unwrap();
            assert!(side.recv().unwrap().message == bytes(7 << 20, 1));
            side.close().unwrap();
        })
    });
    for side in both {
        side.join().unwrap();
    }
    eventually("nothing is left", || budget.bytes() == 0);
}

/// What a call waits for stands behind a message that has no room: it ends after its patience, and nothing is lost.
#[test]
fn who_waits_to_send_is_told_that_there_is_no_room() {
    let budget = Budget::new().max_bytes(12 * MIB);
    let options = Options::new().budget(budget.clone());
    let mut patient = options.listen("tcp://127.0.0.1:0").unwrap();
    let options = options.patience(Duration::from_secs(1));
    let mut listener = options.listen("tcp://127.0.0.1:0").unwrap();
    // Half of a message has most of the room.
    let (raw, writer) = half_of_a_message(7 << 20, &patient);
    let mut holder = patient.accept_for(PATIENCE).unwrap();
    eventually("the most of it", || {
        assert!(holder.try_recv().map(drop).unwrap_err().is_timeout());
        budget.bytes() > 6 * MIB
    });
    writer.join().unwrap().unwrap();

    let mut client = numpush::connect(&listener.address()).unwrap();
    let mut server = listener.accept_for(PATIENCE).unwrap();
    let sender = std::thread::spawn(move || {
        // The server may end before it is whole.
        let _ = client.send(&bytes(6 << 20, 2));
    });
    server.send(&bytes(10, 3)).unwrap();
    // One whose time is over sooner takes nothing of the patience of those that follow.
    server.set_timeouts(Some(Duration::from_millis(500)), Some(PATIENCE));
    assert!(server.flush().unwrap_err().is_recoverable());
    server.set_timeouts(Some(PATIENCE), Some(PATIENCE));
    for _ in 0..2 {
        let began = Instant::now();
        let error = server.flush().unwrap_err();
        assert!(matches!(error, Error::NoRoom { .. }), "{error:?}");
        assert!(error.is_recoverable());
        assert!(began.elapsed() >= Duration::from_secs(1));
    }
    server.send(&bytes(10, 4)).unwrap();
    drop((server, raw));
    sender.join().unwrap();
    drop(holder);
    eventually("nothing is left", || budget.bytes() == 0);
}
