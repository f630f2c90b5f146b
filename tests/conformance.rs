//! One suite over all transports. A scheme that is not enrolled below fails `every_scheme_is_enrolled`.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use numpush::model::{Body, Column, ColumnData, ColumnType};
use numpush::transfer::{Operation, Scheme};
use numpush::{Connection, Error, Frame, Listener, Message, Options};
use numpush_tests::{TempPath, bytes, every_dtype};

/// How a scheme is set up for a test.
struct Rig {
    scheme: Scheme,
    place: TempPath,
    /// Behind the listening, and the connecting, endpoint.
    query: (&'static str, &'static str),
    /// Messages that one link takes.
    capacity: usize,
}

impl Rig {
    fn new(scheme: Scheme, query: (&'static str, &'static str), capacity: usize) -> Self {
        Self {
            scheme,
            place: TempPath::new(scheme.name()),
            query,
            capacity,
        }
    }

    fn endpoint(&self) -> String {
        let path = self.place.0.display();
        match self.scheme {
            Scheme::Tcp => "tcp://127.0.0.1:0".into(),
            Scheme::ZmqTcp => "zmq+tcp://127.0.0.1:0".into(),
            Scheme::File if self.capacity > 1 => format!("file:{path}/"),
            scheme => format!("{scheme}:{path}"),
        }
    }

    fn listen_with(&self, options: &Options) -> Listener {
        options
            .listen(&format!("{}{}", self.endpoint(), self.query.0))
            .unwrap()
    }

    fn listen(&self) -> Listener {
        self.listen_with(&Options::new())
    }

    fn connect_with(&self, listener: &Listener, options: &Options) -> Connection {
        let address = listener.address();
        options
            .connect(&format!("{address}{}", self.query.1))
            .unwrap()
    }

    fn connect(&self, listener: &Listener) -> Connection {
        self.connect_with(listener, &Options::new())
    }

    /// Both ends of a link, the connecting one first.
    fn pair_with(&self, options: &Options) -> (Connection, Connection, Listener) {
        let mut listener = self.listen_with(options);
        let connect = self.connect_with(&listener, options);
        // A file that nobody has written yet is no link to accept.
        if self.scheme == Scheme::File && self.capacity == 1 {
            let other = numpush::connect(&self.endpoint()).unwrap();
            return (connect, other, listener);
        }
        let accepted = accept(&mut listener);
        (connect, accepted, listener)
    }

    fn pair(&self) -> (Connection, Connection, Listener) {
        self.pair_with(&Options::new())
    }
}

fn accept(listener: &mut Listener) -> Connection {
    listener.accept_for(numpush_tests::PATIENCE).unwrap()
}

fn short() -> Options {
    Options::new()
        .send_timeout(Duration::from_millis(200))
        .recv_timeout(Duration::from_millis(200))
}

fn frame() -> Message<'static> {
    let offsets: Vec<u8> = [0_i32, 1, 1, 3]
        .into_iter()
        .flat_map(i32::to_le_bytes)
        .collect();
    let buffers = vec![
        vec![0b101].into(),
        offsets.into(),
        vec![b'a', 0xc3, 0xa9].into(),
    ];
    let text = ColumnData::new(ColumnType::Utf8, 3, buffers).unwrap();
    let column = Column::new("text", text).unwrap();
    let metadata = BTreeMap::from([("index".to_owned(), "kept".to_owned())]);
    let frame = Frame::new(vec![column]).unwrap();
    Message::from(frame.with_metadata(metadata).unwrap())
}

fn every_kind() -> Vec<Message<'static>> {
    let mut messages = every_dtype();
    messages.push(
        frame()
            .with_attribute("from", "here")
            .with_attribute("é", "ü"),
    );
    messages.push(Message::new(Body::Bytes(vec![1, 2, 3].into())));
    messages.push(bytes(0, 0));
    messages.push(bytes(100_000, 3));
    messages.push(bytes(3 << 20, 4));
    messages
}

