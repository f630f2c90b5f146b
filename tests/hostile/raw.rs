//! Peers that write what bytes they like, and our link with each.

use std::io::Write;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use numpush::wire::Hello;
use numpush::{Connection, Error, Listener};
use numpush_tests::TempPath;

pub(crate) fn hello(segments: bool) -> Vec<u8> {
    let mut hello = Hello::new(1 << 30);
    hello.segments = u32::from(segments) * 64;
    hello.encode()
}

pub(crate) fn tcp() -> (Listener, String) {
    let listener = numpush::listen("tcp://127.0.0.1:0").unwrap();
    let address = listener.address().replace("tcp://", "");
    (listener, address)
}

/// A peer that says hello and then what it likes, and our link with it.
pub(crate) fn raw_tcp() -> (TcpStream, Connection, Listener) {
    let (mut listener, address) = tcp();
    let mut raw = TcpStream::connect(address).unwrap();
    raw.write_all(&hello(false)).unwrap();
    let mut link = listener.accept_for(numpush_tests::PATIENCE).unwrap();
    link.set_timeouts(Some(numpush_tests::PATIENCE), Some(numpush_tests::PATIENCE));
    (raw, link, listener)
}

pub(crate) fn raw_unix() -> (UnixStream, Connection, Listener, TempPath) {
    let place = TempPath::new("raw");
    let mut listener = numpush::listen(&format!("unix:{}", place.0.display())).unwrap();
    let mut raw = UnixStream::connect(&place.0).unwrap();
    raw.write_all(&hello(true)).unwrap();
    let mut link = listener.accept_for(numpush_tests::PATIENCE).unwrap();
    link.set_timeouts(Some(numpush_tests::PATIENCE), Some(numpush_tests::PATIENCE));
    (raw, link, listener, place)
}

/// What our link says to `sent`.
pub(crate) fn answer_to(sent: &[u8]) -> Error {
    let (mut raw, mut link, _listener) = raw_tcp();
    raw.write_all(sent).unwrap();
    let error = link.recv().unwrap_err();
    let again = link.recv().unwrap_err();
    assert!(
        matches!(again, Error::Failed { .. }),
        "a link that met an invalid message is closed: {again:?}"
    );
    error
}
