//! What the survivors find. Each of them ends with nothing left, and with proof that the next peer is served.

use std::io::ErrorKind;
use std::time::Duration;

use numpush::shm::Arena;
use numpush::transfer::{Acknowledge, Budget};
use numpush::{Connection, Error, Listener};
use numpush_tests::{bytes, eventually};

use crate::roles::{LENS, is_message, large, message, options};
use crate::stage::Survivor;

/// Receives what the victim sends, into an arena.
pub(crate) fn receiver(survivor: &mut Survivor) {
    let (arena, budget) = (Arena::new(16 << 20), Budget::new());
    let options = options()
        .allocator(arena.clone())
        .budget(budget.clone())
        .acknowledge(Acknowledge::OnConfirm);
    let mut listener = options.listen(&survivor.asked).unwrap();
    survivor.tells(&listener.address());
    let mut got = 0;
    while let Some(mut connection) = accept(survivor, &mut listener) {
        assert_eq!(got, 0, "it connected once");
        got = receive_all(&mut connection);
    }
    survivor.listens();
    // What was acknowledged was received; what was sent since is lost or here, whole.
    let sent = survivor.said("sent").count();
    assert!(got <= sent + 1, "{got} of {sent}");
    if survivor.said("flushed").next().is_some() {
        assert_eq!(got, LENS.len());
    }
    serves_the_next(&mut listener);
    drop(listener);
    nothing_is_held(&arena, &budget);
}

/// Receives a message that is written in several calls, and a small one.
pub(crate) fn reader(survivor: &mut Survivor) {
    let (arena, budget) = (Arena::new(32 << 20), Budget::new());
    let options = options().allocator(arena.clone()).budget(budget.clone());
    let mut listener = options.listen(&survivor.asked).unwrap();
    survivor.tells(&listener.address());
    let (mut got, large) = (0, large(&survivor.asked));
    while let Some(mut connection) = accept(survivor, &mut listener) {
        let error = loop {
            match connection.recv().map(|received| received.message) {
                Ok(message) if got == 0 => assert!(message == large),
                Ok(message) => assert!(got == 1 && is_message(&message, 0)),
                Err(error) => break error,
            }
            got += 1;
        };
        names_its_peer(&error, &connection);
    }
    survivor.listens();
    if survivor.said("flushed").next().is_some() {
        assert_eq!(got, 2);
    }
    serves_the_next(&mut listener);
    drop(listener);
    nothing_is_held(&arena, &budget);
}

/// Sends to a victim that confirms what it gets.
pub(crate) fn sender(survivor: &mut Survivor) {
    let budget = Budget::new();
    let options = options().budget(budget.clone());
    let mut listener = options.listen(&survivor.asked).unwrap();
    survivor.tells(&listener.address());
    while let Some(mut connection) = accept(survivor, &mut listener) {
        let mut sent = 0_usize;
        let all = (0..LENS.len()).try_for_each(|at| {
            connection.send(&message(at))?;
            sent += 1;
            Ok(())
        });
        let flushed = all.and_then(|()| connection.flush());
        if let Err(error) = &flushed {
            names_its_peer(error, &connection);
        }
        let acknowledged = sent.saturating_sub(connection.status().in_flight);
        let ended = flushed.is_ok().then(|| connection.close_sending());
        assert!(ended.is_none_or(|closed| closed.is_ok()));
        drop(connection);
        survivor.waits_for_the_end();
        survivor.listens();
        let confirmed = survivor.said("got").count();
        if flushed.is_ok() {
            assert_eq!(confirmed, LENS.len());
        }
        assert!(acknowledged <= confirmed, "{acknowledged} of {confirmed}");
    }
    serves_the_next(&mut listener);
    drop(listener);
    nothing_is_held(&Arena::new(1 << 20), &budget);
}

/// Asks a server.
pub(crate) fn client(survivor: &mut Survivor) {
    let arena = Arena::new(16 << 20);
    let address = survivor.hears();
    // A server that had to let go of a peer is there for the next one.
    while let Some(address) = &address
        && !survivor.is_gone()
    {
        // Nobody may listen there any more.
        let once = options().connect_timeout(Duration::ZERO);
        match once.allocator(arena.clone()).connect(address) {
            Ok(connection) => asks(connection),
            Err(Error::Io { source, .. }) if source.kind() == ErrorKind::TimedOut => {}
            Err(error) => {
                assert!(format!("{error:?}").contains(address), "{error:?}");
                break;
            }
        }
    }
    survivor.waits_for_the_end();
    survivor.listens();
    // The place of the dead is free.
    let budget = Budget::new();
    let listener = options().budget(budget.clone()).listen(&survivor.asked);
    serves_the_next(&mut listener.unwrap());
    nothing_is_held(&arena, &budget);
}