fn every_kind_arrives_as_it_was(rig: &Rig) {
    for messages in every_kind().chunks(rig.capacity) {
        let (mut tx, mut rx, _listener) = rig.pair();
        thread::scope(|scope| {
            scope.spawn(|| {
                for message in messages {
                    let transfer = tx.send(message).unwrap();
                    assert_eq!(transfer.bytes, message.payload_len());
                }
            });
            if rig.capacity == 1 {
                numpush_tests::eventually("the file", || rig.place.0.exists());
            }
            for message in messages {
                let received = rx.recv().unwrap();
                assert_eq!(received.message, *message);
                assert_eq!(received.transfer.bytes, message.payload_len());
            }
        });
        drop((tx, rx));
        let _ = std::fs::remove_file(&rig.place.0);
    }
}

fn many_messages_keep_their_order(rig: &Rig) {
    let (mut tx, mut rx, _listener) = rig.pair();
    let size = |turn: usize| {
        if turn.is_multiple_of(50) {
            300_000
        } else {
            turn % 200
        }
    };
    let seed = |turn: usize| u8::try_from(turn % 251).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            for turn in 0..500 {
                tx.send(&bytes(size(turn), seed(turn))).unwrap();
            }
        });
        for turn in 0..500 {
            assert_eq!(
                rx.recv().unwrap().message,
                bytes(size(turn), seed(turn)),
                "message {turn}"
            );
        }
    });
}

fn both_sides_may_send_at_once(rig: &Rig) {
    let (mut here, mut there, _listener) = rig.pair();
    let exchange = |link: &mut Connection, ours: u8, theirs: u8| {
        link.set_timeouts(Some(numpush_tests::PATIENCE), Some(numpush_tests::PATIENCE));
        for _ in 0..4 {
            link.send(&bytes(8 << 20, ours)).unwrap();
        }
        for _ in 0..4 {
            assert_eq!(link.recv().unwrap().message, bytes(8 << 20, theirs));
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| exchange(&mut here, 1, 2));
        exchange(&mut there, 2, 1);
    });
}

fn requests_are_answered(rig: &Rig) {
    let (mut here, mut there, _listener) = rig.pair();
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..100 {
                let received = there.recv().unwrap();
                there.send(&received.message).unwrap();
            }
        });
        for turn in 0..100_u8 {
            let size = if turn % 10 == 9 { 200_000 } else { 64 };
            here.send(&bytes(size, turn)).unwrap();
            assert_eq!(here.recv().unwrap().message, bytes(size, turn));
        }
    });
}

fn several_links_do_not_mix(rig: &Rig) {
    let mut listener = rig.listen();
    let address = listener.address();
    thread::scope(|scope| {
        for client in 0..4_u8 {
            let address = format!("{address}{}", rig.query.1);
            scope.spawn(move || {
                let mut link = numpush::connect(&address).unwrap();
                for turn in 0..20 {
                    link.send(&bytes(if turn == 7 { 2 << 20 } else { 50 }, client))
                        .unwrap();
                }
                assert_eq!(link.recv().unwrap().message, bytes(9, client));
            });
        }
        for _ in 0..4 {
            let mut link = accept(&mut listener);
            scope.spawn(move || {
                let first = link.recv().unwrap();
                let client = first.message.as_array().unwrap().data()[0];
                for turn in 1..20 {
                    let size = if turn == 7 { 2 << 20 } else { 50 };
                    assert_eq!(link.recv().unwrap().message, bytes(size, client));
                }
                link.send(&bytes(9, client)).unwrap();
                link.flush().unwrap();
            });
        }
    });
}

fn large_messages_arrive(rig: &Rig) {
    let (mut tx, mut rx, _listener) = rig.pair();
    let message = bytes(64 << 20, 5);
    thread::scope(|scope| {
        scope.spawn(|| tx.send(&message).unwrap());
        if rig.capacity == 1 {
            numpush_tests::eventually("the file", || rig.place.0.exists());
        }
        assert!(rx.recv().unwrap().message == message);
    });
}

