//! One side of a connection through a spool.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use numpush_message::BufferAllocator;
use numpush_os::{self as os, OwnerLock};

use crate::error::{Error, Operation};
use crate::file::record;
use crate::file::spool::incoming::Incoming;
use crate::file::spool::link::{Claim, Known, Link, Made};
use crate::file::spool::names::{CONNECTOR, CONNECTOR_LOCK, LISTENER, Side};
use crate::file::spool::outgoing::Outgoing;
use crate::options::Options;
use crate::transfer::Received;

pub(super) struct Spool {
    pub(super) link: Link,
    role: Role,
    lock: Option<OwnerLock>,
    /// The other side's lock file; `None` if it has left.
    peer: Option<File>,
    pub(super) outgoing: Outgoing,
    incoming: Incoming,
    /// The connection, as errors call it.
    pub(super) name: String,
    pub(super) options: Options,
    allocator: Box<dyn BufferAllocator>,
    /// The caller knows that the peer is gone.
    is_told: bool,
    /// When it was last asked whether the peer is alive.
    asked: Instant,
    /// A forked child leaves the connection to its parent.
    forks: u32,
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
    pub(super) fn made(path: &str, made: Made, options: &Options) -> Self {
        let role = Role::Connector { is_accepted: false };
        Self::with(
            path,
            role,
            made.link,
            made.lock,
            Some(made.listener),
            0,
            options,
        )
    }

    pub(super) fn accepted(path: &str, claim: Claim, known: Known, options: &Options) -> Self {
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
        Self::with(path, role, link, lock, connector, received, options)
    }

    fn with(
        path: &str,
        role: Role,
        link: Link,
        lock: OwnerLock,
        peer: Option<File>,
        received: u64,
        options: &Options,
    ) -> Self {
        let name = format!("file:{}/link-{}", path.trim_end_matches('/'), link.name());
        let (ours, theirs) = match role {
            Role::Connector { .. } => (&CONNECTOR, &LISTENER),
            Role::Listener { .. } => (&LISTENER, &CONNECTOR),
        };
        let (acknowledge, sync) = (options.acknowledge, options.sync);
        let folder = Arc::clone(&link.folder);
        Self {
            outgoing: Outgoing::new(ours, Arc::clone(&folder), sync),
            incoming: Incoming::new(theirs, folder, received, acknowledge, sync),
            link,
            role,
            lock: Some(lock),
            peer,
            name,
            options: options.clone(),
            allocator: options.make_allocator(),
            is_told: false,
            asked: Instant::now(),
            forks: os::forks(),
        }
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
    pub(super) fn peer_is_gone(&mut self) -> io::Result<bool> {
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

    /// True if it is known that the peer is gone. Asked again only after a while.
    pub(super) fn has_lost_peer(&mut self) -> io::Result<bool> {
        if self.asked.elapsed() < PULSE {
            return Ok(false);
        }
        self.asked = Instant::now();
        self.peer_is_gone()
    }

    /// The error that the peer is gone. Whoever gets it knows that its messages may not have been received.
    pub(super) fn tell(&mut self) -> Error {
        self.is_told = true;
        Error::Disconnected {
            peer: self.name.clone(),
            missing: 0,
        }
    }

    /// The next message's file, or `None` if it is not there yet.
    fn next_file(&self, name: &str) -> Result<Option<File>, Error> {
        let folder = &self.link.folder;
        let full_name = || format!("{}/{name}", self.name);
        match folder.open_file(name, false) {
            Ok(file) => return Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io(Operation::Open, &full_name())(error)),
        }
        let end = self.theirs().end(self.incoming.next());
        match folder
            .find(&end)
            .map_err(Error::io(Operation::Recv, &self.name))?
        {
            Some(_) => Err(self.closed()),
            None => Ok(None),
        }
    }

    /// The next message, or `None` if it is not there yet.
    pub(super) fn receive(&mut self) -> Result<Option<Received>, Error> {
        let received = self.try_receive();
        if let Role::Listener { is_bad, .. } = &mut self.role {
            match &received {
                Ok(Some(_)) => *is_bad = false,
                Ok(None) => {}
                Err(error) => *is_bad |= is_unreadable(error),
            }
        }
        received
    }

    fn try_receive(&mut self) -> Result<Option<Received>, Error> {
        let number = self.incoming.next();
        let name = self.theirs().message(number);
        let Some(file) = self.next_file(&name)? else {
            return Ok(None);
        };
        let full_name = format!("{}/{name}", self.name);
        let max = self.options.max_message;
        let mut received = record::read_from(&file, &full_name, &mut *self.allocator, max)?;
        let taken = self.incoming.take(received.transfer.bytes);
        received.confirmation = taken.map_err(Error::io(Operation::Remove, &full_name))?;
        received.id = number;
        Ok(Some(received))
    }

    /// True if the next message is there.
    pub(super) fn has_input(&self) -> bool {
        let name = self.theirs().message(self.incoming.next());
        matches!(self.link.folder.find(&name), Ok(Some(_)))
    }

    /// Acknowledges what the program is done with.
    pub(super) fn finish(&self) -> Result<(), Error> {
        let finished = self.incoming.finish();
        finished.map_err(Error::io(Operation::Remove, &self.name))
    }

    pub(super) fn closed(&self) -> Error {
        Error::Closed {
            peer: self.name.clone(),
        }
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
