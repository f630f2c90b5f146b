//! The workers of a pool: which are there, what they have, and what comes from them.

use std::collections::VecDeque;
use std::mem;
use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::pool::call::Common;
use crate::pool::chore::{Chore, Ended};
use crate::pool::death::describe;
use crate::pool::encoded::Encoded;
use crate::pool::error::{PoolError, TaskError};
use crate::pool::frames::Received;
use crate::pool::protocol::Reply;
use crate::pool::queue::Queue;
use crate::pool::worker::{Cause, Phase, Sent, StartError, Worker};

/// How long the pool waits before it tries again to start a worker.
const RETRY: Duration = Duration::from_secs(1);
/// Most bytes of arguments that are sent to a worker at a time, if that is more than one task.
const MAX_CHUNK_BYTES: usize = 64 << 10;

/// SIGKILL: somebody else ended the worker, which says nothing about the program.
const KILLED: i32 = 9;
/// Most workers in a row that are killed before they serve. After that the pool waits for [`RETRY`].
const MAX_STILLBORN: u32 = 16;

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

    /// Hands tasks to workers that have none, or few of the only call that waits.
    pub(super) fn dispatch(&mut self, queue: &mut Queue) {
        while let Some((call, others)) = queue.first() {
            let (id, chunk, waiting) = (call.common.id, call.chunk(), call.waiting.len());
            let has_room =
                |worker: &Worker| worker.is_idle() || !others && is_running_out(worker, id, chunk);
            let serving = |slot: &Slot| matches!(slot, Slot::Filled(worker) if worker.phase == Phase::Serving);
            let found = |slot: &Slot| matches!(slot, Slot::Filled(worker) if has_room(worker));
            // Each is left its share.
            let serving = self.slots.iter().filter(|slot| serving(slot)).count();
            let Some(number) = self.slots.iter().position(found) else {
                return;
            };
            let share = waiting.div_ceil(serving.max(1));
            let Some(worker) = self.worker(number) else {
                return;
            };
            let mut count = chunk.saturating_sub(worker.out.len()).min(share).max(1);
            let mut bytes = 0;
            while count > 0
                && bytes < MAX_CHUNK_BYTES
                && let Some((common, task)) = queue.draw()
            {
                bytes += task.arguments.bytes.len();
                worker.push(&common, task);
                count -= 1;
                if common.id != id || queue.call(id).is_none_or(|call| call.waiting.is_empty()) {
                    break;
                }
            }
            queue.end_turn(id);
            self.flush(number, queue);
        }
    }

    /// Sends what a worker's socket takes. If the worker is gone, what it has not begun waits for another.
    pub(super) fn flush(&mut self, number: usize, queue: &mut Queue) {
        if let Some(worker) = self.worker(number)
            && worker.flush().is_err()
        {
            let unbegun = worker.take_unbegun();
            worker.close(Cause::Unknown);
            put_back(unbegun, queue);
        }
    }

    /// Receives once from a worker, and notes the tasks that have ended; returns false if nothing came.
    pub(super) fn absorb(
        &mut self,
        number: usize,
        queue: &mut Queue,
        chores: &mut Vec<Chore>,
    ) -> bool {
        let Some(worker) = self.worker(number) else {
            return false;
        };
        match worker.receive() {
            Received::Nothing => return false,
            Received::End => {
                if !matches!(worker.phase, Phase::Ending { .. }) {
                    worker.close(Cause::Unknown);
                }
                return false;
            }
            Received::Some => {}
        }
        let keeper = (number, worker.pid());
        let (began, mut ended) = (worker.since, 0);
        let mut last = None;
        loop {
            let frame = match worker.inbox.next() {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(_) => {
                    worker.kill(Cause::Unknown);
                    break;
                }
            };
            if let Phase::Starting { .. } = worker.phase {
                worker.serve();
                continue;
            }
            let Some(Sent { common, task, .. }) = worker.out.pop_front() else {
                worker.kill(Cause::Unknown);
                break;
            };
            ended += 1;
            last = Some(common.id);
            end(queue, chores, common, task.number, frame, keeper);
        }
        if let Some(id) = last {
            worker.since = Instant::now();
            if let Some(call) = queue.call(id) {
                call.note_pace(worker.since.duration_since(began), ended);
            }
        }
        true
    }

    /// Kills a worker whose task has taken too long, unless its result has just come.
    fn expire(&mut self, number: usize, queue: &mut Queue, chores: &mut Vec<Chore>, now: Instant) {
        self.absorb(number, queue, chores);
        if let Some(worker) = self.worker(number)
            && worker.phase == Phase::Serving
            && worker.deadline().is_some_and(|until| until <= now)
            && let Some(limit) = worker
                .out
                .front()
                .and_then(|sent| sent.common.options.timeout)
        {
            worker.kill(Cause::Timeout(limit));
        }
    }

    /// Looks whether a worker that ends has ended, and lets go of it then; returns true if it has.
    fn wait_for(
        &mut self,
        number: usize,
        queue: &mut Queue,
        chores: &mut Vec<Chore>,
        now: Instant,
    ) -> bool {
        let Some(worker) = self.worker(number) else {
            return false;
        };
        let Phase::Ending { until, cause } = worker.phase else {
            return false;
        };
        let Some(status) = worker.status() else {
            if until <= now {
                worker.kill(cause);
            }
            return false;
        };
        // What it has sent before counts.
        while self.absorb(number, queue, chores) {}
        let Slot::Filled(mut worker) = mem::replace(&mut self.slots[number], Slot::Vacant) else {
            return false;
        };
        put_back(worker.take_unbegun(), queue);
        let pid = worker.pid();
        if let Some(Sent { common, task, .. }) = worker.out.pop_front() {
            let number = task.number;
            chores.push(Chore::Report {
                ended: Ended { common, number },
                pid,
                cause,
                status,
            });
        }
        let killed =
            !worker.has_served && cause == Cause::Unknown && status.signal() == Some(KILLED);
        self.stillborn = if killed { self.stillborn + 1 } else { 0 };
        if worker.has_served || killed && self.stillborn < MAX_STILLBORN {
            self.order(number, chores);
        } else {
            let ended = (cause != Cause::Silent).then(|| describe(status));
            let after = worker.started.elapsed();
            self.fail(
                number,
                PoolError::WorkerNotReady {
                    number,
                    after,
                    ended,
                },
            );
        }
        true
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

/// True if a worker has at most half of a chunk of the call left.
fn is_running_out(worker: &Worker, id: u64, chunk: usize) -> bool {
    let same = worker.out.iter().all(|sent| sent.common.id == id);
    worker.phase == Phase::Serving
        && !worker.has_unsent()
        && worker.out.len() * 2 <= chunk
        && same
        && chunk > 1
}

fn put_back(unbegun: VecDeque<Sent>, queue: &mut Queue) {
    for Sent { common, task, .. } in unbegun.into_iter().rev() {
        queue.put_back(&common, task);
    }
}

/// Notes what a worker replied to a task.
fn end(
    queue: &mut Queue,
    chores: &mut Vec<Chore>,
    common: Arc<Common>,
    number: usize,
    frame: &[u8],
    keeper: (usize, u32),
) {
    let task = common.task.to_owned();
    let outcome = match Reply::decode(frame) {
        Some(Reply::Done(result)) => Ok(Encoded {
            bytes: result.into(),
            values: Vec::new(),
        }),
        Some(Reply::DoneWithValues { handles, result }) => {
            return chores.push(Chore::Open {
                ended: Ended { common, number },
                handles,
                bytes: result.into(),
                keeper,
            });
        }
        Some(Reply::Panicked { message, location }) => Err(TaskError::Panicked {
            task,
            message,
            location,
        }),
        Some(Reply::Unknown) => Err(TaskError::Unknown { task }),
        Some(Reply::Unsendable(fault)) => Err(TaskError::Arguments { task, fault }),
        None => Err(TaskError::Arguments {
            task,
            fault: "the worker's reply is malformed".into(),
        }),
    };
    queue.end(&common, number, outcome);
}
