//! Who does the work of a pool: whichever thread waits for a result does it for all.
//!
//! One thread at a time leads: it hands out tasks, waits for the sockets of the workers, and notes results. The others that
//! wait for results sleep until theirs has come, or until the leader has what it wants and one of them is to lead. A thread
//! that only gives tasks hands them to idle workers itself.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use numpush_os::{Ready, wait};

use crate::pool::chore::{Chore, Done};
use crate::pool::error::PoolError;
use crate::pool::options::PoolOptions;
use crate::pool::queue::Queue;
use crate::pool::role::LOOK;
use crate::pool::wake::{Wake, Waker};
use crate::pool::worker::{Cause, Phase, Worker};
use crate::pool::workers::{Slot, Workers};

/// What the threads that use a pool share.
#[derive(Debug)]
pub(super) struct Dispatcher {
    state: Mutex<State>,
    options: PoolOptions,
    waker: Waker,
    /// Number of forks before it was made. A forked process has neither its workers nor its threads.
    forks: u32,
    size: usize,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) queue: Queue,
    pub(super) workers: Workers,
    chores: Vec<Chore>,
    /// A thread leads.
    led: bool,
    /// The leader sleeps until a worker sends something, or until then.
    asleep: Option<Option<Instant>>,
    /// Threads that wait while another leads.
    followers: Vec<Arc<Wake>>,
    /// A thread leads whenever tasks wait; `submit` has started it.
    pub(super) attended: bool,
    pub(super) closed: bool,
}

/// Most busy workers whose sockets are looked at one by one.
const FEW: usize = 4;

impl Dispatcher {
    /// Starts `size` workers and waits until each serves.
    pub(super) fn start(size: usize, options: PoolOptions) -> Result<Self, PoolError> {
        let failed = |source| PoolError::Spawn {
            number: 0,
            workers: size,
            source,
        };
        numpush_os::watch_forks();
        let dispatcher = Self {
            state: Mutex::new(State {
                queue: Queue::default(),
                workers: Workers::vacant(size),
                chores: Vec::new(),
                led: false,
                asleep: None,
                followers: Vec::new(),
                attended: false,
                closed: false,
            }),
            options,
            waker: Waker::new().map_err(failed)?,
            forks: numpush_os::forks(),
            size,
        };
        match dispatcher.wait(&Arc::default(), None, |state| state.workers.started()) {
            Some(Err(error)) => {
                dispatcher.close();
                Err(error)
            }
            _ => Ok(dispatcher),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        numpush_os::lock(&self.state)
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// True in the process that made the pool, not in one that was forked from it.
    pub(super) fn is_ours(&self) -> bool {
        self.forks == numpush_os::forks()
    }

    /// Waits until `found` finds something, or until then, and does the work of the pool meanwhile. `wake` is notified
    /// when it is worth to look again.
    pub(super) fn wait<T>(
        &self,
        wake: &Arc<Wake>,
        until: Option<Instant>,
        mut found: impl FnMut(&mut State) -> Option<T>,
    ) -> Option<T> {
        let mut state = self.state();
        let mut stepped = false;
        let result = loop {
            // A result whose worker may end is made safe before this thread leaves.
            let chores = !state.led && !state.chores.is_empty();
            if !chores && let Some(result) = found(&mut state) {
                break Some(result);
            }
            // Who does not want to wait takes one step, too.
            if stepped && until.is_some_and(|until| until <= Instant::now()) {
                break None;
            }
            stepped = true;
            if state.led {
                state = follow(state, wake, until);
                continue;
            }
            state.led = true;
            state = self.lead(state, until);
            state.led = false;
        };
        if !state.led
            && let Some(next) = state.followers.first()
        {
            next.notify();
        }
        result
    }

    /// Takes one step of the work.
    fn lead<'s>(
        &'s self,
        mut state: MutexGuard<'s, State>,
        until: Option<Instant>,
    ) -> MutexGuard<'s, State> {
        let advanced = state.advance();
        let chores = std::mem::take(&mut state.chores);
        if !chores.is_empty() {
            drop(state);
            for chore in chores {
                let done = chore.run(&self.options);
                self.state().settle(done);
            }
            return self.state();
        }
        if advanced {
            return state;
        }
        let last_look = Instant::now() + LOOK;
        // What has been sent to a worker is not answered before it had a processor.
        while Instant::now() < last_look && state.is_worth_a_look() {
            drop(state);
            std::thread::yield_now();
            state = self.state();
            if state.look() {
                return state;
            }
        }
        self.sleep(state, until)
    }

