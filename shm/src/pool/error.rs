use std::fmt;
use std::io;
use std::ops::Range;
use std::time::Duration;

/// Why a task has no result.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each field is named in the variant's message")]
pub enum TaskError {
    /// The function panicked. Its worker goes on.
    #[error("{task} panicked at {location}: {message}")]
    Panicked {
        task: String,
        message: String,
        location: String,
    },
    /// The worker died. A new worker took its place, and the other tasks went on.
    #[error("worker {pid} {how} while it ran {task}{}", Held(.held))]
    Died {
        task: String,
        pid: u32,
        how: String,
        held: Vec<HeldLock>,
    },
    /// The task ran longer than its timeout, and its worker was killed. A new worker took its place.
    #[error("{task} ran longer than {limit:?}, and worker {pid} was killed{}", Held(.held))]
    TimedOut {
        task: String,
        pid: u32,
        limit: Duration,
        held: Vec<HeldLock>,
    },
    /// The workers' program does not have the function.
    #[error("{task} is not among the tasks that the program serves: add it with `Tasks::with`")]
    Unknown { task: String },
    /// The arguments did not arrive, or the result did not come back.
    #[error("{task}: {fault}")]
    Arguments { task: String, fault: String },
    /// No worker is left, because a new one could not be started. The pool tries again after a second.
    #[error("no worker is left to run {task}: {fault}")]
    NoWorker { task: String, fault: String },
}

/// A lock that a worker held when it died.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldLock {
    /// The text of the handle of the value.
    pub handle: String,
    /// What the worker held the lock for.
    pub purpose: LockPurpose,
}

/// What a lock is held for.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockPurpose {
    /// To read, or to work on a part.
    Read,
    /// To write. The bytes of this range may be half written.
    Write(Range<usize>),
    /// To commit. The last commit stays as it is.
    Commit,
    /// To exclude others: the value is a mutex.
    Exclude,
}

/// Why a pool did not start.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each field is named in the variant's message")]
pub enum PoolError {
    /// A process was not started.
    #[error("cannot start worker {number} of {workers}")]
    Spawn {
        number: usize,
        workers: usize,
        source: io::Error,
    },
    /// A worker was started, and may not run on the processors of the options.
    #[error("cannot bind worker {number} to processors {processors:?}")]
    Bind {
        number: usize,
        processors: Vec<usize>,
        source: io::Error,
    },
    /// A process was started, and did not call [`Tasks::serve`](crate::Tasks::serve). `ended` says how it ended, if it did.
    #[error(
        "worker {number} {} after {after:.1?}: does `main` call `Tasks::serve` first?",
        .ended.as_deref().unwrap_or("did not report")
    )]
    WorkerNotReady {
        number: usize,
        after: Duration,
        ended: Option<String>,
    },
    /// This process is a worker, and its program starts a pool before it serves.
    #[error(
        "this process is a worker, and its program starts a pool before it calls `Tasks::serve`"
    )]
    PoolInWorker,
    /// A pool without workers.
    #[error("a pool of 0 workers cannot run anything")]
    Empty,
}

struct Held<'a>(&'a [HeldLock]);

impl fmt::Display for Held<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|lock| write!(f, "; it held {lock}"))
    }
}

impl fmt::Display for HeldLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let handle = &self.handle;
        match &self.purpose {
            LockPurpose::Read => write!(f, "{handle} for reading"),
            LockPurpose::Write(Range { start, end }) => {
                write!(f, "{handle} for writing, bytes {start} to {end}")
            }
            LockPurpose::Commit => write!(f, "{handle} for a commit, which changed nothing"),
            LockPurpose::Exclude => write!(f, "the mutex {handle}"),
        }
    }
}