fn a_wait_for_a_message_ends_in_time_and_harms_nothing(rig: &Rig) {
    let (mut tx, mut rx, _listener) = rig.pair();
    rx.set_timeouts(None, Some(Duration::from_millis(100)));
    let began = Instant::now();
    let error = rx.recv().unwrap_err();
    assert!(
        matches!(
            error,
            Error::Timeout {
                operation: Operation::Recv,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(
        began.elapsed() >= Duration::from_millis(90),
        "a timeout is not early"
    );
    rx.set_timeouts(None, Some(numpush_tests::PATIENCE));
    tx.send(&bytes(10, 1)).unwrap();
    assert_eq!(rx.recv().unwrap().message, bytes(10, 1));
}

fn a_message_too_large_is_an_error_and_harms_nothing(rig: &Rig) {
    let options = Options::new().max_message(1000);
    let (mut tx, mut rx, _listener) = rig.pair_with(&options);
    let error = tx.send(&bytes(2000, 1)).unwrap_err();
    assert!(
        matches!(
            error,
            Error::TooLarge {
                len: 2048,
                limit: 1000,
                ..
            }
        ),
        "{error:?}"
    );
    tx.send(&bytes(900, 1)).unwrap();
    assert_eq!(rx.recv().unwrap().message, bytes(900, 1));
}

fn the_peers_limit_counts_too(rig: &Rig) {
    let options = Options::new().max_message(1000);
    let mut listener = rig.listen_with(&options);
    let mut tx = rig.connect(&listener);
    let mut rx = accept(&mut listener);
    if tx.send(&bytes(2000, 1)).is_err() {
        tx.send(&bytes(900, 1)).unwrap();
        assert_eq!(rx.recv().unwrap().message, bytes(900, 1));
    } else {
        // The medium tells the sender nothing of the receiver; the receiver refuses then.
        let error = rx.recv().unwrap_err();
        assert!(matches!(error, Error::InvalidMessage { .. }), "{error:?}");
    }
}

fn a_message_that_breaks_the_format_is_an_error_and_harms_nothing(rig: &Rig) {
    let (mut tx, mut rx, _listener) = rig.pair();
    let bad = bytes(10, 1).with_attribute("nul\0", "");
    let error = tx.send(&bad).unwrap_err();
    assert!(matches!(error, Error::Message(_)), "{error:?}");
    tx.send(&bytes(10, 1)).unwrap();
    assert_eq!(rx.recv().unwrap().message, bytes(10, 1));
}

fn close_is_seen_after_the_last_message(rig: &Rig) {
    let (mut tx, mut rx, _listener) = rig.pair();
    thread::scope(|scope| {
        scope.spawn(move || {
            tx.send(&bytes(100, 1)).unwrap();
            tx.send(&bytes(1 << 20, 2)).unwrap();
            tx.close().unwrap();
        });
        assert_eq!(rx.recv().unwrap().message, bytes(100, 1));
        assert_eq!(rx.recv().unwrap().message, bytes(1 << 20, 2));
        assert!(matches!(rx.recv().unwrap_err(), Error::Closed { .. }));
    });
}

fn what_was_sent_before_a_drop_arrives(rig: &Rig) {
    let (mut tx, mut rx, _listener) = rig.pair();
    thread::scope(|scope| {
        scope.spawn(move || {
            tx.send(&bytes(5 << 20, 2)).unwrap();
            drop(tx);
        });
        assert!(rx.recv().unwrap().message == bytes(5 << 20, 2));
        assert!(matches!(rx.recv().unwrap_err(), Error::Closed { .. }));
    });
}

fn flush_waits_for_the_peer(rig: &Rig) {
    let (mut tx, mut rx, _listener) = rig.pair_with(&short());
    tx.send(&bytes(100, 1)).unwrap();
    let error = tx.flush().unwrap_err();
    assert!(
        matches!(
            error,
            Error::Timeout {
                operation: Operation::Flush,
                ..
            }
        ),
        "nobody has read it: {error:?}"
    );
    thread::scope(|scope| {
        scope.spawn(|| {
            assert_eq!(rx.recv().unwrap().message, bytes(100, 1));
            // The next call tells the peer at the latest.
            let _ = rx.recv();
        });
        tx.set_timeouts(Some(numpush_tests::PATIENCE), None);
        tx.flush().unwrap();
    });
}

fn a_receiver_that_does_not_read_stops_the_sender(rig: &Rig) {
    let options = short().window(8 << 20);
    let (mut tx, rx, _listener) = rig.pair_with(&options);
    let message = bytes(1 << 20, 1);
    let sent = (0..200).take_while(|_| tx.send(&message).is_ok()).count();
    assert!(
        sent < 100,
        "{sent} MiB were taken by a receiver that reads nothing"
    );
    drop(rx);
}

fn what_is_sent_may_change_afterwards(rig: &Rig) {
    let (mut tx, mut rx, _listener) = rig.pair();
    let mut memory = vec![1_u8; 1 << 20];
    let received = {
        let message = Message::new(Body::Bytes(numpush::Buffer::borrowed(&memory)));
        thread::scope(|scope| {
            let receiving = scope.spawn(|| {
                if rig.capacity == 1 {
                    numpush_tests::eventually("the file", || rig.place.0.exists());
                }
                rx.recv().unwrap()
            });
            assert_eq!(tx.send(&message).unwrap().bytes, 1 << 20);
            receiving.join().unwrap()
        })
    };
    memory.fill(2);
    assert!(
        received
            .message
            .as_bytes()
            .unwrap()
            .iter()
            .all(|&byte| byte == 1),
        "the peer saw a later write"
    );
}

/// What a link can is what it says, and what it cannot is an error that says so.
fn capabilities_are_kept(rig: &Rig) {
    let (mut tx, mut rx, _listener) = rig.pair();
    let capabilities = tx.capabilities();
    thread::scope(|scope| {
        let received = scope.spawn(|| {
            if rig.capacity == 1 {
                numpush_tests::eventually("the file", || rig.place.0.exists());
            }
            let received = rx.recv().unwrap().message;
            if capabilities.two_way {
                rx.send(&received).unwrap();
            } else if rig.capacity > 1 {
                lacks(rx.send(&received).map(drop));
            }
            received
        });
        tx.send(&bytes(1000, 1)).unwrap();
        if capabilities.two_way {
            assert_eq!(tx.recv().unwrap().message, bytes(1000, 1));
        } else if rig.capacity > 1 {
            // Whoever has one file open may read and write it; nobody answers.
            lacks(tx.recv().map(drop));
        }
        if capabilities.acknowledges {
            tx.flush().unwrap();
        } else {
            lacks(tx.flush());
        }
        assert_eq!(received.join().unwrap(), bytes(1000, 1));
    });
    let passed = capabilities.passes_descriptors;
    let expected = matches!(rig.scheme, Scheme::Inproc | Scheme::Unix);
    assert_eq!(passed, expected, "passes_descriptors");
}

fn lacks(result: Result<(), Error>) {
    let error = result.unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error:?}");
}

fn nobody_there_is_told_in_time(rig: &Rig) {
    let options = Options::new().connect_timeout(Duration::from_millis(100));
    let endpoint = match rig.scheme {
        // A port that was free a moment ago.
        Scheme::Tcp | Scheme::ZmqTcp => {
            let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            format!("{}://{}", rig.scheme, socket.local_addr().unwrap())
        }
        _ => rig.endpoint(),
    };
    let error = options.connect(&endpoint).map(drop).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Io {
                operation: Operation::Connect,
                ..
            }
        ),
        "{error:?}"
    );
}

