//! What is kept of one owner: the connection, what is open, and what was closed just now.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Instant;

use numpush_shm_core::SharedPages;

use super::cache::{ROOMS, Room, may_fit};
use super::connection::{Connection, Opener};
use crate::object::protocol::{ClientNotice, OwnerNotice};
use crate::object::raw::{RawObject, Value};

/// Nobody waits for an owner while this is locked.
pub(super) struct State {
    pub(super) line: Line,
    pub(super) open: HashMap<u64, Open>,
    pub(super) cached: HashMap<u64, Cached>,
    /// What is to be said as soon as the connection is free.
    pub(super) unsaid: Vec<ClientNotice>,
    pub(super) last_token: u64,
    /// Since when nothing is open.
    pub(super) idle_since: Instant,
}

/// The connection that is in use. One that failed is gone from here at once.
pub(super) enum Line {
    None,
    Idle(Box<Connection>),
    /// A thread has it, or is about to connect.
    Taken(Option<Opener>),
}

/// A value that handles of this process have.
pub(super) struct Open {
    pub(super) object: Weak<RawObject>,
    /// Which lease it is: a value may be opened again while the drop of an earlier lease is on its way.
    pub(super) token: u64,
    /// The owner wants it back as soon as it is not used.
    pub(super) is_wanted: bool,
}

/// A value that is closed and may be opened again.
pub(super) struct Cached {
    pub(super) value: Arc<Value>,
    pub(super) since: Instant,
    pub(super) room: Option<Room>,
}

/// What is dropped when the state is not locked any more: the kernel takes a while to unmap memory.
#[derive(Default)]
pub(super) struct Garbage {
    values: Vec<Cached>,
    pages: Vec<Arc<SharedPages>>,
    connections: Vec<Connection>,
}

impl Garbage {
    pub(super) fn take_connection(&mut self, connection: Box<Connection>) {
        self.connections.push(*connection);
    }

    pub(super) fn take(&mut self, pages: Option<Arc<SharedPages>>) {
        self.pages.extend(pages);
    }
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            line: Line::None,
            open: HashMap::new(),
            cached: HashMap::new(),
            unsaid: Vec::new(),
            last_token: 0,
            idle_since: Instant::now(),
        }
    }

    /// Does what the owner says. Values that are not known here are noted in `unknown`: one of them may be being opened.
    pub(super) fn heed(
        &mut self,
        notice: OwnerNotice,
        unknown: &mut Vec<u64>,
        garbage: &mut Garbage,
    ) {
        match notice {
            OwnerNotice::LetGo(number) => {
                if let Some(cached) = self.cached.remove(&number) {
                    garbage.values.push(cached);
                    self.unsaid.push(ClientNotice::Closed(number));
                } else if let Some(open) = self.open.get_mut(&number) {
                    open.is_wanted = true;
                    // One that is being dropped is reported as closed in a moment.
                    if open.object.strong_count() > 0 {
                        self.unsaid.push(ClientNotice::InUse(number));
                    }
                } else {
                    unknown.push(number);
                }
            }
            OwnerNotice::Unmapped(memories) => {
                if let Line::Idle(connection) = &mut self.line {
                    let kept = |memory| connection.kept.remove(&memory);
                    garbage.pages.extend(memories.into_iter().filter_map(kept));
                }
            }
        }
    }

    /// Room to keep a value of `bytes` open that is closed; what has been closed for longest makes room.
    pub(super) fn room(&mut self, bytes: usize, garbage: &mut Garbage) -> Option<Room> {
        if !may_fit(bytes) {
            return None;
        }
        loop {
            if let Some(room) = ROOMS.take(bytes) {
                return Some(room);
            }
            let oldest = self.cached.iter().min_by_key(|(_, cached)| cached.since);
            let oldest = oldest.map(|(number, _)| *number)?;
            self.expire(oldest, garbage);
        }
    }

    #[cfg(test)]
    pub(super) fn is_wanted(&self, number: u64) -> bool {
        self.open.get(&number).is_some_and(|open| open.is_wanted)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.cached.is_empty()
    }

    pub(super) fn expire(&mut self, number: u64, garbage: &mut Garbage) {
        if let Some(mut cached) = self.cached.remove(&number) {
            // Free at once: the value itself is dropped later.
            cached.room = None;
            garbage.values.push(cached);
            self.unsaid.push(ClientNotice::Closed(number));
        }
    }

    /// Forgets what is kept of a connection that is gone.
    pub(super) fn forget_closed(&mut self, garbage: &mut Garbage) {
        garbage
            .values
            .extend(self.cached.drain().map(|(_, cached)| cached));
        self.unsaid.clear();
    }
}

impl Line {
    /// The connection that opens values now.
    pub(super) fn id(&self) -> Option<u64> {
        match self {
            Self::None => None,
            Self::Idle(connection) => Some(connection.id),
            Self::Taken(opener) => opener.as_ref().map(|opener| opener.id),
        }
    }

    pub(super) fn opener(&self) -> Option<Opener> {
        match self {
            Self::None => None,
            Self::Idle(connection) => Some(connection.opener()),
            Self::Taken(opener) => opener.clone(),
        }
    }
}
