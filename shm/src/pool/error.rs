use std::fmt;
use std::io;
use std::ops::Range;

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
    /// The worker died. It was replaced, and the other tasks went on.
    #[error("worker {pid} {how} while it ran {task}{}", Held(.held))]
    Died {
        task: String,
        pid: u32,
        how: String,
        held: Vec<HeldLock>,
    },
    /// The workers' program does not have the function.
    #[error("{task} is not among the tasks that the program serves: add it with `Tasks::with`")]
    Unknown { task: String },
    /// The arguments did not arrive, or the result did not come back.
    #[error("{task}: {fault}")]
    Arguments { task: String, fault: String },
    /// There is no worker, because a new one could not be started.
    #[error("no worker is left to run {task}")]
    NoWorker { task: String },
}

/// A lock that a worker held when it died.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldLock {
    /// The handle of the value.
    pub handle: String,
    /// The bytes it may have left half written; `None` if it only read.
    pub dirty: Option<Range<usize>>,
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
    /// A process was started and did not say that it is a worker.
    #[error(
        "worker {number} did not report within {seconds} s: does `main` call `Tasks::serve` first?"
    )]
    Silent { number: usize, seconds: u64 },
    /// A worker's program wants workers of its own before it serves.
    #[error(
        "this process is a worker, and its program asks for a pool before it calls `Tasks::serve`"
    )]
    Unserved,
    /// No worker at all.
    #[error("a pool of 0 workers cannot run anything")]
    Empty,
}

struct Held<'a>(&'a [HeldLock]);

impl fmt::Display for Held<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for lock in self.0 {
            match &lock.dirty {
                Some(Range { start, end }) => {
                    write!(
                        f,
                        "; it held {} for writing, bytes {start} to {end}",
                        lock.handle
                    )?;
                }
                None => write!(f, "; it held {} for reading", lock.handle)?,
            }
        }
        Ok(())
    }
}
