//! What has to be done for a pool without its lock, because it takes a while.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;

use crate::object::{Handle, open_any};
use crate::pool::call::{Common, Outcome};
use crate::pool::death::{describe, locks_held_by};
use crate::pool::encoded::Encoded;
use crate::pool::error::TaskError;
use crate::pool::options::PoolOptions;
use crate::pool::worker::{Cause, StartError, Worker};

#[derive(Debug)]
pub(super) enum Chore {
    /// Start worker `number`.
    Start { number: usize },
    /// Open the values of a result, so that it survives the worker that made it.
    Open {
        ended: Ended,
        handles: Vec<Handle>,
        bytes: Vec<u8>,
        /// Which worker it is, and its process: it keeps the values until then.
        keeper: (usize, u32),
    },
    /// Find out which locks a worker held when it ended.
    Report {
        ended: Ended,
        pid: u32,
        cause: Cause,
        status: ExitStatus,
    },
}

/// The task that a chore ends.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) common: Arc<Common>,
    pub(super) number: usize,
}

/// What came of a chore.
#[derive(Debug)]
pub(super) enum Done {
    Started(usize, Result<Worker, StartError>),
    /// What became of a task, and the worker that may let go of its values.
    Ended(Ended, Outcome, Option<(usize, u32)>),
}

impl Chore {
    pub(super) fn run(self, options: &PoolOptions) -> Done {
        match self {
            Self::Start { number } => Done::Started(number, Worker::start(options, number)),
            Self::Open {
                ended,
                handles,
                bytes,
                keeper,
            } => {
                let opened: Result<Vec<_>, _> = handles.iter().map(open_any).collect();
                let outcome = match opened {
                    Ok(values) => Ok(Encoded {
                        bytes,
                        values,
                        ..Encoded::default()
                    }),
                    Err(error) => Err(TaskError::Arguments {
                        task: ended.common.task.into(),
                        fault: error.to_string(),
                    }),
                };
                Done::Ended(ended, outcome, Some(keeper))
            }
            Self::Report {
                ended,
                pid,
                cause,
                status,
            } => {
                let task = ended.common.task.into();
                let held = locks_held_by(pid);
                let error = match cause {
                    Cause::Timeout(limit) if status.signal().is_some() => TaskError::TimedOut {
                        task,
                        pid,
                        limit,
                        held,
                    },
                    _ => TaskError::Died {
                        task,
                        pid,
                        how: describe(status),
                        held,
                    },
                };
                Done::Ended(ended, Err(error), None)
            }
        }
    }
}
