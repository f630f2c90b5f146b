//! The workers of a pool: which are there, what they have, and what comes from them.

mod dispatch;
mod end;
mod receive;

use std::mem;
use std::time::{Duration, Instant};

use crate::pool::chore::Chore;
use crate::pool::error::PoolError;
use crate::pool::queue::Queue;
use crate::pool::worker::{Cause, Phase, StartError, Worker};

/// How long the pool waits before it tries again to start a worker.
const RETRY: Duration = Duration::from_secs(1);

/// The place of a worker.
#[derive(Debug)]
pub(super) enum Slot {
    /// A worker is to be started.
    Vacant,
    /// A thread starts one.
    BeingStarted,
    Filled(Worker),
    /// No worker could be started. The next attempt is not before `retry`.
    Failed {
        retry: Instant,
        error: PoolError,
    },
}

#[derive(Debug)]
pub(super) struct Workers {
    pub(super) slots: Vec<Slot>,
    /// Workers in a row that were killed before they served.
    stillborn: u32,
}

impl Workers {
    pub(super) fn vacant(count: usize) -> Self {
        Self {
            slots: (0..count).map(|_| Slot::Vacant).collect(),
            stillborn: 0,
        }
    }

    pub(super) fn pids(&self) -> Vec<u32> {
        let lives = |worker: &&Worker| !matches!(worker.phase, Phase::Ending { .. });
        self.all().filter(lives).map(Worker::pid).collect()
    }

    /// The processes of those that run nothing.
    pub(super) fn idle_pids(&self) -> Vec<u32> {
        let idle =
            |worker: &&Worker| worker.is_idle() || matches!(worker.phase, Phase::Starting { .. });
        self.all().filter(idle).map(Worker::pid).collect()
    }

    /// Kills the worker of process `pid`; false if there is none. If it was idle, it gets no task any more.
    pub(super) fn kill(&mut self, pid: u32) -> bool {
        let mut live = self.slots.iter_mut().filter_map(|slot| match slot {
            Slot::Filled(worker) if !matches!(worker.phase, Phase::Ending { .. }) => Some(worker),
            _ => None,
        });
        let found = live.find(|worker| worker.pid() == pid);
        let kill = |worker: &mut Worker| match worker.phase {
            // The end of its socket says when it is gone, and everything that it has sent comes before.
            Phase::Serving if !worker.out.is_empty() => worker.send_kill(),
            _ => worker.kill(Cause::Unknown),
        };
        found.map(kill).is_some()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Worker> {
        self.slots.iter().filter_map(|slot| match slot {
            Slot::Filled(worker) => Some(worker),
            _ => None,
        })
    }

    pub(super) fn worker(&mut self, number: usize) -> Option<&mut Worker> {
        match self.slots.get_mut(number)? {
            Slot::Filled(worker) => Some(worker),
            _ => None,
        }
    }

    /// Whether all workers serve, or why the first of those that do not has failed; `None` while one starts.
    pub(super) fn started(&mut self) -> Option<Result<(), PoolError>> {
        for slot in &mut self.slots {
            match slot {
                Slot::Filled(worker) if worker.has_served => {}
                Slot::Failed { .. } => match mem::replace(slot, Slot::Vacant) {
                    Slot::Failed { error, .. } => return Some(Err(error)),
                    _ => return None,
                },
                _ => return None,
            }
        }
        Some(Ok(()))
    }

    /// Does what the time has come for. What has to be done without the lock is added to `chores`. Returns false if there
    /// was nothing to do.
    pub(super) fn advance(&mut self, queue: &mut Queue, chores: &mut Vec<Chore>) -> bool {
        let now = Instant::now();
        let mut some = false;
        for number in 0..self.slots.len() {
            match &mut self.slots[number] {
                Slot::Vacant => self.order(number, chores),
                Slot::Failed { retry, .. } if queue.has_waiting() && *retry <= now => {
                    self.order(number, chores);
                }
                Slot::Filled(worker) => match worker.phase {
                    Phase::Ending { .. } => some |= self.wait_for(number, queue, chores, now),
                    Phase::Starting { until } if until <= now => worker.kill(Cause::Silent),
                    Phase::Serving if worker.deadline().is_some_and(|until| until <= now) => {
                        self.expire(number, queue, chores, now);
                        some = true;
                    }
                    _ => {}
                },
                _ => {}
            }
        }
        self.dispatch(queue);
        if let Some(fault) = self.hopeless().filter(|_| queue.has_waiting()) {
            queue.fail_all(&fault);
            some = true;
        }
        some
    }

    fn order(&mut self, number: usize, chores: &mut Vec<Chore>) {
        self.slots[number] = Slot::BeingStarted;
        chores.push(Chore::Start { number });
    }

    /// Why no worker will come, if none is there and none is being started.
    fn hopeless(&self) -> Option<String> {
        let faults = self.slots.iter().map(|slot| match slot {
            Slot::Failed { error, .. } => Some(error),
            _ => None,
        });
        let faults: Option<Vec<&PoolError>> = faults.collect();
        Some(faults?.first()?.to_string())
    }

    /// Puts a worker that was started in its place.
    pub(super) fn put(&mut self, number: usize, started: Result<Worker, StartError>) {
        let workers = self.slots.len();
        let error = match started {
            // The pool has ended meanwhile.
            Ok(worker) if number >= workers => return worker.end(),
            Ok(worker) => return self.slots[number] = Slot::Filled(worker),
            Err(StartError::Spawn(source)) => PoolError::Spawn {
                number,
                workers,
                source,
            },
            Err(StartError::Bind(processors, source)) => PoolError::Bind {
                number,
                processors,
                source,
            },
        };
        self.fail(number, error);
    }

    fn fail(&mut self, number: usize, error: PoolError) {
        let retry = Instant::now() + RETRY;
        if let Some(slot) = self.slots.get_mut(number) {
            *slot = Slot::Failed { retry, error };
        }
    }

    /// When something has to be done even if nothing comes from a worker.
    pub(super) fn deadline(&self, queue: &Queue) -> Option<Instant> {
        let now = Instant::now();
        let of = |slot: &Slot| match slot {
            Slot::Vacant => Some(now),
            Slot::BeingStarted => None,
            Slot::Failed { retry, .. } => Some(*retry).filter(|_| queue.has_waiting()),
            Slot::Filled(worker) => match worker.phase {
                Phase::Starting { until } => Some(until),
                Phase::Serving => worker.deadline(),
                // There is nothing to wait on but the process itself, and it is nearly gone.
                Phase::Ending { .. } => Some(now + Duration::from_millis(1)),
            },
        };
        self.slots.iter().filter_map(of).min()
    }
}
