//! Peers that are none, are slow, or stall.

use std::future::{Future, poll_fn};
use std::io::Write;
use std::net::TcpStream;
use std::pin::pin;
use std::time::Duration;

use numpush::aio::{self, Connection};
use numpush::wire::{Hello, Preamble, RecordKind};
use numpush::{Error, Options};
use numpush_tests::{bytes, record};

use crate::{on_each_runtime, runtimes, within};

#[test]
fn a_peer_that_says_nothing_blocks_no_accept() {
    on_each_runtime(|| async {
        let mut listener = aio::listen("tcp://127.0.0.1:0").unwrap();
        let address = listener.address().replace("tcp://", "");
        let silent: Vec<_> = (0..5)
            .map(|_| TcpStream::connect(&address).unwrap())
            .collect();
        let mut stranger = TcpStream::connect(&address).unwrap();
        stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        // Half a hello.
        let mut slow = TcpStream::connect(&address).unwrap();
        slow.write_all(&Hello::new(1 << 20).encode()[..30]).unwrap();
        let mut near = aio::connect(&listener.address()).await.unwrap();
        let mut far = within(listener.accept()).await.unwrap();
        near.send(&bytes(10, 1)).await.unwrap();
        assert_eq!(far.recv().await.unwrap().message, bytes(10, 1));
        // Refusals come in the calls that accept others.
        while listener.status().refused == 0 {
            let another = aio::connect(&listener.address()).await.unwrap();
            within(listener.accept()).await.unwrap();
            drop(another);
        }
        let why = format!("{:?}", listener.take_refused().unwrap());
        assert!(why.contains("HTTP"), "{why}");
        slow.write_all(&Hello::new(1 << 20).encode()[30..]).unwrap();
        within(listener.accept()).await.unwrap();
        drop(silent);
    });
}

/// A peer that writes what it likes, and our connection with it.
async fn raw(options: &Options) -> (TcpStream, Connection) {
    let mut listener = aio::listen_with("tcp://127.0.0.1:0", options).unwrap();
    let mut raw = TcpStream::connect(listener.address().replace("tcp://", "")).unwrap();
    raw.write_all(&Hello::new(1 << 30).encode()).unwrap();
    (raw, within(listener.accept()).await.unwrap())
}

#[test]
fn a_peer_that_stalls_in_a_message_is_given_up() {
    on_each_runtime(|| async {
        let options = Options::new().patience(Duration::from_millis(300));
        let (mut raw, mut link) = raw(&options).await;
        raw.write_all(&record(&bytes(1000, 1), 1)[..100]).unwrap();
        let error = within(link.recv()).await.unwrap_err();
        assert!(matches!(error, Error::Stalled { .. }), "{error:?}");
    });
}

/// A call that only sends watches the peer too, and its own looks at the way must not give the peer more time.
#[test]
fn a_peer_that_stalls_while_a_flush_waits_is_given_up() {
    on_each_runtime(|| async {
        let options = Options::new().patience(Duration::from_millis(300));
        let (mut raw, mut link) = raw(&options).await;
        link.send(&bytes(10, 1)).await.unwrap();
        raw.write_all(&record(&bytes(1000, 1), 1)[..100]).unwrap();
        let error = within(link.flush()).await.unwrap_err();
        assert!(matches!(error, Error::Stalled { .. }), "{error:?}");
    });
}

/// The time of a look at the way was over for ever once it was over, and the wait for the peer was none.
#[test]
fn a_flush_sleeps_while_the_peer_is_slow() {
    on_each_runtime(|| async {
        let options = Options::new().patience(Duration::from_millis(300));
        let (_raw, mut link) = raw(&options).await;
        link.send(&bytes(10, 1)).await.unwrap();
        let second = Some(Duration::from_secs(1));
        link.set_timeouts(second, second);
        let (mut flush, mut polls) = (pin!(link.flush()), 0);
        let flushed = poll_fn(|cx| {
            polls += 1;
            flush.as_mut().poll(cx)
        });
        assert!(flushed.await.unwrap_err().is_timeout());
        // It looks 14 times, each 75 ms.
        assert!(polls < 100, "{polls}");
    });
}

