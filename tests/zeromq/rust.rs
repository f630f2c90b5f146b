//! With the crate `zeromq`, another implementation of the protocol. Each side listens once.

use std::thread;
use std::time::Duration;

use numpush::Buffer;
use numpush::zmq::{Kind, Socket};
use numpush_tests::bytes;
use tokio::runtime::{Builder, Runtime};
use zeromq::{
    DealerSocket, PubSocket, PullSocket, PushSocket, RepSocket, ReqSocket, Socket as _, SocketRecv,
    SocketSend, SubSocket, ZmqMessage,
};

use crate::kinds::{bound, connected, frames, message, socket};

fn runtime() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

/// Frames of each length that has a head of its own.
fn sent() -> Vec<Vec<u8>> {
    let lens = [1, 255, 256, 100_000];
    lens.map(|len| (0..=250).cycle().take(len).collect()).into()
}

fn theirs(frames: &[Vec<u8>]) -> ZmqMessage {
    let mut frames = frames.iter();
    let mut message = ZmqMessage::from(frames.next().unwrap().clone());
    frames.for_each(|frame| message.push_back(frame.clone().into()));
    message
}

fn of_theirs(message: ZmqMessage) -> Vec<Vec<u8>> {
    message
        .into_vec()
        .iter()
        .map(|frame| Vec::from(&frame[..]))
        .collect()
}

fn send(socket: &mut Socket, frames: &[Vec<u8>]) {
    let frames: Vec<Buffer<'_>> = frames.iter().map(|frame| Buffer::borrowed(frame)).collect();
    socket.send_frames(&frames).unwrap();
}

fn plain(address: &str) -> String {
    address.replace("zmq+", "")
}

#[test]
fn its_push_and_our_pull_and_the_other_way_round() {
    let runtime = runtime();
    let (mut pull, address) = bound(Kind::Pull);
    runtime.block_on(async {
        let mut push = PushSocket::new();
        push.connect(&plain(&address)).await.unwrap();
        push.send(theirs(&sent())).await.unwrap();
        assert!(frames(pull.recv().unwrap()) == sent());

        let mut pull = PullSocket::new();
        let at = pull.bind("tcp://127.0.0.1:0").await.unwrap();
        let mut push = connected(Kind::Push, &format!("zmq+{at}"));
        send(&mut push, &sent());
        assert!(of_theirs(pull.recv().await.unwrap()) == sent());
        // What it makes of a message of ours goes back as it is.
        push.send(&bytes(100_000, 1)).unwrap();
        let relayed = pull.recv().await.unwrap();
        let (mut last, address) = bound(Kind::Pull);
        let mut push = PushSocket::new();
        push.connect(&plain(&address)).await.unwrap();
        push.send(relayed).await.unwrap();
        assert!(message(last.recv().unwrap()) == bytes(100_000, 1));
    });
}

#[test]
fn its_subscriber_and_our_publisher_and_the_other_way_round() {
    let runtime = runtime();
    let (mut publisher, address) = bound(Kind::Pub);
    runtime.block_on(async {
        let mut subscriber = SubSocket::new();
        subscriber.connect(&plain(&address)).await.unwrap();
        subscriber.subscribe("b").await.unwrap();
        let waits = tokio::task::spawn_blocking(move || {
            publisher.wait_for_peers(1).unwrap();
            send(&mut publisher, &[b"a".into(), b"1".into()]);
            send(&mut publisher, &[b"b".into(), b"2".into()]);
            publisher
        });
        let came = of_theirs(subscriber.recv().await.unwrap());
        assert_eq!(came, [b"b", b"2"]);
        drop(waits.await.unwrap());

        let mut publisher = PubSocket::new();
        let at = publisher.bind("tcp://127.0.0.1:0").await.unwrap();
        let mut subscriber = socket(Kind::Sub);
        subscriber.subscribe(b"b").unwrap();
        subscriber.connect(&format!("zmq+{at}")).unwrap();
        let reads = thread::spawn(move || subscriber.recv().unwrap());
        // It does not say who has subscribed.
        while !reads.is_finished() {
            for topic in ["a", "b"] {
                let sent = [Vec::from(topic), b"3".into()];
                publisher.send(theirs(&sent)).await.unwrap();
            }
            // Without a pause it stands still on a busy machine.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(frames(reads.join().unwrap()), [b"b", b"3"]);
    });
}

#[test]
fn requests_and_answers_and_names() {
    let runtime = runtime();
    let (mut rep, address) = bound(Kind::Rep);
    let (mut router, named) = bound(Kind::Router);
    runtime.block_on(async {
        let mut req = ReqSocket::new();
        req.connect(&plain(&address)).await.unwrap();
        req.send(theirs(&sent())).await.unwrap();
        assert!(frames(rep.recv().unwrap()) == sent());
        send(&mut rep, &sent());
        assert!(of_theirs(req.recv().await.unwrap()) == sent());

        let mut dealer = DealerSocket::new();
        dealer.connect(&plain(&named)).await.unwrap();
        dealer.send(theirs(&sent())).await.unwrap();
        let mut received = router.recv().unwrap();
        let mut came = received.envelope.split_off(1);
        let mut back = std::mem::take(&mut received.envelope);
        came.extend(frames(received));
        assert!(came == sent());
        back.extend(sent());
        send(&mut router, &back);
        assert!(of_theirs(dealer.recv().await.unwrap()) == sent());

        let mut rep = RepSocket::new();
        let at = rep.bind("tcp://127.0.0.1:0").await.unwrap();
        let mut req = connected(Kind::Req, &format!("zmq+{at}"));
        send(&mut req, &sent());
        let asked = rep.recv().await.unwrap();
        rep.send(asked).await.unwrap();
        assert!(frames(req.recv().unwrap()) == sent());
    });
}
