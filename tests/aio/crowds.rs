//! Many connections and one thread, and large messages that others do not wait for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use numpush::aio;
use numpush::{Buffer, Message, Options};
use numpush_tests::{bytes, not_run};

use crate::{on_each_runtime, pair, places, runtimes, within};

const CROWD: u32 = 1000;

/// Descriptors that this process may have, as many as it can get.
fn descriptors() -> u64 {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    hard
}

#[test]
fn a_runtime_of_one_thread_serves_a_thousand_connections() {
    if descriptors() < 4096 {
        return not_run("a thousand connections want 4096 descriptors");
    }
    for (endpoint, _place) in places() {
        let [runtime, _] = runtimes();
        runtime.block_on(async {
            let mut listener = aio::listen(&endpoint).unwrap();
            let address = listener.address();
            let server = tokio::spawn(async move {
                let mut echoes = Vec::new();
                for _ in 0..CROWD {
                    let connection = listener.accept().await.unwrap();
                    let (mut tx, mut rx) = connection.split();
                    echoes.push(tokio::spawn(async move {
                        while let Ok(received) = rx.recv().await {
                            let tag = received.reply_tag();
                            tx.send_tagged(&received.message, tag).await.unwrap();
                        }
                    }));
                }
                for echo in echoes {
                    echo.await.unwrap();
                }
            });
            let mut clients = Vec::new();
            for number in 0..CROWD {
                let mut client = within(aio::connect(&address)).await.unwrap();
                clients.push(tokio::spawn(async move {
                    for turn in 0..3 {
                        let message = bytes(100 + number as usize, turn);
                        client.send(&message).await.unwrap();
                        assert_eq!(client.recv().await.unwrap().message, message);
                    }
                    client.close().await.unwrap();
                }));
            }
            for client in clients {
                client.await.unwrap();
            }
            server.await.unwrap();
        });
    }
}

/// A task that sends or receives for long in one poll keeps the runtime from all the others.
#[test]
fn a_large_message_lets_others_run() {
    const LEN: usize = 128 << 20;
    let large = Message::new(Buffer::from(vec![7; LEN]));
    let [runtime, _] = runtimes();
    runtime.block_on(async {
        let (mut near, far, _listener) = pair("tcp://127.0.0.1:0", &Options::new()).await;
        let mut far = far.into_blocking();
        for sends in [true, false] {
            let (turns, is_over) = (
                Arc::new(AtomicU32::new(0)),
                Arc::new(AtomicBool::new(false)),
            );
            let (counts, ends) = (Arc::clone(&turns), Arc::clone(&is_over));
            let other = tokio::spawn(async move {
                while !ends.load(Ordering::Relaxed) {
                    counts.fetch_add(1, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                }
            });
            let message = large.clone();
            let thread = std::thread::spawn(move || {
                if sends {
                    assert_eq!(far.recv().unwrap().message.payload_len(), LEN as u64);
                } else {
                    far.send(&message).unwrap();
                }
                far
            });
            if sends {
                near.send(&large).await.unwrap();
            } else {
                let received = near.recv().await.unwrap();
                assert_eq!(received.message.payload_len(), LEN as u64);
            }
            is_over.store(true, Ordering::Relaxed);
            other.await.unwrap();
            // A step is two MiB at most.
            let turns = turns.load(Ordering::Relaxed);
            assert!(turns >= 50, "{turns} turns, sends: {sends}");
            far = thread.join().unwrap();
        }
    });
}

/// Nobody receives, and there is room for all of them: no send waits, and others must run all the same.
#[test]
fn sends_that_never_wait_let_others_run() {
    let [runtime, _] = runtimes();
    runtime.block_on(async {
        let (endpoint, _place) = places().pop().unwrap();
        let (mut near, _far, _listener) = pair(&endpoint, &Options::new()).await;
        let turns = Arc::new(AtomicU32::new(0));
        let counts = Arc::clone(&turns);
        let other = tokio::spawn(async move {
            loop {
                counts.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        });
        for _ in 0..1000 {
            near.send(&bytes(10, 1)).await.unwrap();
        }
        other.abort();
        // Each counts 8 KiB, and a MiB is a long time.
        let turns = turns.load(Ordering::Relaxed);
        assert!(turns >= 5, "{turns}");
    });
}

/// Two tasks of one runtime, and many messages.
#[test]
fn many_small_messages_arrive() {
    on_each_runtime(|| async {
        for (endpoint, _place) in places() {
            let (mut near, mut far, _listener) = pair(&endpoint, &Options::new()).await;
            let receiver = tokio::spawn(async move {
                for _ in 0..5000 {
                    far.recv().await.unwrap();
                }
            });
            for _ in 0..5000 {
                near.send(&bytes(10, 1)).await.unwrap();
            }
            near.flush().await.unwrap();
            receiver.await.unwrap();
        }
    });
}
