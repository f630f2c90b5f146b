use std::time::Duration;

use numpush_message::{AllocError, DecodeError};

use crate::refusal::Refusal;

/// Why a direction of a session cannot go on, or cannot go on yet.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The bytes are no record.
    #[error(transparent)]
    Invalid(DecodeError),
    /// The record is not allowed at this point.
    #[error("{0}")]
    Violation(&'static str),
    /// A record needs more credit than the peer has.
    #[error("a record of {charge} bytes came, and the credit left was {left} bytes")]
    OverCredit {
        /// Bytes of the record.
        charge: u64,
        /// Bytes of credit that were left.
        left: u64,
    },
    /// The two sides have no version of the format in common.
    #[error("it speaks versions {} to {}, and this side {} to {}", theirs.0, theirs.1, ours.0, ours.1)]
    Version {
        /// Lowest and highest version of the peer.
        theirs: (u8, u8),
        /// Lowest and highest version of this side.
        ours: (u8, u8),
    },
    /// A record began and did not end in time.
    #[error("a record was not finished within {after:?}")]
    Stalled {
        /// How long it may take.
        after: Duration,
    },
    /// The bytes ended before the peer had closed.
    #[error("the stream ended ({missing} bytes of a record were missing)")]
    Ended {
        /// Bytes that the record at hand still lacked, as far as that is known.
        missing: u64,
    },
    /// The peer refuses to go on.
    #[error("it refuses to go on: {0}")]
    Refused(Refusal),
    /// The allocator has no room for the message at hand. Nothing is lost, and the direction goes on when there is room, unless
    /// there never will be ([`AllocError::is_permanent`]).
    #[error("no room for the message at hand")]
    NoRoom(#[source] AllocError),
}

impl Fault {
    /// True if the direction can go on after this.
    pub fn is_recoverable(&self) -> bool {
        matches!(self, Self::NoRoom(error) if !error.is_permanent())
    }

    /// What to tell the peer; `None` if it is not to blame, or gone.
    pub fn refusal(&self) -> Option<Refusal> {
        Some(match self {
            Self::Invalid(DecodeError::PayloadTooLong { .. }) => Refusal::TooLarge,
            Self::Invalid(_) | Self::Violation(_) => Refusal::InvalidMessage,
            Self::OverCredit { .. } => Refusal::OverCredit,
            Self::Version { .. } => Refusal::Version,
            Self::Stalled { .. } => Refusal::TooSlow,
            Self::NoRoom(error) if error.is_permanent() => Refusal::NoRoom,
            Self::Ended { .. } | Self::Refused(_) | Self::NoRoom(_) => return None,
        })
    }
}

impl From<DecodeError> for Fault {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::Alloc(error) => Self::NoRoom(error),
            error => Self::Invalid(error),
        }
    }
}