/// Tests of the function names given, each over a rig of its own.
macro_rules! cases {
    ($($case:ident)*) => {
        $(#[test]
        fn $case() {
            super::$case(&rig());
        })*
    };
}

/// What links do whose ends answer each other.
macro_rules! two_way {
    () => {
        cases! {
            every_kind_arrives_as_it_was
            many_messages_keep_their_order
            both_sides_may_send_at_once
            requests_are_answered
            several_links_do_not_mix
            large_messages_arrive
            a_wait_for_a_message_ends_in_time_and_harms_nothing
            a_message_too_large_is_an_error_and_harms_nothing
            the_peers_limit_counts_too
            a_message_that_breaks_the_format_is_an_error_and_harms_nothing
            close_is_seen_after_the_last_message
            what_was_sent_before_a_drop_arrives
            flush_waits_for_the_peer
            a_receiver_that_does_not_read_stops_the_sender
            what_is_sent_may_change_afterwards
            capabilities_are_kept
        }
    };
}

/// What links do that carry messages from one end to the other.
macro_rules! one_way {
    () => {
        cases! {
            every_kind_arrives_as_it_was
            many_messages_keep_their_order
            large_messages_arrive
            a_wait_for_a_message_ends_in_time_and_harms_nothing
            a_message_too_large_is_an_error_and_harms_nothing
            the_peers_limit_counts_too
            a_message_that_breaks_the_format_is_an_error_and_harms_nothing
            what_is_sent_may_change_afterwards
            capabilities_are_kept
            nobody_there_is_told_in_time
        }
    };
}

