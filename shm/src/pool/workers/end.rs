//! How a worker ends, and what becomes of the tasks that it had.

use std::mem;
use std::os::unix::process::ExitStatusExt;
use std::time::Instant;

use super::dispatch::put_back;
use super::{Slot, Workers};
use crate::pool::chore::{Chore, Ended};
use crate::pool::death::describe;
use crate::pool::error::PoolError;
use crate::pool::queue::Queue;
use crate::pool::worker::{Cause, Phase, Sent};

/// SIGKILL: somebody else ended the worker, which says nothing about the program.
const KILLED: i32 = 9;
/// Most workers in a row that are killed before they serve. After that the pool waits before it tries
/// again.
const MAX_STILLBORN: u32 = 16;

impl Workers {
    /// Kills a worker whose task has taken too long, unless its result has just come.
    pub(super) fn expire(
        &mut self,
        number: usize,
        queue: &mut Queue,
        chores: &mut Vec<Chore>,
        now: Instant,
    ) {
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
    pub(super) fn wait_for(
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
            task.arguments.parts.give_up();
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
}
