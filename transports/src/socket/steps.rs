//! Sending for a task: a message is written where it lies, as far as the socket takes it, and the task waits in between.

use std::sync::Arc;

use numpush_message::Message;
use numpush_session::Tag;

use crate::deadline::Deadline;
use crate::error::{Error, Operation};
use crate::socket::deliver::{Begun, Nonblocking, Terms};
use crate::socket::ending::socket_error;
use crate::socket::janitor;
use crate::socket::link::{Link, Side};
use crate::socket::medium::Medium;
use crate::socket::write::Progress;
use crate::transfer::Transfer;
use crate::transport::{self, Steps};

/// Bytes that a task reads or writes before others of its thread run.
pub(super) const STEP: usize = 1 << 20;

/// A message that was begun.
struct Underway<'m, M: Medium> {
    link: Arc<Link<M>>,
    /// `None` once it is written, or its sending has failed.
    begun: Option<Begun<'m>>,
    transfer: Transfer,
    has_waited: bool,
}

impl<M: Medium> Link<M> {
    /// Begins a message if it can begin now, and writes what the socket takes of it.
    pub(super) fn begin_steps<'m>(
        self: Arc<Self>,
        message: &'m Message<'m>,
        tag: Tag,
    ) -> Result<transport::Begun<'m>, Error> {
        let (sending, begun, transfer) =
            self.begin_message(message.into(), tag, Deadline::now())?;
        drop(sending);
        let mut underway = Underway {
            link: Arc::clone(&self),
            begun: Some(begun),
            transfer,
            has_waited: false,
        };
        Ok(match underway.step()? {
            Some(transfer) => transport::Begun::Done(transfer),
            None => transport::Begun::Underway(Box::new(underway)),
        })
    }
}

impl<M: Medium> Underway<'_, M> {
    /// The error of a message that cannot be written.
    fn failed(&mut self, error: Error) -> Error {
        let Some(begun) = self.begun.take() else {
            return error;
        };
        let terms = Terms {
            deadline: Deadline::now(),
            keeps_rest: false,
        };
        let (link, transfer) = (&self.link, self.transfer);
        let _drops = link.unused.drops();
        let ended = link.not_in_time(link.sending(), begun, transfer, terms, error);
        let Err(error) = ended else {
            unreachable!("a rest that is kept is an error of these terms");
        };
        // What was kept of it goes though no call comes, and the other side can go on.
        janitor::list(link);
        link.wake(Side::Receive);
        error
    }
}

impl<M: Medium> Steps for Underway<'_, M> {
    fn step(&mut self) -> Result<Option<Transfer>, Error> {
        let link = Arc::clone(&self.link);
        let Some(mut begun) = self.begun.take() else {
            return Ok(Some(self.transfer));
        };
        let _drops = link.unused.drops();
        let mut sending = link.sending();
        // sendfile(2) has no flag that says it should not wait.
        let nonblocking = begun.is_by_file().then(|| Nonblocking::new(&link.socket));
        let nonblocking = match nonblocking.transpose() {
            Ok(nonblocking) => nonblocking,
            Err(error) => {
                drop(sending);
                self.begun = Some(begun);
                return Err(self.failed(socket_error(Operation::Send, &link.peer, error)));
            }
        };
        let written = begun.write(&mut sending, &link.socket, STEP);
        drop(nonblocking);
        match written {
            Ok(Progress::Done) => {
                begun.done(&mut sending);
                self.transfer.system_calls += std::mem::take(&mut sending.system_calls);
                drop(sending);
                if self.has_waited {
                    // Meanwhile the other side of this connection found the stream in the middle of a record.
                    link.wake(Side::Receive);
                }
                return Ok(Some(self.transfer));
            }
            Ok(Progress::Full) => {}
            Err(error) => {
                let error = link.not_written(sending, begun, self.transfer, error);
                janitor::list(&link);
                link.wake(Side::Receive);
                return Err(error);
            }
        }
        drop(sending);
        (self.begun, self.has_waited) = (Some(begun), true);
        match link.wait_to_write(Operation::Send, Deadline::now()) {
            Ok(()) => Ok(None),
            Err(error) if error.is_timeout() => Ok(None),
            Err(error) => Err(self.failed(error)),
        }
    }

    fn give_up(mut self: Box<Self>, late: Error) -> Error {
        self.failed(late)
    }
}

impl<M: Medium> Drop for Underway<'_, M> {
    /// The task gave up the call: what has begun to go goes whole, and what has not is as if it had never been sent.
    fn drop(&mut self) {
        let late = Deadline::now().error(Operation::Send, &self.link.peer);
        if self.begun.is_some() {
            self.failed(late);
        }
    }
}