/// What links do that carry one message and its answer in turn.
macro_rules! asking {
    () => {
        cases! { requests_are_answered capabilities_are_kept }
    };
}

/// What links do that carry one message.
macro_rules! single {
    () => {
        cases! {
            every_kind_arrives_as_it_was
            large_messages_arrive
            what_is_sent_may_change_afterwards
            capabilities_are_kept
        }
    };
}

/// A module of `$cases` for each rig. A scheme without a rig fails.
macro_rules! suites {
    ($($name:ident: $cases:ident, $rig:expr;)*) => {
        $(mod $name {
            use super::*;

            fn rig() -> Rig {
                $rig
            }

            $cases!();
        })*

        #[test]
        fn every_scheme_is_enrolled() {
            let enrolled = [$($rig.scheme),*];
            for scheme in Scheme::ALL {
                assert!(enrolled.contains(&scheme), "{scheme} is in no suite");
            }
        }
    };
}

const MANY: usize = 1000;

suites! {
    inproc: two_way, Rig::new(Scheme::Inproc, ("", ""), MANY);
    tcp: two_way, Rig::new(Scheme::Tcp, ("", ""), MANY);
    tcp_with_checksums: two_way, Rig::new(Scheme::Tcp, ("?checksums=on", ""), MANY);
    unix: two_way, Rig::new(Scheme::Unix, ("", ""), MANY);
    unix_with_checksums: two_way, Rig::new(Scheme::Unix, ("", "?checksums=on"), MANY);
    file_folder: two_way, Rig::new(Scheme::File, ("", ""), MANY);
    file_single: single, Rig::new(Scheme::File, ("", ""), 1);
    zmq_tcp: one_way, Rig::new(Scheme::ZmqTcp, ("", ""), MANY);
    zmq_ipc: one_way, Rig::new(Scheme::ZmqIpc, ("", ""), MANY);
    zmq_requests: asking, Rig::new(Scheme::ZmqTcp, ("?socket=rep", "?socket=req"), MANY);
}

mod nobody {
    use super::*;

    #[test]
    fn listens_at_any_scheme_that_can_tell() {
        for scheme in [Scheme::Inproc, Scheme::Tcp, Scheme::Unix] {
            nobody_there_is_told_in_time(&Rig::new(scheme, ("", ""), MANY));
        }
    }
}

#[test]
fn a_publisher_reaches_every_subscriber() {
    let rig = Rig::new(Scheme::ZmqTcp, ("?socket=pub", "?socket=sub"), MANY);
    let mut listener = rig.listen();
    let mut publisher = accept(&mut listener);
    let mut subscribers: Vec<Connection> = (0..3).map(|_| rig.connect(&listener)).collect();
    let done = &std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        // A subscription takes a moment to arrive, and what is published before is not for the late.
        scope.spawn(move || {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                publisher.send(&bytes(1000, 7)).unwrap();
                thread::yield_now();
            }
        });
        for subscriber in &mut subscribers {
            subscriber.set_timeouts(None, Some(numpush_tests::PATIENCE));
            assert_eq!(subscriber.recv().unwrap().message, bytes(1000, 7));
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn a_zmq_listener_that_others_can_reach_must_be_trusted() {
    let error = numpush::listen("zmq+tcp://0.0.0.0:0")
        .map(drop)
        .unwrap_err();
    assert!(error.to_string().contains("trusted=1"), "{error}");
    numpush::listen("zmq+tcp://0.0.0.0:0?trusted=1").unwrap();
}

#[test]
fn ipv6_and_host_names_work() {
    for address in ["tcp://[::1]:0", "tcp://localhost:0"] {
        let mut listener = numpush::listen(address).unwrap();
        let mut tx = numpush::connect(&listener.address()).unwrap();
        let mut rx = accept(&mut listener);
        tx.send(&bytes(10, 1)).unwrap();
        assert_eq!(rx.recv().unwrap().message, bytes(10, 1));
    }
}
