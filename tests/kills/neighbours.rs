//! What goes on beside a peer that stands still.

use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use nix::sys::socket::{SockaddrIn, getsockname};
use numpush::{Connection, Error, Listener};
use numpush_tests::bytes;

use crate::roles::{LENS, is_message, message, options};
use crate::stage::Survivor;

/// Receives what the victim sends. While that stands still, others are served, and its connection is as it was.
pub(crate) fn receiver(survivor: &mut Survivor) {
    let mut listener = options().listen(&survivor.asked).unwrap();
    survivor.tells(&listener.address());
    let mut victims = None;
    let mut got = 0;
    loop {
        let gone = survivor.is_gone();
        if let Some(accepted) = listener.try_accept().unwrap() {
            assert!(victims.replace(accepted).is_none(), "it connected once");
        }
        let is_over = victims.as_mut().is_some_and(|it| take_in(it, &mut got));
        if survivor.is_held {
            serves_another(&mut listener, &mut victims);
            survivor.answers();
            continue;
        }
        if is_over || gone {
            break;
        }
        let descriptor = victims.as_ref().map(|it| it.descriptor().unwrap());
        survivor.waits(descriptor.unwrap_or_else(|| listener.descriptor().unwrap()));
    }
    drop(victims);
    survivor.waits_for_the_end();
    survivor.listens();
    // On a machine so busy that its hello took five seconds, it was refused.
    if listener.status().refused > 0 && got == 0 {
        survivor.words = vec![("well".to_owned(), String::new())];
        return;
    }
    assert_eq!(got, LENS.len(), "{:?}", survivor.words);
}

/// Takes in what has come. Returns true once the victim has closed.
fn take_in(connection: &mut Connection, got: &mut usize) -> bool {
    loop {
        match connection.try_recv() {
            Ok(received) => {
                assert!(is_message(&received.message, *got));
                *got += 1;
            }
            Err(error) if error.is_timeout() => return false,
            Err(error) if error.is_closed() => return true,
            Err(error) => panic!("{error:?}"),
        }
    }
}

/// A peer of this process's own comes, is served, and goes. The victim may be accepted before it.
fn serves_another(listener: &mut Listener, victims: &mut Option<Connection>) {
    let mut near = options().connect(&listener.address()).unwrap();
    let mut far = loop {
        let accepted = listener.accept().unwrap();
        if is_from(&near, &accepted) {
            break accepted;
        }
        assert!(victims.replace(accepted).is_none(), "it connected once");
    };
    near.send(&bytes(10, 1)).unwrap();
    assert!(far.recv().unwrap().message == bytes(10, 1));
    near.flush().unwrap();
}

/// True if `far` is the other end of `near`.
fn is_from(near: &Connection, far: &Connection) -> bool {
    if far.peer().starts_with("unix") {
        let process = format!("(process {})", std::process::id());
        return far.peer().contains(&process);
    }
    let socket = near.descriptor().unwrap().as_fd().as_raw_fd();
    let local = getsockname::<SockaddrIn>(socket).unwrap();
    far.peer() == format!("tcp://{local}")
}

/// Asks a server, in calls that wait for a moment only.
pub(crate) fn client(survivor: &mut Survivor) {
    let address = survivor.hears().unwrap();
    let mut connection = options().connect(&address).unwrap();
    let moment = Some(Duration::from_millis(2));
    connection.set_timeouts(moment, moment);
    for at in 0..LENS.len() {
        let question = message(at);
        in_time(survivor, || match connection.send(&question) {
            Err(Error::Unfinished { .. }) => Ok(()),
            result => result.map(drop),
        });
        let answer = in_time(survivor, || connection.recv());
        assert!(is_message(&answer.message, at));
    }
    drop(connection);
    survivor.waits_for_the_end();
    survivor.listens();
}

/// Makes a call again until it is done; only time may pass meanwhile.
fn in_time<T>(survivor: &mut Survivor, mut call: impl FnMut() -> Result<T, Error>) -> T {
    loop {
        match call() {
            Ok(done) => return done,
            Err(error) => assert!(error.is_timeout(), "{error:?}"),
        }
        survivor.is_gone();
        survivor.answers();
    }
}
