//! Messages arrive as they were sent, in order, whoever else sends meanwhile.

use std::thread;

use numpush::model::Body;
use numpush::{Connection, Message};
use numpush_tests::bytes;

use crate::rig::{Rig, accept, every_kind};

pub(crate) fn every_kind_arrives_as_it_was(rig: &Rig) {
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

pub(crate) fn many_messages_keep_their_order(rig: &Rig) {
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

pub(crate) fn many_messages_of_one_call_keep_their_order(rig: &Rig) {
    let (mut tx, mut rx, _listener) = rig.pair();
    let size = |turn: usize| match turn {
        20 => 300_000,
        turn => turn,
    };
    let messages: Vec<_> = (0..40).map(|turn| bytes(size(turn), 3)).collect();
    thread::scope(|scope| {
        scope.spawn(|| assert_eq!(tx.send_all(&messages).unwrap().count, 40));
        for message in &messages {
            assert_eq!(rx.recv().unwrap().message, *message);
        }
    });
}

pub(crate) fn both_sides_may_send_at_once(rig: &Rig) {
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

pub(crate) fn requests_are_answered(rig: &Rig) {
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

pub(crate) fn several_links_do_not_mix(rig: &Rig) {
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

pub(crate) fn large_messages_arrive(rig: &Rig) {
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

pub(crate) fn what_is_sent_may_change_afterwards(rig: &Rig) {
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