/// Every answer is the question. At the end, an error that names the peer.
fn asks(mut connection: Connection) {
    let answers = (0..LENS.len()).try_for_each(|at| {
        connection.send(&message(at))?;
        let answer = connection.recv()?;
        assert!(is_message(&answer.message, at));
        Ok::<(), Error>(())
    });
    let error = match answers {
        Ok(()) => connection.recv().unwrap_err(),
        Err(error) => error,
    };
    names_its_peer(&error, &connection);
}

/// Two receivers of a group.
pub(crate) fn subscribers(survivor: &mut Survivor) {
    let address = survivor.hears().unwrap();
    let arenas = [Arena::new(16 << 20), Arena::new(16 << 20)];
    let mut connections = arenas.each_ref().map(|arena| {
        options()
            .allocator(arena.clone())
            .connect(&address)
            .unwrap()
    });
    // The publisher waits for both: they receive in turn.
    let (mut got, mut ended) = ([0; 2], [false; 2]);
    while ended != [true; 2] {
        for (at, connection) in connections.iter_mut().enumerate() {
            if !ended[at] {
                ended[at] = !receive(connection, &mut got[at]) || got[at] == LENS.len();
            }
        }
    }
    drop(connections);
    survivor.waits_for_the_end();
    survivor.listens();
    if survivor.said("flushed").next().is_some() {
        assert_eq!(got, [LENS.len(); 2]);
    }
    let mut listener = options().listen(&survivor.asked).unwrap();
    serves_the_next(&mut listener);
    drop(listener);
    for arena in &arenas {
        nothing_is_held(arena, &Budget::new());
    }
}

/// Sends to a victim that hands on, and receives what it hands on.
pub(crate) fn both_ends(survivor: &mut Survivor) {
    let budget = Budget::new();
    let mut listener = options()
        .budget(budget.clone())
        .listen(&survivor.asked)
        .unwrap();
    survivor.tells(&listener.address());
    let near = accept(survivor, &mut listener);
    let far = accept(survivor, &mut listener);
    if let (Some(mut near), Some(mut far)) = (near, far) {
        for at in 0..LENS.len() {
            let sent = near.send(&message(at));
            let came = far.recv();
            if let Ok(received) = &came {
                assert!(is_message(&received.message, at));
            }
            if let Err(error) = &came {
                names_its_peer(error, &far);
            }
            let flushed = sent.and_then(|_| near.flush());
            if let Err(error) = &flushed {
                names_its_peer(error, &near);
                break;
            }
            assert!(
                came.is_ok(),
                "it confirmed message {at} and did not hand it on"
            );
        }
    }
    while accept(survivor, &mut listener).is_some() {}
    survivor.listens();
    serves_the_next(&mut listener);
    drop(listener);
    nothing_is_held(&Arena::new(1 << 20), &budget);
}

/// The next connection of the victim; none once it is gone, and all of its connections are accepted.
fn accept(survivor: &mut Survivor, listener: &mut Listener) -> Option<Connection> {
    loop {
        let gone = survivor.is_gone();
        if let Some(connection) = listener.try_accept().unwrap() {
            return Some(connection);
        }
        if gone {
            return None;
        }
        survivor.waits(listener.descriptor().unwrap());
    }
}

/// Receives until the end, which names the peer. Returns how many messages came: each whole, in order, and once.
fn receive_all(connection: &mut Connection) -> usize {
    let mut got = 0;
    while receive(connection, &mut got) {}
    got
}

/// Receives the message that is next. Returns false at the end.
fn receive(connection: &mut Connection, got: &mut usize) -> bool {
    match connection.recv() {
        Ok(received) => {
            assert!(is_message(&received.message, *got));
            *got += 1;
            received.confirm();
            true
        }
        Err(error) => {
            names_its_peer(&error, connection);
            false
        }
    }
}

/// The error is the end of a peer, and says which one.
fn names_its_peer(error: &Error, connection: &Connection) {
    let text = format!("{error:?}");
    let ended = match error {
        Error::Handshake { source, .. } => &**source,
        error => error,
    };
    let is_an_end = matches!(
        ended,
        Error::Disconnected { .. } | Error::Closed { .. } | Error::Refused { .. }
    );
    assert!(is_an_end && text.contains(connection.peer()), "{text}");
}

/// A peer that comes after the dead one is served as ever.
fn serves_the_next(listener: &mut Listener) {
    let mut near = options().connect(&listener.address()).unwrap();
    let mut far = listener.accept().unwrap();
    for seed in 1..3 {
        near.send(&bytes(10, seed)).unwrap();
        let received = far.recv().unwrap();
        assert!(received.message == bytes(10, seed));
        received.confirm();
    }
    near.flush().unwrap();
}

fn nothing_is_held(arena: &Arena, budget: &Budget) {
    eventually("the arena is empty", || arena.usage().used == 0);
    eventually("the budget is whole", || {
        (budget.connections(), budget.handshakes()) == (0, 0)
    });
}
