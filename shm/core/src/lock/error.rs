use std::ops::Range;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::lock::robust::Holder;

/// Why a lock was not taken.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[expect(missing_docs, reason = "each field is named in the variant's message")]
pub enum LockError {
    /// It is held by somebody who is alive; a lock is never stolen. `after` is zero if nobody was asked to wait.
    #[error("{}{}", wait_text(*.after), holder_text(.holder))]
    Timeout {
        after: Duration,
        holder: Option<Holder>,
    },
    /// The last writer did not finish: it died or it panicked. Ask for the same lock with repair to go on.
    #[error("poisoned: {0}")]
    Poisoned(Poison),
    /// This thread holds the lock already; to wait for itself would take forever.
    #[error(
        "this thread holds the lock already, and a second guard would wait for the first one forever"
    )]
    WouldDeadlock,
    /// The thread would hold more locks than the kernel cleans up when it dies.
    #[error("this thread holds {max} locks, and the kernel would not clean up after more")]
    TooMany { max: usize },
    /// As many threads use the locks of the value's owner as there is room for: see
    /// [`set_lock_threads`](super::set_lock_threads), which the owner calls.
    #[error("{max} threads use the locks of this value's owner, and there is room for no more")]
    TooManyThreads { max: usize },
    /// The value the lock belonged to is gone, or the partition that handed the part out.
    #[error("the shared value of this lock is gone, or the partition of this part")]
    Retired,
    /// The part is not one that the owner of the value made: its number, its lock or the way the value is divided differs.
    #[error("the value is not divided into this part")]
    OtherPart,
    /// The parts cannot become a commit: a worker left one of them unfinished. The last commit stays.
    #[error("{} was left unfinished: its worker died, panicked or let go of it", part_text(.part))]
    Unfinished { part: Option<usize> },
}

/// What an unfinished write left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Poison {
    /// Why the write was not finished.
    pub cause: PoisonCause,
    /// The process that did not finish it.
    pub pid: u32,
    /// Bytes it may have changed, counted from the start of what the lock guards.
    pub dirty: Range<usize>,
}

/// Why a write was not finished.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PoisonCause {
    /// The writer's thread ended, by a signal, execve(2) or exit(3).
    Died,
    /// The writer panicked.
    Panicked,
}

impl std::fmt::Display for Poison {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let cause = match self.cause {
            PoisonCause::Died => "died",
            PoisonCause::Panicked => "panicked",
        };
        let Range { start, end } = &self.dirty;
        write!(
            f,
            "process {} {cause} while it wrote bytes {start} to {end}",
            self.pid
        )
    }
}

fn wait_text(after: Duration) -> String {
    if after.is_zero() {
        String::new()
    } else {
        format!("timed out after {after:?}: ")
    }
}

fn part_text(part: &Option<usize>) -> String {
    part.map_or_else(|| "a part".into(), |part| format!("part {part}"))
}

fn holder_text(holder: &Option<Holder>) -> String {
    match holder {
        Some(Holder {
            pid,
            tid,
            held_for: Some(time),
        }) => format!("held by process {pid}, thread {tid}, for {time:.1?}"),
        Some(Holder { pid, tid, .. }) => format!("held by process {pid}, thread {tid}"),
        None => "the holder is changing".into(),
    }
}
