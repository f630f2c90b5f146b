//! Futures that are dropped at any point.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use numpush::aio::{self, Connection};
use numpush::{Buffer, Message, Options};
use numpush_tests::{PATIENCE, bytes};

use crate::{on_each_runtime, pair, places, within};

/// A future that is dropped when it has been polled so often without an end.
struct Polled<F>(Option<Pin<Box<F>>>, u32);

fn polled<F: Future>(future: F, most: u32) -> Polled<F> {
    Polled(Some(Box::pin(future)), most)
}

impl<F: Future> Future for Polled<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Some(future) = &mut this.0
            && this.1 > 0
        {
            this.1 -= 1;
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Some(output));
            }
        }
        if this.1 > 0 {
            return Poll::Pending;
        }
        this.0 = None;
        Poll::Ready(None)
    }
}

/// A message that tells its number by its length, in memory that is the sender's or shared.
fn numbered(number: usize, memory: &[u8]) -> Message<'_> {
    let len = LEN + number;
    match number % 2 {
        0 => Message::new(Buffer::borrowed(&memory[..len])),
        _ => Message::new(Buffer::copy_of(&memory[..len])),
    }
}

const LEN: usize = 3 << 20;
const MOST: u32 = 24;

/// The lengths of all messages that come. Each is a beginning of `memory`.
async fn lens(mut far: Connection, memory: Vec<u8>) -> Vec<usize> {
    let mut lens = Vec::new();
    let mut messages = far.messages();
    while let Some(received) = messages.next().await {
        let message = received.unwrap().message;
        let bytes = message.as_bytes().unwrap();
        assert!(bytes[..] == memory[..bytes.len()]);
        lens.push(bytes.len());
    }
    lens
}

#[test]
fn a_send_that_is_dropped_anywhere_sends_all_of_its_message_or_nothing() {
    on_each_runtime(|| async {
        let memory: Vec<u8> = (0..=250).cycle().take(LEN + 1000).collect();
        for (endpoint, _place) in places() {
            // So little that unix and inproc wait too.
            let options = Options::new().credit(4 << 20).window(4 << 20);
            let (mut near, far, _listener) = pair(&endpoint, &options).await;
            let receiver = tokio::spawn(lens(far, memory.clone()));
            let mut sent = Vec::new();
            for turn in 0..3 * MOST {
                let number = turn as usize;
                let message = numbered(number, &memory);
                if let Some(done) = polled(near.send(&message), 1 + turn % MOST).await {
                    done.unwrap();
                    sent.push(number);
                }
                if turn % 2 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            within(near.close()).await.unwrap();
            let lens = receiver.await.unwrap();
            let numbers: Vec<_> = lens.iter().map(|len| len - LEN).collect();
            assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
            assert!(
                sent.iter().all(|number| numbers.contains(number)),
                "{sent:?} {numbers:?}"
            );
            assert!(!sent.is_empty(), "{endpoint}");
        }
    });
}

/// A batch: small messages, which go together, and one that goes alone. Each tells its number by its length.
fn batch(first: usize, memory: &[u8]) -> Vec<Message<'_>> {
    let lens = (first..first + 60).map(|number| match number % 60 {
        30 => 300_000 + number,
        _ => number,
    });
    lens.map(|len| Message::new(Buffer::borrowed(&memory[..len])))
        .collect()
}

