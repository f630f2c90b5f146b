//! Receiving: the next message, and what goes back for it.

use std::sync::{Arc, MutexGuard};
use std::time::Instant;

use numpush_os::Ready;
use numpush_session::Debt;

use crate::deadline::Deadline;
use crate::error::{Error, Operation};
use crate::socket::janitor;
use crate::socket::link::{Link, Queued, Receiving, Side};
use crate::socket::medium::{Borrow, Lend, Medium};
use crate::socket::read::Found;
use crate::socket::write::Progress;
use crate::transfer::{Confirmation, Received};

impl<M: Medium> Link<M> {
    /// Waits for the next message. With `block` it waits in recv(2), which saves the call of poll(2): only one thread uses the
    /// connection then.
    pub(super) fn recv_message(
        self: &Arc<Self>,
        deadline: Deadline,
        block: bool,
    ) -> Result<Received, Error> {
        let block = block && deadline.instant().is_none() && self.bell(Side::Receive).is_none();
        self.settle();
        let mut receiving = self.receiving();
        if !receiving.session.is_idle() {
            receiving.session.resume(Instant::now());
        }
        loop {
            if let Some(queued) = receiving.inbox.pop_front() {
                return Ok(self.hand_over(&mut receiving, queued));
            }
            if let Some(end) = &receiving.end {
                return Err(Error::ended(end, &self.peer));
            }
            if self.obey_next(&mut receiving)? {
                self.wake(Side::Send);
                continue;
            }
            if receiving.session.is_closed() {
                return Err(Error::Closed {
                    peer: self.peer.clone(),
                });
            }
            // Before a wait everything owed is sent: the peer may be waiting for it.
            let may_block = block && self.owes_nothing();
            match self.read(&mut receiving, may_block)? {
                Found::Bytes | Found::End => {}
                Found::Nothing if may_block => {}
                Found::Nothing => receiving = self.wait_to_read(receiving, deadline, block)?,
            }
        }
    }

    /// Pays what is owed, and waits until there is something to read.
    fn wait_to_read<'l>(
        &'l self,
        receiving: MutexGuard<'l, Receiving<M>>,
        deadline: Deadline,
        block: bool,
    ) -> Result<MutexGuard<'l, Receiving<M>>, Error> {
        let progress = self.pay_all();
        if progress == Progress::Done && block {
            return Ok(receiving);
        }
        if deadline.has_passed() {
            return Err(deadline.error(Operation::Recv, &self.peer));
        }
        let until = deadline.or_sooner(receiving.session.deadline());
        drop(receiving);
        let want = match progress {
            Progress::Done => Ready::READ,
            Progress::Full => Ready::BOTH,
        };
        self.wait(Side::Receive, want, until)?;
        Ok(self.receiving())
    }

    /// True if the peer waits for nothing that we could write now.
    fn owes_nothing(&self) -> bool {
        let sending = self.sending();
        sending.session.is_drained() && !sending.session.owes_ack()
    }

    /// Writes acknowledgements, credit and whatever else waits, as far as the socket takes it now.
    ///
    /// If the peer is gone, reading shows how.
    pub(super) fn pay_all(&self) -> Progress {
        let mut sending = self.sending();
        sending.session.pay();
        match sending.drain(&self.socket) {
            Ok(progress) => progress,
            Err(_) => {
                sending.session.broken();
                Progress::Done
            }
        }
    }

    /// Notes what the program has let go of since the last call: messages it has finished, memory of the peer.
    pub(super) fn settle(&self) {
        let mut receiving = self.receiving();
        receiving.session.finish();
        let releases = receiving.borrower.take_releases();
        let debt = receiving.session.debt();
        drop(receiving);
        let mut sending = self.sending();
        sending.session.owe(debt);
        for id in releases {
            sending.session.release(id);
        }
        for segment in sending.lender.take_forgets() {
            sending.session.forget(segment.into());
        }
    }

    /// Gives a message to the program, and its credit back to the peer.
    fn hand_over(self: &Arc<Self>, receiving: &mut Receiving<M>, queued: Queued) -> Received {
        let Queued {
            preamble,
            message,
            transfer,
        } = queued;
        receiving.session.take(&preamble);
        let debt = receiving.session.debt();
        let confirmation = receiving.session.receipt(preamble.id).map(|receipt| {
            let link = Arc::downgrade(self);
            Confirmation {
                receipt,
                tell: Box::new(move |ack| {
                    // The other lock may be held by a thread that waits for the next message.
                    if let Some(link) = link.upgrade() {
                        link.sending().session.owe(Debt { ack, credit: 0 });
                        janitor::list(&link);
                    }
                }),
            }
        });
        let mut sending = self.sending();
        sending.session.owe(debt);
        if sending.session.is_due() {
            sending.session.pay();
        }
        // If the peer is gone, the next call shows it; this message is here.
        if !sending.session.is_busy() && sending.drain(&self.socket).is_err() {
            sending.session.broken();
        }
        let is_owing = sending.session.owes_ack() || sending.session.owes_credit();
        drop(sending);
        if is_owing {
            janitor::list(self);
        }
        Received {
            id: preamble.id,
            reply_to: preamble.reply_to,
            channel: preamble.channel,
            confirmation,
            ..Received::new(message, transfer)
        }
    }
}
