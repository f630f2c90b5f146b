//! Why a connection has ended.

use std::io;
use std::time::Duration;

use numpush_zmtp::{Fault, SealError};

use crate::error::{Error, Operation};

/// A peer has so long to say who it is.
pub(super) const HANDSHAKE: Duration = Duration::from_secs(5);

/// Why a connection has ended.
#[derive(Debug)]
pub(super) enum Lost {
    Ended,
    Late,
    /// Others came while it said nothing.
    Evicted(u64),
    /// Its message stood still for so long.
    Stalled(Duration),
    /// It has said nothing for so long.
    Silent(Duration),
    /// There are as many peers as may be.
    Full(u64),
    Io(io::Error),
    Fault(Fault),
    /// What goes to it cannot be sealed.
    Seal(SealError),
}

impl From<Fault> for Lost {
    fn from(fault: Fault) -> Self {
        match fault {
            // It is not the peer's.
            Fault::NoRandom => Self::Io(io::Error::other(fault)),
            fault => Self::Fault(fault),
        }
    }
}

impl From<SealError> for Lost {
    fn from(error: SealError) -> Self {
        Self::Seal(error)
    }
}

impl Lost {
    /// True if the two sides do not fit, so that they would not do so a moment later either: keys, passwords, mechanisms.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(
            self,
            Self::Fault(
                Fault::Refused(_)
                    | Fault::Mechanism { .. }
                    | Fault::Sealed(_)
                    | Fault::WeakKey(_)
                    | Fault::Login(_)
                    | Fault::NotAllowed(_)
            )
        )
    }

    /// Why `peer` is gone, as the caller sees it.
    pub(super) fn explain(self, peer: &str) -> Error {
        match self {
            Self::Evicted(limit) => Error::OverLimit {
                what: "handshakes at once",
                limit,
            },
            Self::Full(limit) => Error::OverLimit {
                what: "peers at once",
                limit,
            },
            Self::Stalled(after) => Error::Stalled {
                peer: peer.to_owned(),
                after,
            },
            lost => Error::io(Operation::Handshake, peer)(lost.into_io()),
        }
    }

    /// True if it has done wrong, or may think so.
    pub(super) fn is_fault(&self) -> bool {
        !matches!(self, Self::Ended | Self::Io(_))
    }

    /// The same as [`Self::explain`], where an error of the kernel's is expected.
    pub(super) fn into_io(self) -> io::Error {
        match self {
            Self::Ended => io::ErrorKind::ConnectionReset.into(),
            Self::Late => io::Error::new(
                io::ErrorKind::TimedOut,
                format!("it did not say who it is within {HANDSHAKE:?}"),
            ),
            Self::Stalled(after) => io::Error::new(
                io::ErrorKind::TimedOut,
                format!("it began a message and did not go on within {after:?}"),
            ),
            Self::Silent(after) => io::Error::new(
                io::ErrorKind::TimedOut,
                format!("it said nothing for {after:?}, nor when it was asked"),
            ),
            // Only who has come is sent away.
            Self::Evicted(_) | Self::Full(_) => io::ErrorKind::ConnectionRefused.into(),
            Self::Io(error) => error,
            Self::Seal(error) => io::Error::new(io::ErrorKind::OutOfMemory, error),
            Self::Fault(fault) => io::Error::new(io::ErrorKind::InvalidData, fault),
        }
    }
}
