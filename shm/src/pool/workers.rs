//! The workers of a pool, and who has them.

use std::net::Shutdown;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::pool::PoolOptions;
use crate::pool::error::PoolError;
use crate::pool::worker::Worker;

/// The workers of a pool: those that run nothing, and the numbers of all that live.
#[derive(Debug)]
pub(super) struct Workers {
    options: PoolOptions,
    size: usize,
    state: Mutex<State>,
    returned: Condvar,
}

#[derive(Debug, Default)]
struct State {
    idle: Vec<Worker>,
    /// The processes of the workers that live, idle or not.
    alive: Vec<u32>,
}

impl Workers {
    /// Starts `size` processes and waits until each has reported.
    pub(super) fn start(size: usize, options: PoolOptions) -> Result<Self, PoolError> {
        let workers = Self {
            options,
            size,
            state: Mutex::default(),
            returned: Condvar::new(),
        };
        for number in 0..size {
            let started = Worker::start(&workers.options);
            let started = started.map_err(|source| PoolError::Spawn {
                number,
                workers: size,
                source,
            })?;
            let mut state = workers.state();
            state.alive.push(started.pid());
            state.idle.push(started);
        }
        for (number, worker) in workers.state().idle.iter_mut().enumerate() {
            worker.wait_until_ready(number)?;
        }
        Ok(workers)
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// The processes of the workers that run nothing now.
    pub(super) fn idle_pids(&self) -> Vec<u32> {
        self.state().idle.iter().map(Worker::pid).collect()
    }

    /// The processes of all workers.
    pub(super) fn pids(&self) -> Vec<u32> {
        self.state().alive.clone()
    }

    /// Kills the worker `pid`; false if there is none of that number.
    pub(super) fn kill(&self, pid: u32) -> bool {
        // Under the lock the number stays that of the worker: a process is waited for only after it has left the list.
        let state = self.state();
        state.alive.contains(&pid) && numpush_os::kill(pid).is_ok()
    }

    /// Takes up to `most` idle workers, at least one: waits for it if other threads have them all. None if none lives.
    pub(super) fn take(&self, most: usize) -> Vec<Worker> {
        let mut state = self.state();
        while state.idle.is_empty() && !state.alive.is_empty() {
            state = self
                .returned
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let rest = state.idle.len().saturating_sub(most);
        state.idle.split_off(rest)
    }

    pub(super) fn give_back(&self, worker: Worker) {
        self.state().idle.push(worker);
        self.returned.notify_one();
    }

    /// Takes a worker that has died, or is about to, from the list of those that live.
    pub(super) fn forget(&self, pid: u32) {
        self.state().alive.retain(|&other| other != pid);
    }

    /// Starts a worker in the place of a forgotten one. If that fails, the pool has one worker less.
    pub(super) fn replace(&self) -> Option<Worker> {
        let started = Worker::start(&self.options).ok();
        let ready = started.and_then(|mut worker| {
            let ready = worker.wait_until_ready(self.size);
            ready.ok().map(|()| worker)
        });
        match &ready {
            Some(worker) => self.state().alive.push(worker.pid()),
            None => self.returned.notify_all(),
        }
        ready
    }

    fn state(&self) -> MutexGuard<'_, State> {
        numpush_os::lock(&self.state)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        let idle = std::mem::take(&mut self.state().idle);
        // All sockets first, so that the processes end at the same time.
        for worker in &idle {
            let _ = worker.channel.socket().shutdown(Shutdown::Both);
        }
        idle.into_iter().for_each(Worker::end);
    }
}