#[test]
fn a_send_all_that_is_dropped_anywhere_sends_the_first_of_its_messages_whole() {
    on_each_runtime(|| async {
        let memory: Vec<u8> = (0..=250).cycle().take(400_000).collect();
        for (endpoint, _place) in places() {
            let options = Options::new().credit(200_000).window(200_000);
            let (mut near, far, _listener) = pair(&endpoint, &options).await;
            let receiver = tokio::spawn(lens(far, memory.clone()));
            let mut sent = Vec::new();
            for turn in 0..2 * MOST {
                let first = turn as usize * 60;
                let messages = batch(first, &memory);
                if let Some(done) = polled(near.send_all(&messages), 1 + turn % MOST).await {
                    assert_eq!(done.unwrap().count, 60);
                    sent.push(first);
                }
                if turn % 2 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            let first = 2 * MOST as usize * 60;
            let last = near.send_all(&batch(first, &memory)).await.unwrap();
            assert_eq!(last.count, 60);
            sent.push(first);
            within(near.close()).await.unwrap();
            let lens = receiver.await.unwrap();
            let numbers: Vec<_> = lens.iter().map(|len| len % 300_000).collect();
            assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
            for first in (0..=2 * MOST as usize).map(|turn| turn * 60) {
                let of_it = numbers
                    .iter()
                    .filter(|&&number| (first..first + 60).contains(&number));
                let count = of_it.clone().count();
                assert!(of_it.copied().eq(first..first + count), "{numbers:?}");
                assert!(!sent.contains(&first) || count == 60, "{endpoint}, {first}");
            }
        }
    });
}

#[test]
fn a_recv_that_is_dropped_anywhere_loses_nothing() {
    on_each_runtime(|| async {
        for (endpoint, _place) in places() {
            let (mut near, mut far, _listener) = pair(&endpoint, &Options::new()).await;
            let lens = [10, 70_000, 0, 2 << 20, 1, 5 << 20];
            let sender = tokio::spawn(async move {
                for turn in 0..40_u8 {
                    let message = bytes(lens[usize::from(turn) % lens.len()], turn);
                    near.send(&message).await.unwrap();
                }
                near.close().await.unwrap();
            });
            let (mut turn, mut polls) = (0, 0);
            loop {
                polls = polls % MOST + 1;
                match polled(far.recv(), polls).await {
                    Some(Ok(received)) => {
                        let expected = bytes(lens[usize::from(turn) % lens.len()], turn);
                        assert_eq!(received.message, expected, "{endpoint}, message {turn}");
                        turn += 1;
                    }
                    Some(Err(error)) if error.is_closed() => break,
                    Some(Err(error)) => panic!("{error:?}"),
                    None => tokio::task::yield_now().await,
                }
            }
            assert_eq!(turn, 40);
            sender.await.unwrap();
        }
    });
}

#[test]
fn an_accept_that_is_dropped_anywhere_loses_no_connection() {
    on_each_runtime(|| async {
        for (endpoint, _place) in places() {
            let mut listener = aio::listen(&endpoint).unwrap();
            let address = listener.address();
            let clients = tokio::spawn(async move {
                for number in 0..20 {
                    let mut client = within(aio::connect(&address)).await.unwrap();
                    client.send(&bytes(10, number)).await.unwrap();
                    client.close().await.unwrap();
                }
            });
            let (mut number, mut polls) = (0, 0);
            while number < 20 {
                polls = polls % 4 + 1;
                let Some(accepted) = polled(listener.accept(), polls).await else {
                    tokio::task::yield_now().await;
                    continue;
                };
                let received = within(accepted.unwrap().recv()).await.unwrap();
                assert_eq!(received.message, bytes(10, number));
                number += 1;
            }
            clients.await.unwrap();
        }
    });
}

#[test]
fn a_connect_that_is_dropped_anywhere_may_be_made_again() {
    on_each_runtime(|| async {
        for (endpoint, _place) in places() {
            let mut listener = aio::listen(&endpoint).unwrap();
            let address = listener.address();
            let client = tokio::spawn(async move {
                for polls in 1.. {
                    if let Some(connected) = polled(aio::connect(&address), polls).await {
                        let mut client = connected.unwrap();
                        client.send(&bytes(10, 1)).await.unwrap();
                        return client.close().await.unwrap();
                    }
                    tokio::task::yield_now().await;
                }
            });
            loop {
                let mut accepted = within(listener.accept()).await.unwrap();
                // The others were given up before they said anything, or have said hello and nothing more.
                if let Ok(received) = accepted.recv().await {
                    assert_eq!(received.message, bytes(10, 1));
                    break;
                }
            }
            client.await.unwrap();
        }
    });
}

#[test]
fn a_flush_and_a_close_that_are_dropped_anywhere_may_be_made_again() {
    on_each_runtime(|| async {
        for (endpoint, _place) in places() {
            let (mut near, mut far, _listener) = pair(&endpoint, &Options::new()).await;
            let receiver = tokio::spawn(async move {
                for number in 0..10 {
                    assert_eq!(far.recv().await.unwrap().message, bytes(100_000, number));
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                assert!(within(far.recv()).await.unwrap_err().is_closed());
                far.send(&bytes(10, 77)).await.unwrap();
                far
            });
            for number in 0..10 {
                near.send(&bytes(100_000, number)).await.unwrap();
                let _ = polled(near.flush(), 1 + u32::from(number) % 3).await;
            }
            let mut polls = 0;
            loop {
                polls += 1;
                if let Some(closed) = polled(near.close_sending(), polls).await {
                    closed.unwrap();
                    break;
                }
                tokio::task::yield_now().await;
            }
            assert_eq!(near.recv().await.unwrap().message, bytes(10, 77));
            receiver.await.unwrap();
        }
    });
}

#[test]
fn a_timeout_of_the_runtime_ends_any_call() {
    on_each_runtime(|| async {
        let moment = Duration::from_millis(10);
        for (endpoint, _place) in places() {
            let options = Options::new().credit(1 << 20).window(1 << 20);
            let (mut near, mut far, mut listener) = pair(&endpoint, &options).await;
            near.set_timeouts(None, None);
            assert!(tokio::time::timeout(moment, near.recv()).await.is_err());
            assert!(
                tokio::time::timeout(moment, listener.accept())
                    .await
                    .is_err()
            );
            // Nobody receives.
            let large = bytes(30 << 20, 1);
            let mut begun = 0;
            while tokio::time::timeout(moment, near.send(&large))
                .await
                .is_ok()
            {
                begun += 1;
            }
            assert!(tokio::time::timeout(moment, near.flush()).await.is_err());
            assert!(
                tokio::time::timeout(moment, near.close_sending())
                    .await
                    .is_err()
            );
            let sender = tokio::spawn(async move {
                near.send(&bytes(10, 2)).await.unwrap();
                near.close().await.unwrap();
            });
            let mut lens = Vec::new();
            while let Some(received) = far.messages().next().await {
                lens.push(received.unwrap().message.payload_len());
            }
            assert!(
                lens.len() == begun + 1 || lens.len() == begun + 2,
                "{begun}: {lens:?}"
            );
            assert_eq!(lens.pop(), Some(bytes(10, 2).payload_len()));
            sender.await.unwrap();
        }
    });
}

/// Nothing is polled any more, and the peer gets the rest of the message all the same.
#[test]
fn the_rest_of_a_message_goes_though_no_task_calls() {
    on_each_runtime(|| async {
        let (mut near, far, _listener) = pair("tcp://127.0.0.1:0", &Options::new()).await;
        let large = bytes(40 << 20, 1);
        assert!(polled(near.send(&large), 2).await.is_none());
        assert!(near.status().unwritten > 0 || near.status().in_flight == 0);
        let begun = near.status().in_flight;
        let mut far = far.into_blocking();
        far.set_timeouts(None, Some(PATIENCE));
        let receiver = std::thread::spawn(move || (far.recv(), far));
        if begun == 1 {
            let (received, _far) = receiver.join().unwrap();
            assert_eq!(received.unwrap().message, large);
        } else {
            near.send(&large).await.unwrap();
            receiver.join().unwrap().0.unwrap();
        }
    });
}

/// Only a later call wrote it.
#[test]
fn the_rest_of_what_try_send_began_goes_though_no_task_calls() {
    on_each_runtime(|| async {
        for (endpoint, _place) in places() {
            let (mut near, mut far, _listener) = pair(&endpoint, &Options::new()).await;
            let large = bytes(9 << 20, 1);
            near.try_send(&large).unwrap();
            assert_eq!(within(far.recv()).await.unwrap().message, large);
        }
    });
}

/// What was sent arrives.
#[test]
fn a_dropped_connection_delivers_what_it_sent() {
    on_each_runtime(|| async {
        for (endpoint, _place) in places() {
            let (mut near, mut far, _listener) = pair(&endpoint, &Options::new()).await;
            for number in 0..5 {
                near.send(&bytes(1000, number)).await.unwrap();
            }
            drop(near);
            for number in 0..5 {
                assert_eq!(
                    within(far.recv()).await.unwrap().message,
                    bytes(1000, number)
                );
            }
            assert!(within(far.recv()).await.unwrap_err().is_closed());
        }
    });
}

/// Acknowledgements go without a call.
#[test]
fn a_message_is_acknowledged_though_its_receiver_makes_no_call() {
    on_each_runtime(|| async {
        for (endpoint, _place) in places() {
            let (mut near, mut far, _listener): (Connection, Connection, _) =
                pair(&endpoint, &Options::new()).await;
            near.send(&bytes(10, 1)).await.unwrap();
            far.recv().await.unwrap();
            within(near.flush()).await.unwrap();
        }
    });
}
