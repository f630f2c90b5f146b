//! One side of a connection through a spool.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use numpush_message::Message;
use numpush_os::{self as os, OwnerLock};
use numpush_session::Acknowledge;

use crate::deadline::poll_with;
use crate::error::{Error, Operation};
use crate::file::record;
use crate::file::spool::incoming::Incoming;
use crate::file::spool::link::{Claim, Known, Link, Made};
use crate::file::spool::names::{CONNECTOR, CONNECTOR_LOCK, LISTENER, Side};
use crate::file::spool::outgoing::Outgoing;
use crate::file::spool::wait::Waiter;
use crate::options::Options;
use crate::transfer::{Capabilities, Received, Transfer};
use crate::transport::{Context, Established, Transport};

pub(super) struct Spool {
    link: Link,
    role: Role,
    lock: Option<OwnerLock>,
    /// The other side's lock file; `None` if it has left.
    peer: Option<File>,
    outgoing: Outgoing,
    incoming: Incoming,
    waiter: Waiter,
    /// The caller knows that the peer is gone.
    is_told: bool,
    /// When it was last asked whether the peer is alive.
    asked: Instant,
    /// A forked child leaves the connection to its parent.
    forks: u32,
}

/// What the options of this side say.
#[derive(Clone, Copy)]
pub(super) struct Terms {
    acknowledge: Acknowledge,
    sync: bool,
}

impl Terms {
    pub(super) fn of(options: &Options) -> Self {
        Self {
            acknowledge: options.acknowledge,
            sync: options.sync,
        }
    }
}

enum Role {
    /// With what it knows of the listener.
    Connector { is_accepted: bool },
    /// With the connections of its listener; `is_bad` if it will not look at this one again.
    Listener { known: Known, is_bad: bool },
}

/// How often waits ask whether the peer is alive, however short each of them is.
const PULSE: Duration = Duration::from_millis(20);

/// How often a side that leaves tries a lock, a millisecond apart.
const TRIES: usize = 5;

impl Spool {
    pub(super) fn made(path: &str, made: Made, terms: Terms) -> Established {
        let role = Role::Connector { is_accepted: false };
        Self::established(
            path,
            role,
            made.link,
            made.lock,
            Some(made.listener),
            0,
            terms,
        )
    }

    pub(super) fn accepted(path: &str, claim: Claim, known: Known, terms: Terms) -> Established {
        let received = claim.received();
        let role = Role::Listener {
            known,
            is_bad: false,
        };
        let Claim {
            link,
            lock,
            connector,
            ..
        } = claim;
        Self::established(path, role, link, lock, connector, received, terms)
    }

    fn established(
        path: &str,
        role: Role,
        link: Link,
        lock: OwnerLock,
        peer: Option<File>,
        received: u64,
        terms: Terms,
    ) -> Established {
        let name = format!("file:{}/link-{}", path.trim_end_matches('/'), link.name());
        let (ours, theirs) = match role {
            Role::Connector { .. } => (&CONNECTOR, &LISTENER),
            Role::Listener { .. } => (&LISTENER, &CONNECTOR),
        };
        let Terms { acknowledge, sync } = terms;
        let folder = Arc::clone(&link.folder);
        let spool = Self {
            outgoing: Outgoing::new(ours, Arc::clone(&folder), sync),
            incoming: Incoming::new(theirs, folder, received, acknowledge, sync),
            link,
            role,
            lock: Some(lock),
            peer,
            waiter: Waiter::default(),
            is_told: false,
            asked: Instant::now(),
            forks: os::forks(),
        };
        Established::new(spool, name)
    }

