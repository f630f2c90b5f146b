//! The sole use of the connection to an owner, for one request after another.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, MutexGuard};
use std::time::Instant;

use numpush_os::FileId;
use numpush_shm_core::RobustRwLock;

use super::connection::{self, Connection, NO_ANSWER, VALUE_GONE, busy, stale};
use super::slot::Slot;
use super::state::{Garbage, Line, State};
use super::watch::Tended;
use crate::error::Error;
use crate::object::handle::Handle;
use crate::object::offer::{open_lock, open_spans};
use crate::object::protocol::{ClientNotice, LockOffer, OpenReply, OwnerNotice, Reply, Request};
use crate::object::raw::{RawObject, Value};
use crate::object::wire::{Frame, WireError};

/// A thread's turn with the connection. Its drop lets the next thread have it.
pub(super) struct Turn {
    slot: Arc<Slot>,
    /// None until it is needed, and after it has failed.
    connection: Option<Box<Connection>>,
    /// Values that the owner wants back and that this process did not have when it said so.
    wanted: Vec<u64>,
    garbage: Garbage,
}

/// What a thread gets that comes for a value.
pub(super) enum Begun {
    /// This process has it.
    Found(Arc<RawObject>),
    Turn(Box<Turn>),
}

impl Slot {
    /// Returns value `number` if this process has it; else the connection, when it is this thread's turn.
    pub(super) fn begin(
        self: Arc<Self>,
        number: Option<u64>,
        deadline: Instant,
    ) -> Result<Begun, Error> {
        let mut garbage = Garbage::default();
        let mut state = self.state();
        loop {
            let found = number.and_then(|number| self.find(&mut state, number, &mut garbage));
            if let Some(object) = found {
                return Ok(Begun::Found(object));
            }
            if !matches!(state.line, Line::Taken(_)) {
                break;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let handle = Handle {
                    owner: self.owner,
                    number: number.unwrap_or(0),
                };
                return Err(busy(&handle, NO_ANSWER));
            }
            let waited = self.freed.wait_timeout(state, left);
            (state, _) = waited.unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        let connection = self.take(&mut state);
        drop(state);
        Ok(Begun::Turn(Box::new(Turn {
            slot: self,
            connection,
            wanted: Vec::new(),
            garbage,
        })))
    }

    fn take(&self, state: &mut MutexGuard<'_, State>) -> Option<Box<Connection>> {
        let opener = state.line.opener();
        match std::mem::replace(&mut state.line, Line::Taken(opener)) {
            Line::Idle(mut connection) => {
                self.watch.wait_no_more(connection.socket());
                connection.watched = None;
                Some(connection)
            }
            _ => None,
        }
    }
}

impl Turn {
    /// Opens the value of a handle.
    pub(super) fn open(
        &mut self,
        handle: &Handle,
        deadline: Instant,
    ) -> Result<Arc<RawObject>, Error> {
        let (reply, _) = self.ask(handle, &Request::Open(handle.number), deadline)?;
        let Reply::Opened {
            offer,
            memories,
            is_kept,
        } = reply
        else {
            return Err(stale(handle, VALUE_GONE));
        };
        let mut passed = HashMap::new();
        for _ in 0..memories {
            let (memory, descriptor) = self.passed(handle, deadline)?;
            passed.insert(memory, descriptor);
        }
        match self.map(handle, offer, passed, deadline) {
            Ok(value) => self.enter(handle, value, !is_kept),
            Err(error) => {
                self.say(ClientNotice::Closed(handle.number));
                Err(error)
            }
        }
    }

    /// Opens a lock of the owner.
    pub(super) fn open_lock(
        &mut self,
        handle: &Handle,
        lock: LockOffer,
        deadline: Instant,
    ) -> Result<RobustRwLock, Error> {
        let opened = open_lock(lock, &mut |memory| self.fetch(handle, memory, deadline))?;
        if let Some(connection) = &mut self.connection {
            connection.keep_table(lock.memory, &opened);
        }
        Ok(opened)
    }

    fn map(
        &mut self,
        handle: &Handle,
        offer: OpenReply,
        mut passed: HashMap<FileId, io::Result<OwnedFd>>,
        deadline: Instant,
    ) -> Result<Value, Error> {
        let spans = open_spans(&offer, &mut |memory| match passed.remove(&memory) {
            Some(descriptor) => descriptor.map_err(Error::io(TAKE)),
            None => self.fetch(handle, memory, deadline),
        })?;
        if let Some(connection) = &mut self.connection {
            connection.keep(&offer, &spans);
        }
        Ok(Value::of_another(offer.description, spans))
    }

