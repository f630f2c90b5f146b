//! Hints: what the user can do about an error.

use std::io::ErrorKind;

use numpush::Error;
use numpush::transfer::Operation;

/// What to do about a wait that was too long.
pub(crate) const WAIT_LONGER: &str =
    "give it longer with --timeout SECONDS, or see what the other side does";

/// One sentence for the user.
pub(crate) fn advice(error: &Error) -> Option<&'static str> {
    Some(match error {
        Error::Io {
            operation, source, ..
        } => {
            return operation_failed(*operation, source.kind());
        }
        Error::TooLarge { .. } => {
            "raise the limit on both sides: --max BYTES, or ?max=BYTES in the endpoint"
        }
        Error::Timeout { .. } => WAIT_LONGER,
        Error::Handshake { peer, .. } if peer.starts_with("zmq+") => {
            "check the keys, or the password, of both sides, and that a ZeroMQ socket listens there"
        }
        Error::Handshake { .. } => {
            "check that a numpush of the same version listens at that endpoint"
        }
        Error::ForeignUser { .. } => "let that user in: add ?users=UID to the endpoint",
        Error::Disconnected { .. } => {
            "the other side has ended or failed: see what it printed, then send again"
        }
        _ => return None,
    })
}

fn operation_failed(operation: Operation, kind: ErrorKind) -> Option<&'static str> {
    let connects = operation == Operation::Connect;
    if !connects && operation != Operation::Listen {
        return None;
    }
    Some(match kind {
        ErrorKind::ConnectionRefused | ErrorKind::NotFound if connects => {
            "start the other side first: numpush recv ENDPOINT (it waits), or check host and port"
        }
        ErrorKind::AddrInUse => "another process listens there: end it, or take another endpoint",
        ErrorKind::AddrNotAvailable => {
            "no interface of this machine has that address: take one of its own, or 0.0.0.0 for all"
        }
        ErrorKind::NotFound => "make the folder first, or check the path",
        ErrorKind::PermissionDenied if connects => {
            "the socket belongs to a user who lets nobody else in"
        }
        ErrorKind::PermissionDenied => "take a folder you may write to, or a port from 1024 on",
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::TimedOut => {
            "check the host, and that no firewall is between"
        }
        ErrorKind::ConnectionReset if connects => {
            "check the host's name and the port, and with ZeroMQ the keys: whose key is wrong is not told why"
        }
        _ if connects => "check the host's name and the port",
        _ => return None,
    })
}
