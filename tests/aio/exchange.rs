//! Values there and back, what they cost, and ends.

use std::time::Duration;

use numpush::aio::{self, Connection};
use numpush::model::{Column, ColumnData, ColumnType};
use numpush::transfer::Tag;
use numpush::{Buffer, Error, Frame, Message, Options};
use numpush_tests::{bytes, every_dtype};

use crate::{on_each_runtime, pair, places, runtimes, within};

fn is_send<T: Send>(value: T) -> T {
    value
}

/// Never run: it compiles if every future can move to another thread.
#[expect(dead_code, reason = "it is checked, not run")]
async fn every_future_is_send(mut connection: Connection, mut listener: aio::Listener) {
    let message = bytes(1, 1);
    let _ = is_send(connection.send_all(&[])).await;
    let _ = is_send(aio::connect("inproc:x")).await;
    let _ = is_send(listener.accept()).await;
    let _ = is_send(connection.send(&message)).await;
    let _ = is_send(connection.send_tagged(&message, Tag::default())).await;
    let _ = is_send(connection.recv()).await;
    let _ = is_send(connection.messages().next()).await;
    let _ = is_send(connection.flush()).await;
    let _ = is_send(connection.close_sending()).await;
    let (mut tx, mut rx) = is_send(connection.split());
    let _ = is_send(tx.send(&message)).await;
    let _ = is_send(rx.recv()).await;
    let _ = is_send(tx.close()).await;
    let connection = is_send(listener.accept()).await;
    let _ = is_send(connection.unwrap().close()).await;
}

#[test]
fn arrays_of_every_dtype_come_back_as_they_went() {
    on_each_runtime(|| async {
        for (endpoint, _place) in places() {
            let (mut near, mut far, _listener) = pair(&endpoint, &Options::new()).await;
            let echo = tokio::spawn(async move {
                let mut messages = far.messages();
                let mut answered = Vec::new();
                while let Some(received) = messages.next().await {
                    answered.push(received.unwrap().message);
                }
                for message in &answered {
                    far.send(message).await.unwrap();
                }
                far.close().await.unwrap();
            });
            let sent = every_dtype();
            for message in &sent {
                near.send(message).await.unwrap();
            }
            near.close_sending().await.unwrap();
            let mut messages = near.messages();
            let mut back = Vec::new();
            while let Some(received) = messages.next().await {
                back.push(received.unwrap().message);
            }
            assert_eq!(back, sent, "{endpoint}");
            echo.await.unwrap();
        }
    });
}

#[test]
fn a_frame_comes_as_it_went() {
    on_each_runtime(|| async {
        for (endpoint, _place) in places() {
            let (mut near, mut far, _listener) = pair(&endpoint, &Options::new()).await;
            let column = |number: u8| {
                let values: Vec<u8> = (number..=255).cycle().take(8000).collect();
                let buffers = vec![Buffer::default(), values.into()];
                let data = ColumnData::new(ColumnType::Int64, 1000, buffers).unwrap();
                Column::new(format!("column {number}"), data).unwrap()
            };
            let columns = (0..20).map(column).collect();
            let message = Message::new(Frame::new(columns).unwrap());
            let sender = tokio::spawn(async move {
                near.send(&message).await.unwrap();
                near.close().await.unwrap();
                message
            });
            let received = far.recv().await.unwrap();
            assert!(far.messages().next().await.is_none());
            assert_eq!(received.message, sender.await.unwrap());
        }
    });
}

/// What the calls that block report, on the same machine, of the same messages.
#[test]
fn messages_cost_what_they_cost_in_calls_that_block() {
    let memory: Vec<u8> = (0..=255).cycle().take(20 << 20).collect();
    for (endpoint, _place) in places() {
        for len in [0, 10, 100_000, memory.len()] {
            for borrowed in [false, true] {
                let message = || match borrowed {
                    true => Message::new(Buffer::borrowed(&memory[..len])),
                    false => Message::new(Buffer::from(
                        memory.iter().take(len).copied().collect::<Vec<u8>>(),
                    )),
                };
                let mut listener = numpush::listen(&endpoint).unwrap();
                let address = listener.address();
                let mut near = numpush::connect(&address).unwrap();
                let far = std::thread::spawn(move || listener.accept()?.recv());
                let sent = near.send(&message()).unwrap();
                let received = far.join().unwrap().unwrap();
                drop(near);
                let [runtime, _] = runtimes();
                runtime.block_on(async {
                    let (mut near, mut far, _listener) = pair(&endpoint, &Options::new()).await;
                    let far = tokio::spawn(async move { far.recv().await });
                    let mine = near.send(&message()).await.unwrap();
                    let theirs = far.await.unwrap().unwrap();
                    let what = (&endpoint, len, borrowed);
                    assert_eq!(
                        (mine.bytes, mine.copied, mine.path, mine.reason),
                        (sent.bytes, sent.copied, sent.path, sent.reason),
                        "{what:?}"
                    );
                    let (theirs, ours) = (theirs.transfer, received.transfer);
                    assert_eq!(
                        (theirs.bytes, theirs.path),
                        (ours.bytes, ours.path),
                        "{what:?}"
                    );
                    if len > 16 << 10 || len == 0 {
                        // How much of a payload came with its header is the kernel's choice.
                        assert!(theirs.copied <= ours.copied.max(16 << 10), "{what:?}");
                    }
                });
            }
        }
    }
}