/// One look takes in 256 records, and the socket has nothing more to tell.
#[test]
fn a_message_behind_many_control_records_comes() {
    on_each_runtime(|| async {
        for count in [250, 256, 300, 1000] {
            let (mut raw, mut link) = raw(&Options::new()).await;
            let pong = Preamble::control(RecordKind::Pong, 0, 0).encode(&[]);
            let mut all = pong.repeat(count);
            all.extend(record(&bytes(10, 1), 1));
            raw.write_all(&all).unwrap();
            assert_eq!(within(link.recv()).await.unwrap().message, bytes(10, 1));
        }
    });
}

/// The time between two calls is the program's.
#[test]
fn a_peer_is_not_late_because_the_program_is() {
    let [runtime, _] = runtimes();
    runtime.block_on(async {
        let patience = Duration::from_secs(2);
        let (mut raw, mut link) = raw(&Options::new().patience(patience)).await;
        let record = record(&bytes(1000, 1), 1);
        raw.write_all(&record[..100]).unwrap();
        let waited = tokio::time::timeout(Duration::from_millis(50), link.recv()).await;
        assert!(waited.is_err());
        tokio::time::sleep(patience * 2).await;
        link.send(&bytes(10, 1)).await.unwrap();
        raw.write_all(&record[100..]).unwrap();
        assert_eq!(within(link.recv()).await.unwrap().message, bytes(1000, 1));
    });
}

/// Another task computes, so that the runtime runs the one that receives too late. What came in time waits in the socket.
#[test]
fn a_peer_is_not_late_because_the_runtime_is() {
    let [runtime, _] = runtimes();
    runtime.block_on(async {
        let patience = Duration::from_secs(2);
        let (mut raw, mut link) = raw(&Options::new().patience(patience)).await;
        let record = record(&bytes(1000, 1), 1);
        raw.write_all(&record[..100]).unwrap();
        let received = tokio::spawn(async move { link.recv().await });
        tokio::time::sleep(Duration::from_millis(10)).await;
        std::thread::sleep(patience * 2);
        raw.write_all(&record[100..]).unwrap();
        assert_eq!(received.await.unwrap().unwrap().message, bytes(1000, 1));
    });
}

#[test]
fn who_never_answers_a_hello_is_waited_for_no_longer_than_the_call_says() {
    on_each_runtime(|| async {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("tcp://{}", silent.local_addr().unwrap());
        let mut link = aio::connect(&address).await.unwrap();
        let moment = Duration::from_millis(30);
        link.set_timeouts(Some(moment), Some(moment));
        assert!(link.send(&bytes(10, 1)).await.unwrap_err().is_timeout());
        assert!(link.recv().await.unwrap_err().is_timeout());
    });
}

/// The look-up takes a thread, which had no time at all; the calls that block give it a moment.
#[test]
fn a_name_is_found_however_short_the_time_is() {
    on_each_runtime(|| async {
        let mut listener = aio::listen("tcp://localhost:0").unwrap();
        let address = listener.address();
        let (_, port) = address.rsplit_once(':').unwrap();
        let name = format!("tcp://localhost:{port}");
        let options = Options::new().connect_timeout(Duration::ZERO);
        let connected = async {
            loop {
                // A machine with other work may take longer.
                match aio::connect_with(&name, &options).await {
                    Ok(connection) => return Ok(connection),
                    Err(error) => assert!(matches!(error, Error::Io { .. }), "{error:?}"),
                }
                tokio::task::yield_now().await;
            }
        };
        let _near = within(connected).await.unwrap();
        within(listener.accept()).await.unwrap();
    });
}
