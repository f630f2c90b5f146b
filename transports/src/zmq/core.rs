//! What the calls of a socket share with the keeper: the state, its lock, and the set to wait in.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

use numpush_os::{self as os, Event, Events};

use crate::deadline::Deadline;
use crate::keeper::{self, Kept, Left, Presence};
use crate::origin::Origin;
use crate::zmq::refusals::Refusals;
use crate::zmq::state::State;
use crate::zmq::terms::Terms;

/// A socket.
pub(super) struct Core {
    events: Events,
    state: Mutex<State>,
    presence: Presence,
    refusals: Arc<Refusals>,
    origin: Origin,
}

impl Drop for Core {
    /// What a forked child drops is its parent's.
    fn drop(&mut self) {
        if self.origin.is_here() {
            self.presence.end(self.events.as_fd());
        }
    }
}

impl Core {
    /// A socket with what `prepare` adds to it. From now on it does its duties without a call.
    pub(super) fn new(
        terms: Terms,
        prepare: impl FnOnce(&mut State, &Events) -> io::Result<()>,
    ) -> io::Result<Arc<Self>> {
        let events = Events::new()?;
        let mut state = State::new(terms, &events)?;
        prepare(&mut state, &events)?;
        state.tell(&[], &events);
        state.arrange(&events);
        let core = Arc::new(Self {
            events,
            refusals: Arc::clone(&state.refusals),
            state: Mutex::new(state),
            presence: Presence::default(),
            origin: Origin::here(),
        });
        keeper::keep(&core)?;
        Ok(core)
    }

    /// Begins a call.
    pub(super) fn enter(&self) -> Call<'_> {
        self.presence.enter();
        let mut call = Call {
            state: Some(os::lock(&self.state)),
            core: self,
            ready: Vec::new(),
            is_late: false,
            is_light: false,
            now: Instant::now(),
        };
        call.look_around();
        call
    }

    /// What it has, without a call; nothing in a forked child.
    pub(super) fn look<T: Default>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        match self.origin.is_here() {
            true => look(&mut os::lock(&self.state)),
            false => T::default(),
        }
    }

    /// Who was sent away. Nobody waits for the socket's lock to know that: memory of the program may ask while a call has it. A
    /// forked child has none of it, as its locks may be held for ever.
    pub(super) fn refusals(&self) -> Option<&Refusals> {
        self.origin.is_here().then_some(&self.refusals)
    }
}

impl Kept for Core {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }

    fn presence(&self) -> &Presence {
        &self.presence
    }

    fn keep(&self) {
        // A call that has come meanwhile does it.
        let mut state = match self.state.try_lock() {
            Ok(state) => state,
            // Memory of the program's has panicked in a call, which ends no duty.
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) if self.presence.is_inside() => return,
            // Somebody looks at its status, and does nothing for it.
            Err(TryLockError::WouldBlock) => os::lock(&self.state),
        };
        // One that sleeps already would not see what is taken from here on. One that comes waits for the lock, and does.
        if self.presence.is_inside() {
            return;
        }
        let mut ready = Vec::new();
        // What it cannot be told now it is told next time.
        let _ = self.events.wait_into(&mut ready, Some(Duration::ZERO));
        state.tell(&ready, &self.events);
        state.step(&self.events);
        state.arrange(&self.events);
        let unused = state.unused.take();
        drop(state);
        drop(unused);
    }
}

/// A call that is inside a socket.
pub(super) struct Call<'c> {
    core: &'c Core,
    /// `None` while it waits.
    state: Option<MutexGuard<'c, State>>,
    ready: Vec<Event>,
    /// It has waited once after its deadline.
    is_late: bool,
    /// It has changed nothing that the set must know of.
    is_light: bool,
    /// When it began.
    pub(super) now: Instant,
}

impl Call<'_> {
    /// The state and the set.
    pub(super) fn parts(&mut self) -> (&mut State, &Events) {
        let core = self.core;
        let state = self.state.get_or_insert_with(|| os::lock(&core.state));
        (state, &core.events)
    }

    /// The call has only written, or queued what may wait for more.
    pub(super) fn light(&mut self) {
        self.is_light = true;
    }

    pub(super) fn state(&mut self) -> &mut State {
        self.parts().0
    }

    /// Takes in what has happened, unless that was done a moment ago. Calls that never wait would see no new peer, and the keeper
    /// leaves the socket to them.
    fn look_around(&mut self) {
        let core = self.core;
        let now = self.now;
        let (state, events) = self.parts();
        if !state.is_due(now) {
            return;
        }
        let mut ready = Vec::new();
        // What it cannot be told now it is told next time.
        let _ = core.events.wait_into(&mut ready, Some(Duration::ZERO));
        state.tell(&ready, events);
        state.step(events);
        state.arrange(events);
    }

    /// Waits until something has happened, and takes it in; at most until `deadline`, or for `most`. False if the deadline has
    /// passed and nothing had, or if it had passed before the wait before this one: events that never stop must not hide it.
    pub(super) fn wait(&mut self, deadline: Deadline, most: Option<Duration>) -> io::Result<bool> {
        let now = Instant::now();
        let is_over = deadline.has_passed() && std::mem::replace(&mut self.is_late, true);
        let (state, events) = self.parts();
        // What is written now may be what the caller waits for, and no event tells of it.
        let was_lazy = state.is_lazy;
        if was_lazy {
            state.step(events);
        }
        let is_busy = state.arrange(events) || was_lazy;
        let left = deadline.instant();
        let left = left.map(|at| at.saturating_duration_since(now));
        let timeout = match (left, most) {
            _ if is_busy => Some(Duration::ZERO),
            (Some(left), Some(most)) => Some(left.min(most)),
            (left, most) => left.or(most),
        };
        let unused = state.unused.take();
        self.ready.clear();
        self.state = None;
        drop(unused);
        self.core.events.wait_into(&mut self.ready, timeout)?;
        let core = self.core;
        let state = self.state.insert(os::lock(&core.state));
        state.tell(&self.ready, &core.events);
        let is_awake = is_busy || !self.ready.is_empty() || !deadline.has_passed();
        Ok(is_awake && !is_over)
    }
}

impl Drop for Call<'_> {
    /// The keeper does what is left.
    fn drop(&mut self) {
        let mut left = Left::Nothing;
        let mut unused = None;
        if let Some(mut state) = self.state.take() {
            let later = if state.is_lazy {
                Left::Later
            } else {
                Left::Nothing
            };
            left = match self.is_light || !state.owes() {
                true => later,
                false => Left::Now,
            };
            if state.has_changed || left == Left::Now {
                state.arrange(&self.core.events);
            }
            unused = state.unused.take();
        }
        self.core.presence.leave(left);
        drop(unused);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Budget;
    use crate::zmq::pattern::Pattern;

    /// A message that the keeper took in while a call slept woke nobody.
    #[test]
    fn the_keeper_leaves_a_socket_alone_while_a_call_is_inside() {
        let terms = Terms {
            pattern: Pattern::Pull,
            security: Arc::new(numpush_zmtp::Security::Null),
            takes_raw: false,
            max_message: 1,
            window: 1,
            patience: Duration::ZERO,
            heartbeat: None,
            linger: None,
            budget: Budget::new(),
        };
        let core = Core::new(terms, |_, _| Ok(())).unwrap();
        core.presence.enter();
        // Behind this the thread is not in it any more.
        let told = || os::lock(&core.state).told();
        let before = told();
        core.keep();
        assert_eq!(told(), before);
        core.presence.leave(Left::Nothing);
    }
}