    fn theirs(&self) -> &'static Side {
        match self.role {
            Role::Connector { .. } => &LISTENER,
            Role::Listener { .. } => &CONNECTOR,
        }
    }

    /// True in a forked child.
    fn is_inherited(&self) -> bool {
        self.forks != os::forks()
    }

    /// True if the peer was here and is not any more.
    fn peer_is_gone(&mut self) -> io::Result<bool> {
        if let Role::Connector { is_accepted } = &mut self.role
            && !*is_accepted
        {
            *is_accepted = self.link.is_accepted()?;
            if !*is_accepted {
                return os::is_removed(&*self.link.folder);
            }
        }
        let is_locked = self.peer.as_ref().map_or(Ok(false), os::is_locked)?;
        Ok(!is_locked || os::is_removed(&*self.link.folder)?)
    }

    /// Polls until `done`, the peer's end or the deadline.
    fn wait_for(
        &mut self,
        operation: Operation,
        cx: &Context<'_>,
        mut done: impl FnMut(&mut Self) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let (mut waiter, folder) = (
            std::mem::take(&mut self.waiter),
            Arc::clone(&self.link.folder),
        );
        let look = || {
            if done(self)? {
                return Ok(Some(()));
            }
            if self.asked.elapsed() >= PULSE {
                self.asked = Instant::now();
                let is_gone = self.peer_is_gone();
                if is_gone.map_err(Error::io(operation, cx.peer))? {
                    // It may have done what is waited for, and then left.
                    let done = done(self)?;
                    return done.then_some(Some(())).ok_or_else(|| self.tell(cx));
                }
            }
            Ok(None)
        };
        let result = poll_with(cx.deadline, look, |time| waiter.pause(&folder, time));
        self.waiter = waiter;
        result?.ok_or_else(|| cx.timeout(operation))
    }

    /// The error that the peer is gone. Whoever gets it knows that its messages may not have been received.
    fn tell(&mut self, cx: &Context<'_>) -> Error {
        self.is_told = true;
        cx.disconnected(0)
    }

    fn flush_messages(&mut self, operation: Operation, cx: &Context<'_>) -> Result<(), Error> {
        self.wait_for(operation, cx, |this| {
            let is_flushed = this.outgoing.is_flushed();
            is_flushed.map_err(Error::io(operation, cx.peer))
        })
    }

    /// The next message's file, or `None` if it is not there yet.
    fn next_file(&self, name: &str, cx: &Context<'_>) -> Result<Option<File>, Error> {
        let folder = &self.link.folder;
        let full_name = || format!("{}/{name}", cx.peer);
        match folder.open_file(name, false) {
            Ok(file) => return Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io(Operation::Open, &full_name())(error)),
        }
        let end = self.theirs().end(self.incoming.next());
        match folder
            .find(&end)
            .map_err(Error::io(Operation::Recv, cx.peer))?
        {
            Some(_) => Err(cx.closed()),
            None => Ok(None),
        }
    }

    fn receive(&mut self, cx: &mut Context<'_>) -> Result<Received, Error> {
        let number = self.incoming.next();
        let name = self.theirs().message(number);
        let mut file = None;
        self.wait_for(Operation::Recv, cx, |this| {
            file = this.next_file(&name, cx)?;
            Ok(file.is_some())
        })?;
        let Some(file) = file else {
            return Err(cx.timeout(Operation::Recv));
        };
        let full_name = format!("{}/{name}", cx.peer);
        let mut received = record::read_from(
            &file,
            &full_name,
            &mut *cx.allocator,
            cx.options.max_message,
        )?;
        let taken = self.incoming.take(received.transfer.bytes);
        received.confirmation = taken.map_err(Error::io(Operation::Remove, &full_name))?;
        received.id = number;
        Ok(received)
    }

    /// Acknowledges what the program is done with.
    fn finish(&self, cx: &Context<'_>) -> Result<(), Error> {
        let finished = self.incoming.finish();
        finished.map_err(Error::io(Operation::Remove, cx.peer))
    }

    /// Leaves the connection, and removes it if the connector is gone and nothing is left for the next listener.
    fn leave(&mut self) -> io::Result<()> {
        match &self.role {
            Role::Connector { .. } => {
                self.link.folder.remove(CONNECTOR_LOCK)?;
                self.lock = None;
                let Some(listener) = self.peer.take() else {
                    return Ok(());
                };
                // Whoever holds it sees that we are gone, and does what is to be done.
                let _lock = if self.is_told {
                    // The listener is dead: it is somebody who looks.
                    take_soon(&listener)?
                } else {
                    OwnerLock::take(listener)?
                };
                self.link.settle(self.is_told)
            }
            Role::Listener { .. } => {
                if !self.connector_is_gone()? {
                    let Some(lock) = self.lock.take() else {
                        return Ok(());
                    };
                    let file = lock.file().try_clone()?;
                    drop(lock);
                    // It may have left while we held the lock.
                    if !self.connector_is_gone()? {
                        return Ok(());
                    }
                    self.lock = Some(take_soon(&file)?);
                }
                self.link.settle(false)
            }
        }
    }

    /// True if the connector has left or died.
    fn connector_is_gone(&self) -> io::Result<bool> {
        match &self.peer {
            Some(file) => Ok(os::is_removed(file)? || !os::is_locked(file)?),
            None => Ok(true),
        }
    }
}

