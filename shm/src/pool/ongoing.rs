//! A call and the pool that runs it, as its caller has them.

use std::sync::Arc;
use std::time::Instant;

use serde::de::DeserializeOwned;

use crate::pool::call::{Call, Outcome};
use crate::pool::dispatcher::{Dispatcher, State};
use crate::pool::encoded::Encoded;
use crate::pool::error::TaskError;
use crate::pool::options::TaskOptions;
use crate::pool::wake::Wake;

/// Ends the workers of a pool when the last of those who have it is dropped: the pool, its clones, and its calls.
#[derive(Debug)]
pub(super) struct Lifetime {
    pub(super) dispatcher: Arc<Dispatcher>,
}

impl Drop for Lifetime {
    fn drop(&mut self) {
        self.dispatcher.close();
    }
}

/// A call whose results somebody wants. Its drop cancels the tasks that wait, and forgets the results of the others.
#[derive(Debug)]
pub(super) struct Ongoing {
    pub(super) pool: Arc<Lifetime>,
    pub(super) task: &'static str,
    id: u64,
    wake: Arc<Wake>,
}

/// What a caller waits for.
pub(super) enum Event {
    /// A task has ended.
    Ended(usize, Outcome),
    /// Tasks can be added.
    Room(usize),
    /// Every task that was added has ended, and was taken.
    Over,
    /// This process was forked from that of the pool.
    Forked,
}

impl Ongoing {
    pub(super) fn begin(
        pool: &Arc<Lifetime>,
        task: &'static str,
        argument: Option<Encoded>,
        options: TaskOptions,
        tasks: impl IntoIterator<Item = (usize, Result<Encoded, String>)>,
    ) -> Self {
        let mut call = Self {
            pool: Arc::clone(pool),
            task,
            id: 0,
            wake: Arc::default(),
        };
        // The lock may be that of a thread that this process does not have.
        let dispatcher = &pool.dispatcher;
        if dispatcher.is_ours() {
            let mut state = dispatcher.state();
            call.id = state.queue.begin(task, argument, options, &call.wake);
            call.add_to(&mut state, tasks);
        }
        call
    }

    /// Adds tasks: their numbers, and their arguments or why these cannot be sent.
    pub(super) fn add(&self, tasks: impl IntoIterator<Item = (usize, Result<Encoded, String>)>) {
        let dispatcher = &self.pool.dispatcher;
        if dispatcher.is_ours() {
            self.add_to(&mut dispatcher.state(), tasks);
        }
    }

    fn add_to(
        &self,
        state: &mut State,
        tasks: impl IntoIterator<Item = (usize, Result<Encoded, String>)>,
    ) {
        for (number, arguments) in tasks {
            state.queue.add(self.id, number, arguments);
        }
        self.pool.dispatcher.dispatch(state);
    }

    /// Waits for the next event, or until then. `more` says that there are tasks to add.
    pub(super) fn next(&self, more: bool, until: Option<Instant>) -> Option<Event> {
        let dispatcher = &self.pool.dispatcher;
        if !dispatcher.is_ours() {
            return Some(Event::Forked);
        }
        dispatcher.wait(&self.wake, until, |state| self.event(state, more))
    }

    /// The error of a task of which the pool knows nothing.
    pub(super) fn lost(&self) -> TaskError {
        let fault = if self.pool.dispatcher.is_ours() {
            "the pool has ended"
        } else {
            "this process was forked from the pool's"
        };
        TaskError::NoWorker {
            task: self.task.into(),
            fault: fault.into(),
        }
    }

    /// The result of a task from its bytes.
    pub(super) fn decode<R: DeserializeOwned>(&self, outcome: Outcome) -> Result<R, TaskError> {
        outcome?.decode().map_err(|fault| TaskError::Arguments {
            task: self.task.into(),
            fault,
        })
    }

    fn event(&self, state: &mut State, more: bool) -> Option<Event> {
        let workers = self.pool.dispatcher.size();
        let Some(call) = state.queue.call(self.id) else {
            return Some(Event::Over);
        };
        if let Some((number, outcome)) = call.ended.pop_front() {
            return Some(Event::Ended(number, outcome));
        }
        let room = if more { call.room(workers) } else { 0 };
        if room > 0 {
            return Some(Event::Room(room));
        }
        call.is_over().then_some(Event::Over)
    }

    /// Takes back the only task, if no worker has it yet.
    pub(super) fn cancel(&self) -> bool {
        if !self.pool.dispatcher.is_ours() {
            return false;
        }
        let mut state = self.pool.dispatcher.state();
        let waits = |call: &mut Call| !call.waiting.is_empty();
        let waits = state.queue.call(self.id).is_some_and(waits);
        if waits {
            drop(state.queue.abandon(self.id));
        }
        waits
    }
}

impl Drop for Ongoing {
    fn drop(&mut self) {
        let dispatcher = &self.pool.dispatcher;
        if !dispatcher.is_ours() {
            return;
        }
        let mut state = dispatcher.state();
        let waiting = state.queue.abandon(self.id);
        drop(state);
        // Outside the lock: their values may be the last of their kind.
        drop(waiting);
    }
}
