//! One side of a connection through a spool.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::time::{Duration, Instant};

use numpush_message::Message;
use numpush_os::{self as os, OwnerLock};

use crate::deadline::poll_until;
use crate::error::{Error, Operation};
use crate::file::record;
use crate::file::spool::link::{Claim, Known, Link, Made};
use crate::file::spool::names::{CONNECTOR, CONNECTOR_LOCK, LISTENER, Side};
use crate::transfer::{Capabilities, Received, Transfer};
use crate::transport::{Context, Established, Transport};

pub(super) struct Spool {
    link: Link,
    role: Role,
    lock: Option<OwnerLock>,
    /// The other side's lock file; `None` if it has left.
    peer: Option<File>,
    sync: bool,
    sent: u64,
    received: u64,
    /// Payload bytes of the messages sent that may still be there, oldest first.
    in_flight: VecDeque<(u64, u64)>,
    has_ended: bool,
    /// A message may have its name or not.
    has_failed: bool,
    /// The caller knows that the peer is gone.
    is_told: bool,
}

enum Role {
    /// With what it knows of the listener.
    Connector { is_accepted: bool },
    /// With the connections of its listener; `is_bad` if it will not look at this one again.
    Listener { known: Known, is_bad: bool },
}

/// How often a wait asks whether the peer is alive.
const PULSE: Duration = Duration::from_millis(20);

impl Spool {
    pub(super) fn made(path: &str, made: Made, sync: bool) -> Established {
        let role = Role::Connector { is_accepted: false };
        Self::established(
            path,
            role,
            made.link,
            made.lock,
            Some(made.listener),
            0,
            sync,
        )
    }

    pub(super) fn accepted(path: &str, claim: Claim, known: Known, sync: bool) -> Established {
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
        Self::established(path, role, link, lock, connector, received, sync)
    }

    fn established(
        path: &str,
        role: Role,
        link: Link,
        lock: OwnerLock,
        peer: Option<File>,
        received: u64,
        sync: bool,
    ) -> Established {
        let name = format!("file:{}/link-{}", path.trim_end_matches('/'), link.name());
        let spool = Self {
            link,
            role,
            lock: Some(lock),
            peer,
            sync,
            sent: 0,
            received,
            in_flight: VecDeque::new(),
            has_ended: false,
            has_failed: false,
            is_told: false,
        };
        Established::new(spool, name)
    }

