//! The calls of a connection through a spool. Each of them polls, and the connection is locked for each look only, so that
//! its halves can wait at once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use numpush_message::Message;
use numpush_os::{Folder, Ready, lock};
use numpush_session::Tag;

use crate::deadline::{Deadline, poll_with};
use crate::error::{Error, Operation};
use crate::file::spool::connection::Spool;
use crate::file::spool::wait::Waiter;
use crate::status::Status;
use crate::transfer::{Capabilities, Received, Transfer};
use crate::transport::{Context, Duplex, Established, Transport};

/// A connection that one thread uses. Its halves share it.
struct SpoolTransport(Arc<Shared>);

struct Shared {
    spool: Mutex<Spool>,
    /// The connection, as errors call it.
    peer: String,
    folder: Arc<Folder>,
    sending: Mutex<Waiter>,
    receiving: Mutex<Waiter>,
    is_cancelled: AtomicBool,
}

/// The connection, as it is handed out.
pub(super) fn established(spool: Spool) -> Established {
    let peer = spool.name.clone();
    let shared = Shared {
        peer: peer.clone(),
        folder: Arc::clone(&spool.link.folder),
        spool: Mutex::new(spool),
        sending: Mutex::default(),
        receiving: Mutex::default(),
        is_cancelled: AtomicBool::new(false),
    };
    Established::new(SpoolTransport(Arc::new(shared)), peer)
}

impl Shared {
    fn spool(&self) -> MutexGuard<'_, Spool> {
        lock(&self.spool)
    }

    /// Polls until `look` returns something, until the peer's end, or until the deadline.
    fn wait_for<T>(
        &self,
        operation: Operation,
        deadline: Deadline,
        mut look: impl FnMut(&mut Spool) -> Result<Option<T>, Error>,
    ) -> Result<T, Error> {
        let mut waiter = lock(match operation {
            Operation::Recv => &self.receiving,
            _ => &self.sending,
        });
        let look = || {
            let mut spool = self.spool();
            if let Some(found) = look(&mut spool)? {
                return Ok(Some(found));
            }
            let is_gone = spool.has_lost_peer();
            if is_gone.map_err(Error::io(operation, &self.peer))? {
                // It may have done what is waited for, and then left.
                let found = look(&mut spool)?;
                return found.map(Some).ok_or_else(|| spool.tell());
            }
            self.check_cancelled()?;
            Ok(None)
        };
        let found = poll_with(deadline, look, |time| waiter.pause(&self.folder, time))?;
        found.ok_or_else(|| deadline.error(operation, &self.peer))
    }

    fn check_cancelled(&self) -> Result<(), Error> {
        if self.is_cancelled.swap(false, Ordering::AcqRel) {
            return Err(Error::Cancelled {
                peer: self.peer.clone(),
            });
        }
        Ok(())
    }

    fn flush_messages(&self, operation: Operation, deadline: Deadline) -> Result<(), Error> {
        self.wait_for(operation, deadline, |spool| {
            let is_flushed = spool.outgoing.is_flushed();
            let is_flushed = is_flushed.map_err(Error::io(operation, &self.peer))?;
            Ok(is_flushed.then_some(()))
        })
    }

    fn failed(&self) -> Error {
        Error::Failed {
            peer: self.peer.clone(),
        }
    }
}

impl Transport for SpoolTransport {
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
        Duplex::send(&*self.0, message, cx.tag, cx.deadline)
    }

    fn recv(&mut self, cx: &mut Context<'_>) -> Result<Received, Error> {
        Duplex::recv(Arc::clone(&self.0), cx.deadline)
    }

    fn flush(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        self.0.spool().finish()?;
        Duplex::flush(&*self.0, cx.deadline)
    }

    fn close(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        self.0.spool().finish()?;
        self.0.close_sending(cx.deadline)
    }

    fn duplex(&self) -> Option<Arc<dyn Duplex>> {
        Some(Arc::clone(&self.0) as Arc<dyn Duplex>)
    }
}

impl Duplex for Shared {
    fn send(&self, message: &Message<'_>, tag: Tag, deadline: Deadline) -> Result<Transfer, Error> {
        let failed = |error| Error::io(Operation::Send, &self.peer)(error);
        let mut spool = self.spool();
        if spool.outgoing.has_failed() {
            return Err(self.failed());
        }
        if spool.outgoing.has_ended() {
            return Err(spool.closed());
        }
        if spool.peer_is_gone().map_err(failed)? {
            return Err(spool.tell());
        }
        let (len, window) = (message.payload_len(), spool.options.window);
        let has_room = spool.outgoing.has_room(len, window).map_err(failed)?;
        if !has_room && deadline.has_passed() {
            return Err(deadline.error(Operation::Send, &self.peer));
        }
        // It is written while those before it are read.
        let name = format!("{}/{}", self.peer, spool.outgoing.next_name());
        let checksums = spool.options.checksums.or(false);
        let transfer = spool.outgoing.draft(message, checksums, tag, &name)?;
        if !has_room {
            drop(spool);
            let waited = self.wait_for(Operation::Send, deadline, |spool| {
                let has_room = spool.outgoing.has_room(len, window).map_err(failed)?;
                Ok(has_room.then_some(()))
            });
            spool = self.spool();
            waited.inspect_err(|_| spool.outgoing.discard())?;
        }
        let published = spool.outgoing.publish(len);
        published.map_err(Error::io(Operation::Write, &name))?;
        Ok(transfer)
    }

    fn try_send(&self, message: &Message<'_>, tag: Tag) -> Result<Transfer, Error> {
        Duplex::send(self, message, tag, Deadline::after(Duration::ZERO))
    }

    fn recv(self: Arc<Self>, deadline: Deadline) -> Result<Received, Error> {
        self.wait_for(Operation::Recv, deadline, |spool| {
            // What was confirmed meanwhile, and could not be acknowledged then, too.
            spool.finish()?;
            spool.receive()
        })
    }

    fn flush(&self, deadline: Deadline) -> Result<(), Error> {
        self.flush_messages(Operation::Flush, deadline)
    }

    fn close_sending(&self, deadline: Deadline) -> Result<(), Error> {
        self.flush_messages(Operation::Close, deadline)?;
        let ended = self.spool().outgoing.end();
        ended.map_err(Error::io(Operation::Close, &self.peer))
    }

    fn share(&self) -> Result<(), Error> {
        Ok(())
    }

    fn cancel(&self) {
        // A wait looks every 10 ms at the latest.
        self.is_cancelled.store(true, Ordering::Release);
    }

    fn wants(&self) -> Ready {
        Ready::default()
    }

    fn has_input(&self) -> bool {
        self.spool().has_input()
    }

    fn status(&self) -> Status {
        let (in_flight, in_flight_bytes) = self.spool().outgoing.in_flight();
        Status {
            in_flight,
            in_flight_bytes,
            ..Status::default()
        }
    }
}
