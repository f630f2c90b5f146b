//! What this process has of one owner.

use std::fmt;
use std::sync::{Arc, Condvar, MutexGuard};
use std::time::Instant;

use numpush_os::ForkMutex;
use numpush_shm_core::forks;

use super::connection::Opener;
use super::options::keep_for;
use super::state::{Cached, Garbage, Line, Open, State};
use super::watch::{Tended, Watch};
use crate::object::handle::{Handle, OwnerName};
use crate::object::protocol::ClientNotice;
use crate::object::raw::{self, RawObject, Value};

/// The connection to an owner, and the values that it has opened.
pub(super) struct Slot {
    pub(super) owner: OwnerName,
    pub(super) forks: u32,
    pub(super) watch: Arc<Watch>,
    state: ForkMutex<State>,
    /// Notified when the connection is free.
    pub(super) freed: Condvar,
}

/// Keeps a value open at its owner.
struct Lease {
    slot: Arc<Slot>,
    number: u64,
    token: u64,
    opener: Opener,
    value: Arc<Value>,
}

impl Slot {
    pub(super) fn new(owner: OwnerName, forks: u32, watch: Arc<Watch>) -> Self {
        Self {
            owner,
            forks,
            watch,
            state: ForkMutex::new(State::new()),
            freed: Condvar::new(),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// False if the slot might as well be made anew.
    pub(super) fn is_in_use(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) > 1 || !matches!(self.state().line, Line::None)
    }

    /// The value, if this process has it open, or has closed it just now.
    pub(super) fn find(
        self: &Arc<Self>,
        state: &mut State,
        number: u64,
        garbage: &mut Garbage,
    ) -> Option<Arc<RawObject>> {
        let open = state.open.get(&number);
        if let Some(object) = open.and_then(|open| open.object.upgrade()) {
            return Some(object);
        }
        if !state.cached.contains_key(&number) {
            return None;
        }
        // The owner may have ended, or may want it back.
        self.listen(state, garbage);
        let opener = state.line.opener()?;
        let Cached { value, .. } = state.cached.remove(&number)?;
        Some(self.enter(state, number, value, opener, false))
    }

    /// A value that a connection has opened.
    pub(super) fn enter(
        self: &Arc<Self>,
        state: &mut State,
        number: u64,
        value: Arc<Value>,
        opener: Opener,
        is_wanted: bool,
    ) -> Arc<RawObject> {
        state.last_token += 1;
        let token = state.last_token;
        let lease = Lease {
            slot: Arc::clone(self),
            number,
            token,
            opener,
            value: Arc::clone(&value),
        };
        let handle = Handle {
            owner: self.owner,
            number,
        };
        let object = RawObject::leased(value, handle, Box::new(lease));
        let open = Open {
            object: Arc::downgrade(&object),
            token,
            is_wanted,
        };
        state.open.insert(number, open);
        object
    }

    /// Handles of this process have no use for the value any more. It never waits for the owner.
    fn close(&self, lease: &Lease) {
        let mut garbage = Garbage::default();
        let mut state = self.state();
        let number = lease.number;
        let same = |open: &&Open| open.token == lease.token;
        let Some(is_wanted) = state
            .open
            .get(&number)
            .filter(same)
            .map(|open| open.is_wanted)
        else {
            // Opened again meanwhile.
            return;
        };
        state.open.remove(&number);
        if state.open.is_empty() {
            state.idle_since = Instant::now();
        }
        if state.line.id() != Some(lease.opener.id) {
            // That connection has failed: its socket says the rest, when the last value that it opened is closed.
            return;
        }
        let room = (!is_wanted).then(|| state.room(lease.value.spans.byte_len(), &mut garbage));
        match room.flatten() {
            Some(room) => {
                let cached = Cached {
                    value: Arc::clone(&lease.value),
                    since: Instant::now(),
                    room: Some(room),
                };
                state.cached.insert(number, cached);
            }
            None => state.unsaid.push(ClientNotice::Closed(number)),
        }
        self.speak(&mut state, &mut garbage);
        drop(state);
        self.watch.tick_soon();
    }

    /// Reads what the owner has said, if nobody else does.
    fn listen(&self, state: &mut State, garbage: &mut Garbage) {
        let Line::Idle(connection) = &mut state.line else {
            return;
        };
        match connection.notices() {
            Ok(notices) => {
                for notice in notices {
                    state.heed(notice, &mut Vec::new(), garbage);
                }
                self.speak(state, garbage);
            }
            Err(_) => self.hang_up(state, garbage),
        }
    }

    /// Says what is to be said, if nobody else uses the connection.
    pub(super) fn speak(&self, state: &mut State, garbage: &mut Garbage) {
        let Line::Idle(connection) = &mut state.line else {
            return;
        };
        let mut said = connection.flush();
        for notice in state.unsaid.drain(..) {
            said = said.and_then(|()| connection.say(&notice));
        }
        let watched = said.is_ok().then(|| {
            let (socket, want) = (connection.socket(), connection.wants());
            self.watch
                .wait_for(socket, connection.id, connection.watched, want)
        });
        match watched {
            Some(Ok(watched)) => connection.watched = Some(watched),
            _ => self.hang_up(state, garbage),
        }
    }

    /// The connection has failed, or is not needed. Values that it opened stay open until they are closed.
    pub(super) fn hang_up(&self, state: &mut State, garbage: &mut Garbage) {
        state.forget_closed(garbage);
        if let Line::Idle(connection) = std::mem::replace(&mut state.line, Line::None) {
            self.watch.wait_no_more(connection.socket());
            self.watch.leave(connection.id);
            garbage.take_connection(connection);
        }
    }
}

impl Tended for Slot {
    fn attend(&self, id: u64) {
        let mut garbage = Garbage::default();
        let mut state = self.state();
        // Whoever has taken the connection reads it.
        if matches!(&state.line, Line::Idle(connection) if connection.id == id) {
            self.listen(&mut state, &mut garbage);
        }
        drop(state);
    }

    fn tick(&self, now: Instant) -> bool {
        let mut garbage = Garbage::default();
        let mut state = self.state();
        let is_old = |since: Instant| now.saturating_duration_since(since) >= keep_for();
        let old = state
            .cached
            .iter()
            .filter(|(_, cached)| is_old(cached.since));
        let old: Vec<u64> = old.map(|(number, _)| *number).collect();
        for number in old {
            state.expire(number, &mut garbage);
        }
        self.speak(&mut state, &mut garbage);
        let is_idle = matches!(state.line, Line::Idle(_)) && state.open.is_empty();
        if is_idle && state.cached.is_empty() && is_old(state.idle_since) {
            self.hang_up(&mut state, &mut garbage);
            return false;
        }
        is_idle || !state.cached.is_empty()
    }
}

impl raw::Lease for Lease {}

impl Drop for Lease {
    fn drop(&mut self) {
        // After a fork the connection is the parent's, and so is the lease.
        if self.slot.forks == forks() {
            self.slot.close(self);
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease({}/{})", self.slot.owner, self.number)
    }
}