    fn ours(&self) -> &'static Side {
        match self.role {
            Role::Connector { .. } => &CONNECTOR,
            Role::Listener { .. } => &LISTENER,
        }
    }

    fn theirs(&self) -> &'static Side {
        match self.role {
            Role::Connector { .. } => &LISTENER,
            Role::Listener { .. } => &CONNECTOR,
        }
    }

    /// True if the peer was here and is not any more.
    fn peer_is_gone(&mut self) -> io::Result<bool> {
        if let Role::Connector { is_accepted } = &mut self.role
            && !*is_accepted
        {
            *is_accepted = self.link.is_accepted()?;
            if !*is_accepted {
                return os::is_removed(&self.link.folder);
            }
        }
        let is_locked = self.peer.as_ref().map_or(Ok(false), os::is_locked)?;
        Ok(!is_locked || os::is_removed(&self.link.folder)?)
    }

    /// Polls until `done`, the peer's end or the deadline.
    fn wait_for(
        &mut self,
        operation: Operation,
        cx: &Context<'_>,
        mut done: impl FnMut(&mut Self) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let mut pulse = Instant::now() + PULSE;
        let result = poll_until(cx.deadline, || {
            if done(self)? {
                return Ok(Some(()));
            }
            if Instant::now() >= pulse {
                pulse = Instant::now() + PULSE;
                let is_gone = self.peer_is_gone();
                if is_gone.map_err(Error::io(operation, cx.peer))? {
                    // It may have done what is waited for, and then left.
                    let done = done(self)?;
                    return done.then_some(Some(())).ok_or_else(|| self.tell(cx));
                }
            }
            Ok(None)
        })?;
        result.ok_or_else(|| cx.timeout(operation))
    }

    /// The error that the peer is gone. Whoever gets it knows that its messages may not have been received.
    fn tell(&mut self, cx: &Context<'_>) -> Error {
        self.is_told = true;
        cx.disconnected(0)
    }

    /// Forgets the messages that the peer has removed, and returns how many bytes are still there.
    fn still_there(&mut self, cx: &Context<'_>) -> Result<u64, Error> {
        let ours = self.ours();
        while let Some(&(number, _)) = self.in_flight.front() {
            let name = ours.message(number);
            let found = self.link.folder.find(&name);
            if found
                .map_err(Error::io(Operation::Wait, cx.peer))?
                .is_some()
            {
                break;
            }
            self.in_flight.pop_front();
        }
        Ok(self.in_flight.iter().map(|(_, bytes)| bytes).sum())
    }

    fn flush_messages(&mut self, operation: Operation, cx: &Context<'_>) -> Result<(), Error> {
        self.wait_for(operation, cx, |this| {
            this.still_there(cx)?;
            Ok(this.in_flight.is_empty())
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
        let end = self.theirs().end(self.received + 1);
        match folder
            .find(&end)
            .map_err(Error::io(Operation::Recv, cx.peer))?
        {
            Some(_) => Err(cx.closed()),
            None => Ok(None),
        }
    }

    fn receive(&mut self, cx: &mut Context<'_>) -> Result<Received, Error> {
        let next = self.received + 1;
        let name = self.theirs().message(next);
        let mut file = None;
        self.wait_for(Operation::Recv, cx, |this| {
            file = this.next_file(&name, cx)?;
            Ok(file.is_some())
        })?;
        let Some(file) = file else {
            return Err(cx.timeout(Operation::Recv));
        };
        let full_name = format!("{}/{name}", cx.peer);
        let received = record::read_from(
            &file,
            &full_name,
            &mut *cx.allocator,
            cx.options.max_message,
        )?;
        // The file's removal reports to the sender that we have it; a mapping of ours keeps the bytes.
        let folder = &self.link.folder;
        folder
            .remove(&name)
            .and_then(|()| if self.sync { folder.sync() } else { Ok(()) })
            .map_err(Error::io(Operation::Remove, &full_name))?;
        self.received = next;
        Ok(received)
    }

    fn send_message(&mut self, message: &Message<'_>, cx: &Context<'_>) -> Result<Transfer, Error> {
        let number = self.sent + 1;
        let (draft, name) = (self.ours().draft(number), self.ours().message(number));
        let full_name = format!("{}/{name}", cx.peer);
        let failed = |error| Error::io(Operation::Write, &full_name)(error);
        let folder = &self.link.folder;
        let mut file = match folder.create(&draft) {
            // Of a message that failed, and whose file could not be removed then.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => folder
                .remove(&draft)
                .and_then(|()| folder.create(&draft))
                .map_err(failed)?,
            file => file.map_err(failed)?,
        };
        let checksums = cx.options.checksums.or(false);
        let written = record::write_into(&mut file, &full_name, message, checksums);
        let synced = written.and_then(|transfer| {
            if self.sync {
                os::sync_file(&file).map_err(failed)?;
            }
            Ok(transfer)
        });
        let transfer = synced.inspect_err(|_| {
            let _ = folder.remove(&draft);
        })?;
        // Whether a rename that fails was made is not known on a network file system.
        self.has_failed = true;
        folder.rename(&draft, &name).map_err(failed)?;
        if self.sync {
            folder.sync().map_err(failed)?;
        }
        self.has_failed = false;
        self.sent = number;
        Ok(transfer)
    }

    fn end(&mut self) -> io::Result<()> {
        if !self.has_ended {
            let end = self.ours().end(self.sent + 1);
            match self.link.folder.create(&end) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => self.has_ended = true,
            }
        }
        Ok(())
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
                let _lock = OwnerLock::take(listener)?;
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
                    self.lock = Some(OwnerLock::take(file)?);
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
        if self.has_failed {
            return Err(cx.failed());
        }
        let (len, window) = (message.payload_len(), cx.options.window);
        if self
            .peer_is_gone()
            .map_err(Error::io(Operation::Send, cx.peer))?
        {
            return Err(self.tell(cx));
        }
        self.wait_for(Operation::Send, cx, |this| {
            let there = this.still_there(cx)?;
            Ok(this.in_flight.is_empty() || there.saturating_add(len) <= window)
        })?;
        let transfer = self.send_message(message, cx)?;
        self.in_flight.push_back((self.sent, len));
        Ok(transfer)
    }

    fn recv(&mut self, cx: &mut Context<'_>) -> Result<Received, Error> {
        let received = self.receive(cx);
        if let (Err(error), Role::Listener { is_bad, .. }) = (&received, &mut self.role) {
            *is_bad |= !error.is_recoverable() && !error.is_closed();
        }
        received
    }

    fn flush(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        self.flush_messages(Operation::Flush, cx)
    }

    fn close(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        self.flush_messages(Operation::Close, cx)?;
        self.end().map_err(Error::io(Operation::Close, cx.peer))
    }
}

impl Drop for Spool {
    /// Reports that nothing more comes, unless the process unwinds or a message may be half there.
    fn drop(&mut self) {
        if !std::thread::panicking() && !self.has_failed {
            let _ = self.end();
        }
        // What cannot be done here, the next sweeper does.
        let _ = self.leave();
        if let Role::Listener {
            known,
            is_bad: false,
        } = &self.role
        {
            os::lock(known).remove(self.link.name());
        }
    }
}
