//! What the victims do, and what each side of a connection is sent.

use std::ops::ControlFlow;

use numpush::poller::Event;
use numpush::shm::Arena;
use numpush::transfer::{Acknowledge, Switch};
use numpush::unix::SealedBufferMut;
use numpush::{Buffer, Connection, Error, Group, Message, Options};

use crate::stage::Victim;

/// Bytes of each message: one that goes in one piece, one that is written or copied into a segment, and one whose
/// descriptor goes over unix, and that goes by sendfile over tcp.
pub(crate) const LENS: [usize; 3] = [100, 256 << 10, 1 << 20];

/// No other byte is in a message, and no other message has it.
fn fill(at: usize) -> u8 {
    u8::try_from(at).unwrap() + 1
}

/// Message `at`.
pub(crate) fn message(at: usize) -> Message<'static> {
    if LENS[at] < 1 << 20 {
        return Message::new(Buffer::copy_of(&vec![fill(at); LENS[at]]));
    }
    let mut memory = SealedBufferMut::new(LENS[at]).unwrap();
    memory.as_mut_slice().fill(fill(at));
    Message::new(memory.seal().unwrap())
}

/// True if it is message `at`, whole.
pub(crate) fn is_message(message: &Message<'_>, at: usize) -> bool {
    let bytes = message.as_bytes().unwrap();
    bytes.len() == LENS[at] && bytes.iter().all(|byte| *byte == fill(at))
}

/// A message that is written in several calls. A unix socket takes less in one.
pub(crate) fn large(address: &str) -> Message<'static> {
    let len = if address.starts_with("tcp") {
        6 << 20
    } else {
        640 << 10
    };
    Message::new(Buffer::copy_of(&vec![LARGE_FILL; len]))
}

const LARGE_FILL: u8 = 77;

/// A connection waits for as long as it takes: the alarm of its process finds a hang.
pub(crate) fn options() -> Options {
    Options::new()
        .sendfile(Switch::On)
        .connect_timeout(numpush_tests::PATIENCE)
}

/// Makes a call again as often as its error says that it may be made.
pub(crate) fn insist<T>(mut call: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
    let mut tries = 0;
    loop {
        tries += 1;
        match call() {
            Err(error) if error.is_recoverable() && tries < 100 => {}
            result => return result,
        }
    }
}

/// Sends a message, unless its error says that it goes by itself.
pub(crate) fn send(connection: &mut Connection, message: &Message<'_>) -> Result<(), Error> {
    match insist(|| match connection.send(message) {
        Err(Error::Unfinished { .. }) => Ok(()),
        result => result.map(drop),
    }) {
        Ok(()) => Ok(()),
        Err(error) => Err(error),
    }
}

pub(crate) fn sender(victim: &mut Victim) -> Result<(), Error> {
    let address = victim.hears();
    let messages: Vec<_> = (0..LENS.len()).map(message).collect();
    victim.begins();
    let mut connection = insist(|| options().connect(&address))?;
    for (at, message) in messages.iter().enumerate() {
        send(&mut connection, message)?;
        victim.says("sent", at);
    }
    insist(|| connection.flush())?;
    victim.says("flushed", "");
    insist(|| connection.close_sending())
}

/// It writes a message in several calls, also over unix.
pub(crate) fn writer(victim: &mut Victim) -> Result<(), Error> {
    let address = victim.hears();
    let (large, small) = (large(&address), message(0));
    let options = options().checksums(Switch::On);
    victim.begins();
    let mut connection = insist(|| options.connect(&address))?;
    send(&mut connection, &large)?;
    send(&mut connection, &small)?;
    insist(|| connection.flush())?;
    victim.says("flushed", "");
    insist(|| connection.close_sending())
}

/// It confirms what it has got, once it has said so.
pub(crate) fn receiver(victim: &mut Victim) -> Result<(), Error> {
    let address = victim.hears();
    victim.begins();
    let options = options().acknowledge(Acknowledge::OnConfirm);
    let mut connection = insist(|| options.connect(&address))?;
    receive_all(&mut connection, |at| victim.says("got", at))
}

/// Receives until the peer closes.
fn receive_all(connection: &mut Connection, mut got: impl FnMut(usize)) -> Result<(), Error> {
    for at in 0.. {
        match insist(|| connection.recv()) {
            Ok(received) => {
                assert!(is_message(&received.message, at));
                got(at);
                received.confirm();
            }
            Err(error) if error.is_closed() => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// A server, by poller, that sends back what it gets.
pub(crate) fn server(victim: &mut Victim) -> Result<(), Error> {
    victim.begins();
    let listener = insist(|| options().listen(&victim.asked))?;
    victim.says("address", listener.address());
    let mut left = LENS.len();
    listener.serve(|request| {
        let message = request.received.message.clone();
        // A peer that is gone is no reason to end.
        let _ = insist(|| request.reply(&message));
        left -= 1;
        match left {
            0 => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    })
}

/// It accepts one connection at a time, and sends back what it gets.
pub(crate) fn acceptor(victim: &mut Victim) -> Result<(), Error> {
    victim.begins();
    let mut listener = insist(|| options().listen(&victim.asked))?;
    victim.says("address", listener.address());
    let mut connection = insist(|| listener.accept())?;
    for _ in LENS {
        let received = insist(|| connection.recv())?;
        send(&mut connection, &received.message)?;
    }
    insist(|| connection.flush())
}

/// It sends everything to two peers.
pub(crate) fn publisher(victim: &mut Victim) -> Result<(), Error> {
    let mut listener = options().listen(&victim.asked)?;
    victim.says("address", listener.address());
    let mut group = Group::new()?;
    let messages: Vec<_> = (0..LENS.len()).map(message).collect();
    let connections = [listener.accept()?, listener.accept()?];
    victim.begins();
    for connection in connections {
        group.add(connection)?;
    }
    for message in &messages {
        for outcome in group.send(message) {
            outcome.result?;
        }
    }
    // They leave when they have everything.
    let mut left = 2;
    while left > 0 {
        match group.wait(None)? {
            Some(Event::Ended { error: None, .. }) => left -= 1,
            Some(Event::Ended {
                error: Some(error), ..
            }) => return Err(error),
            _ => {}
        }
    }
    victim.says("flushed", "");
    Ok(())
}

/// It receives into an arena and hands on to another connection before it confirms.
pub(crate) fn middleman(victim: &mut Victim) -> Result<(), Error> {
    let address = victim.hears();
    let arena = Arena::new(16 << 20);
    victim.begins();
    let options = options()
        .acknowledge(Acknowledge::OnConfirm)
        .allocator(arena);
    let mut from = insist(|| options.connect(&address))?;
    // Its hello goes first, so that it is the first to be accepted.
    insist(|| from.flush())?;
    let mut to = insist(|| options.connect(&address))?;
    for _ in LENS {
        let received = insist(|| from.recv())?;
        send(&mut to, &received.message)?;
        insist(|| to.flush())?;
        received.confirm();
    }
    insist(|| from.flush())
}
