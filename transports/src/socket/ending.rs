//! What ends a direction, as callers see it.

use std::io;

use numpush_session::{Blocked, Fault};

use crate::error::{Error, Operation};
use crate::socket::link::End;

impl Error {
    /// A fault of the session with `peer`.
    pub(super) fn fault(fault: Fault, peer: &str) -> Self {
        let peer = peer.to_owned();
        match fault {
            Fault::Invalid(source) => Self::InvalidMessage { peer, source },
            Fault::Violation(fault) => Self::ProtocolViolation { peer, fault },
            Fault::Stalled { after } => Self::Stalled { peer, after },
            Fault::Ended { missing } => Self::Disconnected { peer, missing },
            Fault::Refused(reason) => Self::Refused { peer, reason },
            Fault::NoRoom(source) => Self::NoRoom { peer, source },
            Fault::OverCredit { charge, left } => Self::OverCredit { peer, charge, left },
            Fault::Version { theirs, ours } => Self::Version { peer, theirs, ours },
            _ => Self::ProtocolViolation {
                peer,
                fault: "it broke a rule of the session",
            },
        }
    }

    /// Why nothing more comes from `peer`.
    pub(super) fn ended(end: &End, peer: &str) -> Self {
        let peer = peer.to_owned();
        match end {
            End::Refused(reason) => Self::Refused {
                peer,
                reason: *reason,
            },
            End::Closed => Self::Closed { peer },
            End::Disconnected => Self::Disconnected { peer, missing: 0 },
            End::Failed => Self::Failed { peer },
        }
    }

    /// Why a message cannot begin, and waiting does not help; `None` if it does.
    pub(super) fn blocked(blocked: Blocked, peer: &str) -> Option<Self> {
        Some(match blocked {
            Blocked::TooLarge { len, limit } => Self::TooLarge {
                len,
                limit,
                whose: "the peer",
            },
            Blocked::HeaderTooLong { len, limit } => Self::HeaderTooLong { len, limit },
            Blocked::Closed => Self::Closed {
                peer: peer.to_owned(),
            },
            Blocked::Broken => Self::Disconnected {
                peer: peer.to_owned(),
                missing: 0,
            },
            _ => return None,
        })
    }
}

/// The peer, or the way to it, is gone.
pub(super) fn is_hang_up(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::TimedOut
            | io::ErrorKind::HostUnreachable
    )
}

/// What a call of the socket reports, which is not about the peer.
pub(super) fn socket_error(operation: Operation, peer: &str, error: io::Error) -> Error {
    // ENOMEM and ENOBUFS, which has no kind: the socket is as it was.
    match error.raw_os_error() {
        Some(12 | 105) => Error::NoMemory {
            operation,
            peer: peer.to_owned(),
            source: error,
        },
        _ => Error::io(operation, peer)(error),
    }
}

/// After such an error of a write nothing more can be written: the peer is gone, or a file was truncated while it was sent.
pub(super) fn ends_the_way(error: &io::Error) -> bool {
    is_hang_up(error) || error.kind() == io::ErrorKind::UnexpectedEof
}
