use std::time::Duration;

use numpush_shm_core::LockError;
use serde::{Deserialize, Serialize};

/// Why a thread did not join a barrier, or did not meet the others there.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[expect(missing_docs, reason = "each field is named in the variant's message")]
pub enum BarrierError {
    /// A participant does not exist any more, and others wait for it.
    #[error("the barrier is broken: participant {participant}, process {pid}, {}", if *.died { "died" } else { "left" })]
    Broken {
        participant: usize,
        pid: u32,
        died: bool,
    },
    /// Not everybody came in time. This thread counts as arrived: another wait goes on with this one.
    #[error("timed out after {after:?} at a barrier: participants {missing:?} have not come")]
    Timeout {
        after: Duration,
        missing: Vec<usize>,
    },
    /// The barrier has all its participants.
    #[error("the barrier has its {participants} participants")]
    Full { participants: usize },
    /// A barrier of so many cannot be made.
    #[error("a barrier has 1 to 1024 participants, not {participants}")]
    Participants { participants: usize },
    /// A lock was not taken.
    #[error(transparent)]
    Lock(#[from] LockError),
}