impl Transport for Spool {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            two_way: true,
            acknowledges: true,
            notices_death: true,
            limits_size: true,
            passes_descriptors: false,
            fills_allocator: true,
        }
    }

    fn send(&mut self, message: &Message<'_>, cx: &mut Context<'_>) -> Result<Transfer, Error> {
        if self.outgoing.has_failed() {
            return Err(cx.failed());
        }
        let (len, window) = (message.payload_len(), cx.options.window);
        let failed = |error| Error::io(Operation::Send, cx.peer)(error);
        if self.peer_is_gone().map_err(failed)? {
            return Err(self.tell(cx));
        }
        let has_room = self.outgoing.has_room(len, window).map_err(failed)?;
        if !has_room && cx.deadline.has_passed() {
            return Err(cx.timeout(Operation::Send));
        }
        // It is written while those before it are read.
        let name = format!("{}/{}", cx.peer, self.outgoing.next_name());
        let checksums = cx.options.checksums.or(false);
        let transfer = self.outgoing.draft(message, checksums, cx.tag, &name)?;
        if !has_room {
            self.wait_for(Operation::Send, cx, |this| {
                this.outgoing.has_room(len, window).map_err(failed)
            })
            .inspect_err(|_| self.outgoing.discard())?;
        }
        self.outgoing
            .publish(len)
            .map_err(Error::io(Operation::Write, &name))?;
        Ok(transfer)
    }

    fn recv(&mut self, cx: &mut Context<'_>) -> Result<Received, Error> {
        self.finish(cx)?;
        let received = self.receive(cx);
        if let Role::Listener { is_bad, .. } = &mut self.role {
            match &received {
                Ok(_) => *is_bad = false,
                Err(error) => *is_bad |= is_unreadable(error),
            }
        }
        received
    }

    fn flush(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        self.finish(cx)?;
        self.flush_messages(Operation::Flush, cx)
    }

    fn close(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        self.finish(cx)?;
        self.flush_messages(Operation::Close, cx)?;
        self.outgoing
            .end()
            .map_err(Error::io(Operation::Close, cx.peer))
    }
}

/// Takes a lock that somebody may hold for a moment.
fn take_soon(file: &File) -> io::Result<OwnerLock> {
    for _ in 1..TRIES {
        match OwnerLock::take(file.try_clone()?) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                std::thread::sleep(Duration::from_millis(1));
            }
            taken => return taken,
        }
    }
    OwnerLock::take(file.try_clone()?)
}

/// True if the message at hand cannot be read here, now or later: it is none, it never fits, or its file is not to be trusted
/// or not to be opened. A lack of descriptors or a disk that fails once is no fault of the message.
fn is_unreadable(error: &Error) -> bool {
    match error {
        Error::InvalidMessage { .. } => true,
        Error::NoRoom { source, .. } => source.is_permanent(),
        Error::Io { source, .. } => source.kind() == io::ErrorKind::PermissionDenied,
        _ => false,
    }
}

impl Drop for Spool {
    /// Reports that nothing more comes, unless the process unwinds. In a forked child the descriptors are closed, and the
    /// connection stays its parent's.
    fn drop(&mut self) {
        if self.is_inherited() {
            return;
        }
        if !std::thread::panicking() {
            let _ = self.outgoing.end();
        }
        // What is not acknowledged is for another listener: this one has given it up.
        let is_given_up = self.incoming.leave();
        // What cannot be done here, the next sweeper does.
        let _ = self.leave();
        if let Role::Listener {
            known,
            is_bad: false,
        } = &self.role
            && !is_given_up
        {
            os::lock(known).remove(self.link.name());
        }
    }
}