/// Each waits for room in its socket, and neither reads while it sends unless the library does.
#[test]
fn two_that_send_to_each_other_at_once_both_go_on() {
    on_each_runtime(|| async {
        for (endpoint, _place) in places() {
            let (near, far, _listener) = pair(&endpoint, &Options::new()).await;
            let talk = |mut end: Connection| async move {
                let large = bytes(30 << 20, 1);
                // A second one would need the credit that the machine's memory allows.
                for _ in 0..3 {
                    end.send(&large).await.unwrap();
                    assert_eq!(end.recv().await.unwrap().message, large);
                }
                end.flush().await.unwrap();
            };
            let (one, two) = (tokio::spawn(talk(near)), tokio::spawn(talk(far)));
            one.await.unwrap();
            two.await.unwrap();
        }
    });
}

#[test]
fn two_halves_are_used_by_two_tasks() {
    on_each_runtime(|| async {
        for (endpoint, _place) in places() {
            // So little credit that the sending task waits for what the receiving one reads.
            let options = Options::new().credit(4000).window(4000);
            let (near, far, _listener) = pair(&endpoint, &options).await;
            let (mut tx, mut rx) = near.split();
            let (mut back, mut there) = far.split();
            let sender = tokio::spawn(async move {
                for number in 0..250 {
                    tx.send(&bytes(1000, number)).await.unwrap();
                }
                tx.close().await.unwrap();
            });
            let echo = tokio::spawn(async move {
                loop {
                    match there.recv().await {
                        Ok(received) => {
                            let tag = received.reply_tag();
                            back.send_tagged(&received.message, tag).await.unwrap();
                        }
                        Err(error) if error.is_closed() => break,
                        Err(error) => panic!("{error:?}"),
                    }
                }
                back.close().await.unwrap();
            });
            for number in 0..250 {
                let received = rx.recv().await.unwrap();
                assert_eq!(received.reply_to, u64::from(number) + 1);
                assert_eq!(received.message, bytes(1000, number));
            }
            assert!(rx.recv().await.unwrap_err().is_closed());
            sender.await.unwrap();
            echo.await.unwrap();
        }
    });
}

#[test]
fn a_connection_changes_its_kind_with_what_has_come() {
    for (endpoint, _place) in places() {
        let [runtime, _] = runtimes();
        let (mut near, far) = runtime.block_on(async {
            let (mut near, mut far, _listener) = pair(&endpoint, &Options::new()).await;
            near.send(&bytes(10, 1)).await.unwrap();
            near.send(&bytes(10, 2)).await.unwrap();
            far.recv().await.unwrap();
            (near.into_blocking(), far)
        });
        let mut far = numpush::Connection::from(far);
        drop(runtime);
        assert_eq!(far.recv().unwrap().message, bytes(10, 2));
        far.send(&bytes(10, 3)).unwrap();
        assert_eq!(near.recv().unwrap().message, bytes(10, 3));
        let [_, runtime] = runtimes();
        runtime.block_on(async {
            let mut near = Connection::new(near).unwrap();
            let mut far = Connection::try_from(far).unwrap();
            near.send(&bytes(10, 4)).await.unwrap();
            assert_eq!(within(far.recv()).await.unwrap().message, bytes(10, 4));
        });
    }
}

#[test]
fn other_transports_are_refused_by_name() {
    let [runtime, _] = runtimes();
    runtime.block_on(async {
        for (endpoint, name) in [
            ("file:/nowhere/at/all", "file"),
            ("zmq+tcp://127.0.0.1:0", "zmq+tcp"),
            ("zmq+ipc:/nowhere/at/all", "zmq+ipc"),
        ] {
            let errors = [
                aio::connect(endpoint).await.unwrap_err(),
                aio::listen(endpoint).unwrap_err(),
            ];
            for error in errors {
                assert!(matches!(error, Error::Unsupported { .. }), "{error:?}");
                assert!(
                    error
                        .to_string()
                        .starts_with(&format!("{name} cannot wait"))
                );
            }
        }
    });
}

