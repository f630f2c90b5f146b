//! A peer that is written by hand.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use numpush::Message;
use numpush_tests::PATIENCE;

/// The greeting of ZMTP 3.`minor` with the mechanism NULL.
pub(crate) fn greeting(minor: u8) -> [u8; 64] {
    let mut bytes = [0; 64];
    bytes[..10].copy_from_slice(&[0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f]);
    bytes[10..16].copy_from_slice(&[3, minor, b'N', b'U', b'L', b'L']);
    bytes
}

/// The command READY of a socket of the kind `kind`.
pub(crate) fn ready(kind: &str) -> Vec<u8> {
    let mut body = Vec::from(b"\x05READY\x0bSocket-Type");
    body.extend(u32::try_from(kind.len()).unwrap().to_be_bytes());
    body.extend(kind.as_bytes());
    let mut bytes = vec![4, u8::try_from(body.len()).unwrap()];
    bytes.extend(body);
    bytes
}

/// The head of a frame of a message, in nine bytes.
pub(crate) fn long_head(len: u64, more: bool) -> Vec<u8> {
    let mut bytes = vec![2 | u8::from(more)];
    bytes.extend(len.to_be_bytes());
    bytes
}

/// A message of ours, as it travels in frames.
pub(crate) fn framed(message: &Message<'_>) -> Vec<u8> {
    let record = numpush_tests::record(message, 0);
    let len = 64 + u32::from_le_bytes(record[8..12].try_into().unwrap()) as usize;
    let mut frames = long_head(len as u64, true);
    frames.extend(&record[..len]);
    let payload = Vec::from(&message.buffers().next().unwrap()[..]);
    frames.extend(long_head(payload.len() as u64, false));
    frames.extend(payload);
    frames
}

/// Connects to `endpoint` and says that it is a socket of the kind `kind`.
pub(crate) fn begin(endpoint: &str, minor: u8, kind: &str) -> TcpStream {
    let mut socket = TcpStream::connect(endpoint.replace("zmq+tcp://", "")).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.write_all(&greeting(minor)).unwrap();
    socket.write_all(&ready(kind)).unwrap();
    socket
}

/// As [`begin`]. Returns the connection once the other side is ready too.
pub(crate) fn connect(endpoint: &str, minor: u8, kind: &str) -> TcpStream {
    let mut socket = begin(endpoint, minor, kind);
    let mut theirs = [0; 64];
    socket.read_exact(&mut theirs).unwrap();
    let mut head = [0; 2];
    socket.read_exact(&mut head).unwrap();
    assert_eq!(head[0], 4, "a command");
    let mut body = vec![0; head[1].into()];
    socket.read_exact(&mut body).unwrap();
    assert!(body.starts_with(b"\x05READY"));
    socket
}