    fn enter(
        &mut self,
        handle: &Handle,
        value: Value,
        is_let_go: bool,
    ) -> Result<Arc<RawObject>, Error> {
        let number = handle.number;
        let Some(connection) = &mut self.connection else {
            return Err(stale(handle, connection::OWNER_GONE));
        };
        let by = connection.opener();
        let is_wanted = is_let_go || self.wanted.contains(&number);
        let mut state = self.slot.state();
        if self.wanted.contains(&number) {
            state.unsaid.push(ClientNotice::InUse(number));
        }
        let value = Arc::new(value);
        Ok(self.slot.enter(&mut state, number, value, by, is_wanted))
    }

    /// The descriptor of a memory of the owner.
    fn fetch(
        &mut self,
        handle: &Handle,
        memory: FileId,
        deadline: Instant,
    ) -> Result<OwnedFd, Error> {
        let (reply, mut frame) = self.ask(handle, &Request::Memory(memory), deadline)?;
        match reply {
            Reply::Memory(same) if same == memory => {
                let descriptor = frame.descriptor().map_err(Error::io(TAKE))?;
                descriptor.ok_or_else(|| self.fail(handle, NO_DESCRIPTOR))
            }
            Reply::Gone => Err(stale(handle, "its memory is gone")),
            _ => Err(self.fail(handle, WireError::Malformed("no memory"))),
        }
    }

    /// A memory that comes with an offer. That this process has no room for the descriptor is an error of its own.
    fn passed(
        &mut self,
        handle: &Handle,
        deadline: Instant,
    ) -> Result<(FileId, io::Result<OwnedFd>), Error> {
        let (reply, mut frame) =
            self.with_connection(handle, deadline, |connection, notices| {
                connection.next_reply(deadline, notices)
            })?;
        let Reply::Memory(memory) = reply else {
            return Err(self.fail(handle, WireError::Malformed("no memory")));
        };
        match frame.descriptor() {
            Ok(Some(descriptor)) => Ok((memory, Ok(descriptor))),
            Ok(None) => Err(self.fail(handle, NO_DESCRIPTOR)),
            Err(error) => Ok((memory, Err(error))),
        }
    }

    fn ask(
        &mut self,
        handle: &Handle,
        request: &Request,
        deadline: Instant,
    ) -> Result<(Reply, Frame), Error> {
        self.with_connection(handle, deadline, |connection, notices| {
            connection.ask(request, deadline, notices)
        })
    }

    /// Uses the connection, which is made if there is none. A connection that fails is never used again.
    fn with_connection<R>(
        &mut self,
        handle: &Handle,
        deadline: Instant,
        work: impl FnOnce(&mut Connection, &mut Vec<OwnerNotice>) -> Result<R, WireError>,
    ) -> Result<R, Error> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Box::new(self.connect(handle, deadline)?),
        };
        let mut notices = Vec::new();
        let done = work(&mut connection, &mut notices);
        self.connection = Some(connection);
        self.heed(notices);
        done.map_err(|error| self.fail(handle, error))
    }

    fn connect(&self, handle: &Handle, deadline: Instant) -> Result<Connection, Error> {
        let slot: std::sync::Weak<dyn Tended> = Arc::downgrade(&self.slot) as _;
        let id = self.slot.watch.enter(slot);
        let connected = Connection::connect(handle, id, deadline);
        match &connected {
            Ok(connection) => {
                self.slot.state().line = Line::Taken(Some(connection.opener()));
            }
            Err(_) => self.slot.watch.leave(id),
        }
        connected
    }

    fn heed(&mut self, notices: Vec<OwnerNotice>) {
        let mut state = self.slot.state();
        for notice in notices {
            match notice {
                OwnerNotice::Unmapped(memories) => {
                    if let Some(connection) = &mut self.connection {
                        for memory in memories {
                            self.garbage.take(connection.kept.remove(&memory));
                        }
                    }
                }
                notice => state.heed(notice, &mut self.wanted, &mut self.garbage),
            }
        }
    }

    fn say(&self, notice: ClientNotice) {
        self.slot.state().unsaid.push(notice);
    }

    /// Gives the connection up: nobody uses it again. What it opened stays open until it is closed.
    fn fail(&mut self, handle: &Handle, error: WireError) -> Error {
        if let Some(connection) = self.connection.take() {
            let mut state = self.slot.state();
            state.line = Line::Taken(None);
            state.forget_closed(&mut self.garbage);
            drop(state);
            self.slot.watch.leave(connection.id);
        }
        connection::failed(handle, error)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.slot.state();
        state.line = match self.connection.take() {
            Some(connection) => Line::Idle(connection),
            None => Line::None,
        };
        self.slot.speak(&mut state, &mut self.garbage);
        drop(state);
        self.slot.freed.notify_all();
        // A connection that opened nothing is not kept for long.
        self.slot.watch.tick_soon();
    }
}

const TAKE: &str = "take the descriptor of shared memory";
const NO_DESCRIPTOR: WireError = WireError::Malformed("a memory without its descriptor");
