//! What is left when somebody goes, and what a call leaves to the keeper: nothing is forgotten, doubled, or overtaken.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use numpush::zmq::{Kind, Socket};
use numpush::{Buffer, Error, Options};
use numpush_tests::{TempPath, bytes};

use crate::kinds::{bound, connected, frames, socket};
use crate::raw;

const LONG: Duration = Duration::from_secs(10);

/// A frame that is short and has this number.
fn numbered(number: u32) -> Vec<Buffer<'static>> {
    let mut frame = vec![0; 100];
    frame[..4].copy_from_slice(&number.to_be_bytes());
    vec![frame.into()]
}

/// The number of the next frame.
fn number(peer: &mut TcpStream) -> std::io::Result<u32> {
    let mut frame = [0; 102];
    loop {
        // Signs of life are no frames of a message.
        peer.read_exact(&mut frame[..2])?;
        let len = usize::from(frame[1]);
        peer.read_exact(&mut frame[2..2 + len])?;
        if frame[0] & 4 == 0 {
            assert_eq!((frame[0], len), (0, 100));
            return Ok(u32::from_be_bytes(frame[2..6].try_into().unwrap()));
        }
    }
}

/// A PUSH whose only peer has died with its queue full. Returns the number of messages that it took.
fn full(window: u64) -> (Socket, String, u32) {
    let options = Options::new()
        .send_timeout(Duration::from_millis(300))
        .connect_timeout(LONG)
        .window(window);
    let mut push = Socket::new(Kind::Push, &options).unwrap();
    let address = push.bind("zmq+tcp://127.0.0.1:0").unwrap();
    let dead = raw::connect(&address, 1, "PULL");
    push.wait_for_peers(1).unwrap();
    let mut sent = 0;
    while push.send_frames(&numbered(sent)).is_ok() {
        sent += 1;
    }
    drop(dead);
    let until = Instant::now() + LONG;
    while push.status().peers > 0 {
        assert!(Instant::now() < until, "the peer is not gone");
        std::thread::yield_now();
    }
    (push, address, sent)
}

/// Of what a dead peer had in its queue only as much went to the next one as fitted at once. The rest waited for ever.
#[test]
fn all_that_a_dead_peer_has_left_goes_to_the_next() {
    let (_push, address, sent) = full(64 << 10);
    let mut peer = raw::connect(&address, 1, "PULL");
    peer.set_read_timeout(Some(LONG)).unwrap();
    let mut last = None;
    loop {
        match number(&mut peer) {
            Ok(number) if number == sent - 1 => break,
            Ok(number) => last = Some(number),
            Err(error) => panic!("{error}: {last:?} is the last of {sent}"),
        }
    }
}

/// `close` waited in vain for the same messages, while the peer read.
#[test]
fn a_close_writes_what_a_dead_peer_has_left() {
    let (mut push, address, sent) = full(64 << 10);
    push.set_timeouts(Some(LONG), None);
    let mut peer = raw::connect(&address, 1, "PULL");
    let reading = std::thread::spawn(move || {
        let mut last = None;
        while let Ok(number) = number(&mut peer) {
            last = Some(number);
        }
        last
    });
    // What the kernel of the dead one had is lost, and told.
    let closed = push.close();
    let is_told = matches!(closed, Ok(()) | Err(Error::Disconnected { .. }));
    assert!(is_told, "{closed:?}");
    assert_eq!(reading.join().unwrap(), Some(sent - 1));
}

/// What was sent after the only peer had come back overtook what waited for it since it went.
#[test]
fn what_is_sent_later_comes_later() {
    let (mut push, address, sent) = full(64 << 10);
    let mut peer = raw::connect(&address, 1, "PULL");
    peer.set_read_timeout(Some(LONG)).unwrap();
    push.wait_for_peers(1).unwrap();
    push.set_timeouts(Some(LONG), None);
    for next in sent..sent + 2000 {
        push.send_frames(&numbered(next)).unwrap();
    }
    let mut last = None;
    while last != Some(sent + 1999) {
        let next = number(&mut peer).unwrap();
        // What the dead peer had is lost up to some message. Nothing is behind that.
        let is_next = last.is_none_or(|last| last + 1 == next) && (last.is_some() || next < sent);
        assert!(
            is_next,
            "{next} comes behind {last:?}; {sent} were sent before"
        );
        last = Some(next);
    }
}

/// A look at the status while the keeper came made it forget what it had come for.
#[test]
fn a_look_at_the_status_holds_no_message_back() {
    let (mut push, address) = bound(Kind::Push);
    // A peer that says nothing by itself: any event would be a second chance.
    let _peer = raw::connect(&address, 1, "PULL");
    push.wait_for_peers(1).unwrap();
    for round in 0..2000 {
        push.send(&bytes(10, 1)).unwrap();
        push.send(&bytes(10, 1)).unwrap();
        let until = Instant::now() + LONG;
        while push.status().queued > 0 {
            assert!(Instant::now() < until, "round {round}: {:?}", push.status());
        }
    }
}

/// An answer to a peer that had left took with it all that the peer had sent before.
#[test]
fn an_answer_that_fails_loses_no_question() {
    let path = TempPath::new("left");
    let mut router = socket(Kind::Router);
    let address = router
        .bind(&format!("zmq+ipc://{}", path.0.display()))
        .unwrap();
    let mut dealer = connected(Kind::Dealer, &address);
    for number in 0..3 {
        dealer.send_frames(&[vec![number; 20_000].into()]).unwrap();
    }
    dealer.close().unwrap();
    router.set_timeouts(Some(LONG), Some(Duration::from_secs(2)));
    let first = router.recv().unwrap();
    let name = first.envelope[0].clone();
    let _ = router.send_frames(&[name.into(), vec![1; 10].into()]);
    for number in 1..3 {
        assert_eq!(frames(router.recv().unwrap())[0], [number; 20_000]);
    }
}

/// A message that was taken together with another one came after its topic was given up.
#[test]
fn what_is_not_wanted_any_more_does_not_come() {
    let (mut sub, address) = bound(Kind::Sub);
    sub.subscribe(b"a").unwrap();
    let mut publisher = raw::connect(&address, 1, "PUB");
    publisher.write_all(&b"\x00\x02a1".repeat(10)).unwrap();
    sub.recv().unwrap();
    sub.unsubscribe(b"a").unwrap();
    sub.set_timeouts(None, Some(Duration::from_millis(500)));
    let next = sub.recv();
    assert!(
        matches!(&next, Err(error) if error.is_timeout()),
        "{next:?}"
    );
}

/// An answer begins with an empty frame. What does not is none, and passes by, as with libzmq.
#[test]
fn an_answer_without_a_delimiter_is_none() {
    let (mut req, address) = bound(Kind::Req);
    let mut peer = raw::connect(&address, 1, "ROUTER");
    req.wait_for_peers(1).unwrap();
    req.send_frames(&[vec![1].into()]).unwrap();
    peer.write_all(b"\x00\x03bad\x01\x00\x00\x04good").unwrap();
    assert_eq!(frames(req.recv().unwrap())[0], b"good");
}

/// An envelope that no receiver takes was sent all the same.
#[test]
fn an_envelope_that_nobody_takes_is_refused() {
    let (_pull, address) = bound(Kind::Pull);
    let mut push = connected(Kind::Push, &address);
    let long = vec![7; 5000];
    let sent = push.send_with(&[&long], &bytes(10, 1));
    assert!(
        matches!(
            sent,
            Err(Error::Unsupported { .. } | Error::OverLimit { .. })
        ),
        "{sent:?}"
    );
}