    /// Sleeps until a worker sends something, or until something is to be done.
    fn sleep<'s>(
        &'s self,
        mut state: MutexGuard<'s, State>,
        until: Option<Instant>,
    ) -> MutexGuard<'s, State> {
        let due = state.workers.deadline(&state.queue);
        let until = due.into_iter().chain(until).min();
        let watched = state.watched();
        state.asleep = Some(until);
        drop(state);

        let mut wanted: Vec<(BorrowedFd<'_>, Ready)> = watched
            .iter()
            .map(|(_, socket, want)| (socket.as_fd(), *want))
            .collect();
        wanted.push((self.waker.as_fd(), Ready::READ));
        let ready = wait(&wanted, until).unwrap_or_default();
        let mut state = self.state();
        state.asleep = None;
        self.waker.clear();
        let some = watched.iter().zip(ready).filter(|(_, ready)| ready.any());
        for ((number, ..), ready) in some {
            state.attend(*number, ready);
        }
        state
    }

    /// Hands tasks that have just come to idle workers, and wakes the leader if it has to look after something new.
    pub(super) fn dispatch(&self, state: &mut State) {
        state.dispatch();
        if let Some(asleep) = state.asleep {
            let due = state.workers.deadline(&state.queue);
            let earlier = due.is_some_and(|due| asleep.is_none_or(|asleep| due < asleep));
            if earlier || state.workers.all().any(Worker::has_unsent) {
                self.waker.wake();
            }
        }
    }

    /// Ends all workers.
    pub(super) fn close(&self) {
        if !self.is_ours() {
            return;
        }
        let mut state = self.state();
        state.closed = true;
        self.waker.wake();
        let slots = std::mem::take(&mut state.workers.slots);
        drop(state);
        let mut workers: Vec<Worker> = slots
            .into_iter()
            .filter_map(|slot| match slot {
                Slot::Filled(worker) => Some(worker),
                _ => None,
            })
            .collect();
        // All sockets first, so that the processes end at the same time.
        for worker in &mut workers {
            worker.close(Cause::Unknown);
        }
        workers.into_iter().for_each(Worker::end);
    }
}

/// Sleeps until `wake` is notified, or until then.
fn follow<'s>(
    mut state: MutexGuard<'s, State>,
    wake: &Arc<Wake>,
    until: Option<Instant>,
) -> MutexGuard<'s, State> {
    state.followers.push(Arc::clone(wake));
    let mut state = wake.wait(state, until);
    state.followers.retain(|other| !Arc::ptr_eq(other, wake));
    state
}

impl State {
    fn advance(&mut self) -> bool {
        let Self {
            queue,
            workers,
            chores,
            ..
        } = self;
        workers.advance(queue, chores)
    }

    fn dispatch(&mut self) {
        self.workers.dispatch(&mut self.queue);
    }

    /// True if a few workers are busy. With more, one of them is ready before long.
    fn is_worth_a_look(&self) -> bool {
        let busy = self.workers.all().filter(|worker| worker.is_busy()).count();
        (1..=FEW).contains(&busy)
    }

    /// Looks once whether busy workers have sent something.
    fn look(&mut self) -> bool {
        let mut came = false;
        for number in 0..self.workers.slots.len() {
            if self
                .workers
                .worker(number)
                .is_some_and(|worker| worker.is_busy())
            {
                came |= self.absorb(number);
            }
        }
        if came {
            self.dispatch();
        }
        came
    }

    /// Receives from, and sends to, a worker whose socket is ready.
    fn attend(&mut self, number: usize, ready: Ready) {
        if ready.write {
            self.workers.flush(number, &mut self.queue);
        }
        if ready.read {
            self.absorb(number);
        }
    }

    fn absorb(&mut self, number: usize) -> bool {
        let Self {
            queue,
            workers,
            chores,
            ..
        } = self;
        workers.absorb(number, queue, chores)
    }

    fn settle(&mut self, done: Done) {
        match done {
            Done::Started(number, started) => self.workers.put(number, started),
            Done::Ended(ended, outcome, keeper) => {
                self.queue.end(&ended.common, ended.number, outcome);
                let Some((number, pid)) = keeper else { return };
                if let Some(worker) = self.workers.worker(number)
                    && worker.pid() == pid
                {
                    worker.push_opened();
                    self.workers.flush(number, &mut self.queue);
                }
            }
        }
    }

    /// The sockets that a leader waits for, each with its worker and what it waits for.
    fn watched(&self) -> Vec<(usize, Arc<UnixStream>, Ready)> {
        let of = |(number, slot): (usize, &Slot)| match slot {
            Slot::Filled(worker) if !matches!(worker.phase, Phase::Ending { .. }) => {
                let want = if worker.has_unsent() {
                    Ready::BOTH
                } else {
                    Ready::READ
                };
                Some((number, Arc::clone(&worker.socket), want))
            }
            _ => None,
        };
        self.workers
            .slots
            .iter()
            .enumerate()
            .filter_map(of)
            .collect()
    }
}