#[test]
fn a_timeout_of_a_connection_says_what_became_of_a_message() {
    on_each_runtime(|| async {
        for (endpoint, _place) in places() {
            let options = Options::new().credit(100_000);
            let (mut near, mut far, _listener) = pair(&endpoint, &options).await;
            near.send(&bytes(60_000, 1)).await.unwrap();
            near.set_timeouts(Some(Duration::ZERO), Some(Duration::ZERO));
            let error = near.send(&bytes(60_000, 2)).await.unwrap_err();
            assert!(error.is_timeout(), "{error:?}");
            assert!(near.recv().await.unwrap_err().is_timeout());
            assert_eq!(far.recv().await.unwrap().message, bytes(60_000, 1));
            near.set_timeouts(None, None);
            within(near.send(&bytes(10, 3))).await.unwrap();
            assert_eq!(far.recv().await.unwrap().message, bytes(10, 3));
        }
    });
}

/// Nobody listens yet.
#[test]
fn a_task_connects_before_there_is_a_listener() {
    on_each_runtime(|| async {
        for (endpoint, _place) in places() {
            if endpoint.starts_with("tcp") {
                continue;
            }
            let to = endpoint.clone();
            let client = tokio::spawn(async move { aio::connect(&to).await });
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            let mut listener = aio::listen(&endpoint).unwrap();
            within(listener.accept()).await.unwrap();
            client.await.unwrap().unwrap();
        }
    });
}

/// What a look may read was never made new by these calls.
#[test]
fn calls_that_do_not_wait_move_large_messages_too() {
    on_each_runtime(|| async {
        for (endpoint, _place) in places() {
            let (mut near, mut far, _listener) = pair(&endpoint, &Options::new()).await;
            let large = bytes(9 << 20, 1);
            for _ in 0..2 {
                near.try_send(&large).unwrap();
                let received = loop {
                    // A later call of the sender's writes what its socket had no room for.
                    assert!(near.try_recv().unwrap_err().is_timeout());
                    match far.try_recv() {
                        Ok(received) => break received,
                        Err(error) => assert!(error.is_timeout(), "{error:?}"),
                    }
                    tokio::task::yield_now().await;
                };
                assert_eq!(received.message, large);
            }
        }
    });
}

#[test]
fn a_canceller_ends_a_recv() {
    on_each_runtime(|| async {
        for (endpoint, _place) in places() {
            let (near, mut far, _listener) = pair(&endpoint, &Options::new()).await;
            let near = near.into_blocking();
            let canceller = near.canceller().unwrap();
            let mut near = Connection::new(near).unwrap();
            let cancel = async {
                for _ in 0..10 {
                    tokio::task::yield_now().await;
                }
                canceller.cancel();
            };
            let (received, ()) = tokio::join!(within(near.recv()), cancel);
            let error = received.unwrap_err();
            assert!(matches!(error, Error::Cancelled { .. }), "{error:?}");
            far.send(&bytes(10, 1)).await.unwrap();
            assert_eq!(within(near.recv()).await.unwrap().message, bytes(10, 1));
        }
    });
}

#[test]
fn messages_of_one_call_arrive_in_order() {
    on_each_runtime(|| async {
        for (endpoint, _place) in places() {
            let options = Options::new().credit(1 << 20).window(1 << 20);
            let (near, mut far, _listener) = pair(&endpoint, &options).await;
            let (mut tx, _rx) = near.split();
            let lens = (0..700).map(|at| match at % 100 {
                0 => 0,
                50 => 200_000,
                70 => 63_000,
                at => at,
            });
            let messages: Vec<_> = lens.map(|len| bytes(len, 1)).collect();
            let expected = messages.clone();
            let receiver = tokio::spawn(async move {
                for (at, message) in expected.iter().enumerate() {
                    let received = far.recv().await.unwrap();
                    assert_eq!((received.id, received.channel), (at as u64 + 1, 7));
                    assert!(received.message == *message, "message {at}");
                }
                far
            });
            let tag = Tag {
                channel: 7,
                ..Tag::default()
            };
            let batch = tx.send_all_tagged(&messages, tag).await.unwrap();
            assert_eq!((batch.count, batch.last_id), (700, 700));
            let payload: u64 = messages.iter().map(Message::payload_len).sum();
            assert_eq!(batch.bytes, payload);
            receiver.await.unwrap();
        }
    });
}

/// Nobody receives: what the error counts comes later, and nothing else.
#[test]
fn a_batch_that_is_late_says_how_many_are_sent() {
    on_each_runtime(|| async {
        for (endpoint, _place) in places() {
            let options = Options::new().credit(100_000).window(100_000);
            let (mut near, mut far, _listener) = pair(&endpoint, &options).await;
            near.set_timeouts(Some(Duration::from_millis(20)), None);
            let messages: Vec<_> = (0..300).map(|at| bytes(5000 + at, 1)).collect();
            let error = near.send_all(&messages).await.unwrap_err();
            assert!(error.source.is_timeout(), "{error:?}");
            let count = error.sent.count;
            assert!(count < 300);
            let closing = tokio::spawn(async move {
                near.set_timeouts(None, None);
                near.close().await.unwrap();
            });
            for message in &messages[..count] {
                assert!(far.recv().await.unwrap().message == *message);
            }
            assert!(far.recv().await.unwrap_err().is_closed());
            closing.await.unwrap();
        }
    });
}
