//! One step of a handshake that has several: a command of the peer, and what is answered.

use crate::fault::Fault;
use crate::frame::FrameHead;

/// The reason of an ERROR that libzmq understands: this client may not come in, and need not try again.
pub(super) const NOT_ALLOWED: &[u8] = b"\x03400";

/// What is behind the name of a command, which must be `name`.
pub(super) fn expect<'a>(name: &'static [u8], body: &'a [u8]) -> Result<&'a [u8], Fault> {
    match split(body) {
        Some((found, rest)) if found == name => Ok(rest),
        Some((b"HELLO", _)) => Err(Fault::Violation("both sides want to be the client")),
        _ => Err(Fault::Violation(
            "a command came that has no place there in the handshake",
        )),
    }
}

/// Appends the frame of the command `name` to `out`.
pub(super) fn say(name: &[u8], parts: &[&[u8]], out: &mut Vec<u8>) {
    let len = parts
        .iter()
        .fold(1 + name.len(), |len, part| len + part.len());
    FrameHead::command(len as u64).write(out);
    out.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    out.extend(name);
    for part in parts {
        out.extend(*part);
    }
}

/// The text at the front, which its length leads in one byte, and what is behind it.
pub(super) fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&len, rest) = bytes.split_first()?;
    rest.split_at_checked(len.into())
}

/// The bodies of the commands in `bytes`.
#[cfg(test)]
pub(super) fn bodies(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut bodies = Vec::new();
    while let Some((head, taken)) = FrameHead::read(bytes).unwrap() {
        assert!(head.command);
        let (body, rest) = bytes[taken..].split_at(usize::try_from(head.len).unwrap());
        bodies.push(body);
        bytes = rest;
    }
    bodies
}
