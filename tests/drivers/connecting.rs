//! Both ends of a connection in one thread that never waits in a call.

use std::io::ErrorKind;
use std::os::fd::BorrowedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::time::{Duration, Instant};

use numpush::transfer::{Connecting, Ready};
use numpush::{Connection, Error, Listener, Options};
use numpush_tests::{PATIENCE, TempPath, bytes};

fn wait(descriptors: &[(BorrowedFd<'_>, Ready)]) {
    let ready = numpush_os::wait(descriptors, Some(Instant::now() + PATIENCE)).unwrap();
    assert!(ready.iter().any(|ready| ready.any()), "nothing happened");
}

pub(crate) fn finish(connecting: &mut Connecting) -> Result<Connection, Error> {
    loop {
        if let Some(connection) = connecting.try_finish()? {
            assert!(connecting.try_finish()?.is_none());
            return Ok(connection);
        }
        wait(&[(connecting.descriptor().unwrap(), connecting.wants())]);
    }
}

fn accept(listener: &mut Listener) -> Connection {
    loop {
        if let Some(connection) = listener.try_accept().unwrap() {
            return connection;
        }
        wait(&[(listener.descriptor().unwrap(), Ready::READ)]);
    }
}

#[test]
fn one_thread_connects_and_accepts() {
    let place = TempPath::new("connecting");
    for endpoint in [
        "tcp://127.0.0.1:0".to_owned(),
        format!("unix:{}", place.0.display()),
        format!("unix:@{}", place.0.display()),
    ] {
        let mut listener = numpush::listen(&endpoint).unwrap();
        let mut connecting = Options::new().start_connect(&listener.address()).unwrap();
        let mut client = finish(&mut connecting).unwrap();
        // The handshake goes on in the calls of the connection.
        assert!(client.try_send(&bytes(10, 1)).unwrap_err().is_timeout());
        let mut server = accept(&mut listener);
        while client.try_send(&bytes(10, 1)).is_err() {
            wait(&[(client.descriptor().unwrap(), client.wants())]);
        }
        let received = loop {
            match server.try_recv() {
                Ok(received) => break received,
                Err(error) => assert!(error.is_timeout(), "{error:?}"),
            }
            wait(&[(server.descriptor().unwrap(), server.wants())]);
        };
        assert!(received.message == bytes(10, 1));
        assert!(client.peer().contains(endpoint.split(':').next().unwrap()));
    }
}

#[test]
fn nobody_there_is_an_error_of_the_attempt() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp://{}", free.local_addr().unwrap());
    drop(free);
    let place = TempPath::new("nobody");
    let kind = |endpoint: &str| {
        let attempt = Options::new().start_connect(endpoint);
        let error = attempt.and_then(|mut it| finish(&mut it)).unwrap_err();
        let Error::Io { source, .. } = error else {
            panic!("{error:?}")
        };
        source.kind()
    };
    assert_eq!(kind(&address), ErrorKind::ConnectionRefused);
    let unix = format!("unix:{}", place.0.display());
    assert_eq!(kind(&unix), ErrorKind::NotFound);
}

/// connect(2) of a unix socket waits for room in the queue of the listener, whatever timeout is set.
#[test]
fn a_full_queue_holds_up_nobody() {
    let place = TempPath::new("full-queue");
    let name = place.0.display().to_string();
    for (endpoint, address) in [
        (format!("unix:{name}"), SocketAddr::from_pathname(&name)),
        (
            format!("unix:@{name}"),
            SocketAddr::from_abstract_name(&name),
        ),
    ] {
        let address = address.unwrap();
        let listener = UnixListener::bind_addr(&address).unwrap();
        nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
        let mut queued = Vec::new();
        while let Ok(socket) = numpush_os::try_connect_unix(&address) {
            queued.push(socket);
            assert!(queued.len() < 8, "the queue is never full");
        }
        let options = Options::new().connect_timeout(Duration::from_millis(100));
        let Err(Error::Io { source, .. }) = options.connect(&endpoint) else {
            panic!("there was room");
        };
        assert_eq!(source.kind(), ErrorKind::TimedOut, "{source}");
        let patient = Options::new().connect_timeout(PATIENCE);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| patient.connect(&endpoint).is_ok());
            queued.clear();
            listener.set_nonblocking(true).unwrap();
            while !waiting.is_finished() {
                drop(listener.accept());
                std::thread::yield_now();
            }
            assert!(waiting.join().unwrap());
        });
    }
}
