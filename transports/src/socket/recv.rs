//! Receiving: the next message, and what goes back for it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use numpush_os::Ready;
use numpush_session::Debt;

use crate::deadline::Deadline;
use crate::error::{Error, Operation};
use crate::socket::ending::ends_the_way;
use crate::socket::janitor;
use crate::socket::link::{End, Link, Queued, Receiving, Sending, Side};
use crate::socket::medium::{Borrow, Lend, Medium};
use crate::socket::read::{Found, How, Obeyed};
use crate::socket::spin::Spin;
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
        let mut receiving = self.receiving();
        receiving.session.finish();
        drop(self.note_time_between(&mut receiving));
        let mut spin = Spin::default();
        let greeting = (!receiving.session.has_hello()).then(|| Deadline::after(ANSWER));
        let mut short_since = None;
        for round in 1_u64.. {
            // A peer that never stops, and sends no message, must not hide the deadline of the call.
            if round.is_multiple_of(MOST_ROUNDS) {
                self.check_cancelled()?;
                if deadline.has_passed() {
                    break;
                }
            }
            if let Some(queued) = receiving.inbox.pop_front() {
                return Ok(self.hand_over(&mut receiving, queued));
            }
            if let Some(end) = &receiving.end {
                let error = Error::ended(end, &self.peer);
                receiving.has_told_end = true;
                return Err(error);
            }
            match self.obey_next(&mut receiving) {
                Ok(Obeyed::Nothing) => {}
                Ok(Obeyed::Record) => {
                    self.wake(Side::Send);
                    continue;
                }
                Ok(Obeyed::Message(queued)) => {
                    self.wake(Side::Send);
                    return Ok(self.hand_over(&mut receiving, queued));
                }
                Err(error) if receiving.room.was_short() => {
                    let since = *short_since.get_or_insert_with(Instant::now);
                    receiving = self.wait_for_room(receiving, deadline, since, error)?;
                    continue;
                }
                Err(error) => return Err(error),
            }
            if receiving.session.is_closed() {
                receiving.has_told_end = true;
                return Err(Error::Closed {
                    peer: self.peer.clone(),
                });
            }
            // Before a wait everything owed is sent: the peer may be waiting for it.
            // In the middle of a record the peer's pace is watched, and so is a peer that has not said hello.
            let is_idle = receiving.session.is_idle() && receiving.session.has_hello();
            let spins = is_idle && self.spins(&mut spin, deadline);
            let may_block = block && !spins && is_idle && self.owes_nothing();
            if may_block {
                // Nobody else can call, so nothing that is dropped here can.
                self.unused.drop_all();
            }
            let found = match self.read(&mut receiving, How::of(spins, may_block)) {
                Err(error) if receiving.room.was_short() => {
                    let since = *short_since.get_or_insert_with(Instant::now);
                    receiving = self.wait_for_room(receiving, deadline, since, error)?;
                    continue;
                }
                found => found?,
            };
            // There is room for whatever comes next.
            (short_since, receiving.short) = (None, None);
            match found {
                Found::Bytes | Found::End => {}
                Found::Nothing if spins => {
                    if !self.owes_nothing() {
                        self.pay_all();
                    }
                    // Others look at what has come, too.
                    drop(receiving);
                    std::hint::spin_loop();
                    receiving = self.receiving();
                }
                Found::Nothing if may_block => self.check_way(),
                Found::Nothing => {
                    let greeting = greeting.filter(|_| !receiving.session.has_hello());
                    receiving = self.wait_to_read(receiving, deadline, greeting)?;
                }
            }
        }
        Err(deadline.error(Operation::Recv, &self.peer))
    }

    /// Others have the room for what has come: waits a moment for them, unless the call or the patience of this side is over.
    fn wait_for_room<'l>(
        self: &'l Arc<Self>,
        receiving: MutexGuard<'l, Receiving<M>>,
        deadline: Deadline,
        since: Instant,
        error: Error,
    ) -> Result<MutexGuard<'l, Receiving<M>>, Error> {
        drop(receiving);
        // What goes out does not wait for what comes in.
        self.pay_all();
        self.check_cancelled()?;
        if deadline.has_passed() || since.elapsed() >= self.patience {
            return Err(error);
        }
        self.rest(Side::Receive, deadline)?;
        Ok(self.receiving())
    }

    /// True as long as the call looks again at once instead of waiting: from the first time that nothing was there.
    fn spins(&self, spin: &mut Spin, deadline: Deadline) -> bool {
        if self.spin.is_zero() {
            return false;
        }
        let now = Instant::now();
        let end = deadline.or_sooner(Some(spin.end(self.spin, now)));
        end.is_some_and(|end| now < end)
    }

    /// Pays what is owed, and waits until there is something to read.
    fn wait_to_read<'l>(
        self: &'l Arc<Self>,
        mut receiving: MutexGuard<'l, Receiving<M>>,
        deadline: Deadline,
        greeting: Option<Deadline>,
    ) -> Result<MutexGuard<'l, Receiving<M>>, Error> {
        // Credit alone goes by the janitor, or with an answer that the program sends next.
        let progress = match self.owes_nothing() {
            true => Progress::Done,
            false => self.pay_all(),
        };
        if deadline.has_passed() {
            return Err(deadline.error(Operation::Recv, &self.peer));
        }
        if let Some(greeting) = greeting.filter(|greeting| greeting.has_passed()) {
            return Err(self.give_up_greeting(&mut receiving, greeting));
        }
        let until = deadline.or_sooner(receiving.session.deadline());
        let until = greeting.map_or(until, |greeting| greeting.or_sooner(until));
        drop(receiving);
        let want = match progress {
            Progress::Done => Ready::READ,
            Progress::Full => Ready::BOTH,
        };
        self.wait(Side::Receive, want, until)?;
        Ok(self.receiving())
    }

    /// The peer has not answered our hello: there is no connection, and nothing is kept for one.
    pub(super) fn give_up_greeting(
        &self,
        receiving: &mut Receiving<M>,
        greeting: Deadline,
    ) -> Error {
        receiving.end(End::Failed);
        self.sending().broken();
        self.wake(Side::Send);
        self.wake(Side::Receive);
        greeting
            .error(Operation::Handshake, &self.peer)
            .handshake(self.peer.clone())
    }

    /// True if the peer waits for nothing that we could write now.
    fn owes_nothing(&self) -> bool {
        let sending = self.sending();
        let owes = sending.session.owes_ack()
            || sending.session.owes_credit() && !self.is_listed.load(Ordering::Relaxed);
        sending.session.is_drained() && !owes
    }

    /// Writes acknowledgements, credit and whatever else waits, as far as the socket takes it now.
    ///
    /// If the peer is gone, reading shows how. If memory is short, the janitor goes on: the caller may wait for a peer that
    /// waits for just this.
    pub(super) fn pay_all(self: &Arc<Self>) -> Progress {
        let mut sending = self.sending();
        sending.session.pay();
        match sending.drain(&self.socket) {
            Ok(progress) => progress,
            Err(error) => {
                if ends_the_way(&error) {
                    sending.broken();
                } else {
                    drop(sending);
                    janitor::list(self);
                }
                Progress::Done
            }
        }
    }

    /// Notes that the program is done with the messages it has received.
    pub(super) fn finish(&self) {
        self.receiving().session.finish();
    }

    /// A call begins: notes what the program has let go of since the last one, and that the time between was its own.
    ///
    /// A thread that is receiving at this moment does the same.
    pub(super) fn settle(&self) {
        if let Ok(mut receiving) = self.receiving.try_lock() {
            drop(self.note_time_between(&mut receiving));
        }
    }

    /// A call that sends begins: as [`Self::settle`], and returns the outgoing direction, locked.
    pub(super) fn settled(&self, deadline: Deadline) -> MutexGuard<'_, Sending<M>> {
        let mut sending = match self.receiving.try_lock() {
            Ok(mut receiving) => {
                if !deadline.is_none() {
                    // A call that waits has patience of its own; those that do not share theirs.
                    receiving.short = None;
                }
                self.note_time_between(&mut receiving)
            }
            Err(_) => self.sending(),
        };
        sending.spin = Spin::default();
        sending
    }

    fn note_time_between(&self, receiving: &mut Receiving<M>) -> MutexGuard<'_, Sending<M>> {
        if !receiving.session.is_idle() {
            receiving.session.resume(Instant::now());
        }
        let releases = receiving.borrower.take_releases();
        let mut sending = self.sending();
        sending.session.owe(receiving.session.debt());
        for id in releases {
            sending.session.release(id);
        }
        for segment in sending.lender.take_forgets() {
            sending.session.forget(segment.into());
        }
        sending
    }

    /// Gives a message to the program, and its credit back to the peer.
    fn hand_over(self: &Arc<Self>, receiving: &mut Receiving<M>, queued: Queued) -> Received {
        let Queued {
            preamble,
            message,
            transfer,
        } = queued;
        receiving.session.take(&preamble);
        receiving.room.taken(preamble.id, &mut receiving.session);
        let debt = receiving.session.debt();
        let confirmation = receiving.session.receipt(preamble.id).map(|receipt| {
            let link = Arc::downgrade(self);
            Confirmation {
                receipt,
                tell: Box::new(move |ack| {
                    // The other lock may be held by a thread that waits for the next message.
                    if let Some(link) = link.upgrade() {
                        link.sending().session.owe(Debt {
                            ack,
                            ..Debt::default()
                        });
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
        let mut is_owing = false;
        if !sending.session.is_busy()
            && let Err(error) = sending.drain(&self.socket)
        {
            // If the peer is gone, the next call shows it; this message is here.
            if ends_the_way(&error) {
                sending.broken();
            }
            is_owing = !sending.session.is_drained();
        }
        is_owing |= sending.session.owes_ack() || sending.session.owes_credit();
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

/// How long a call waits for a listener to answer our hello, whatever its own timeout is: it may be busy before it accepts.
pub(super) const ANSWER: Duration = Duration::from_secs(30);

/// So many records or reads go before the deadline of a call is looked at again.
const MOST_ROUNDS: u64 = 256;

#[cfg(test)]
mod tests {
    use std::io;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    use numpush_message::{Buffer, BufferAllocator, DecodeError, Hello, Message, Reference};

    use crate::budget::Budget;
    use crate::options::Options;
    use crate::socket::medium::{Plan, Terms, Way};
    use crate::transfer::{PathReason, Transfer};

    use super::*;

    /// A medium that carries bytes.
    struct Plain;

    impl Medium for Plain {
        const DESCRIPTORS: bool = false;
        const NETWORK: bool = false;
        const KEEPS_SENT: bool = true;

        type Lender = Self;
        type Borrower = Self;

        fn split(self) -> (Self, Self) {
            (Self, Self)
        }
    }

    impl Lend for Plain {
        fn plan(&mut self, _: &Message<'_>, _: Terms) -> Plan {
            Plan::new(Way::Write(PathReason::OnlyWay))
        }

        fn commit(&mut self, _: Plan, _: u64) {}

        fn released(&mut self, _: u64) -> Result<(), &'static str> {
            Err("nothing is lent")
        }
    }

    impl Borrow for Plain {
        fn accept_segment(&mut self, _: u32, _: Option<OwnedFd>) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn resolve(
            &mut self,
            _: u64,
            _: &[u64],
            _: &[Reference],
            _: &mut dyn BufferAllocator,
        ) -> Result<(Vec<Buffer<'static>>, Transfer), DecodeError> {
            unreachable!("no peer of this test refers to memory")
        }
    }

    /// It was as if the peer might still answer: what comes in kept its room, and the next call waited as long once more.
    #[test]
    fn a_peer_that_never_answered_keeps_no_room() {
        let budget = Budget::new().max_bytes(1 << 26);
        let options = Options::new().budget(budget.clone());
        let (near, _silent) = UnixStream::pair().unwrap();
        let hello = Hello::new(1 << 20);
        let link = Link::new(near.into(), Plain, "silent".into(), hello, &options);
        assert!(budget.bytes() > 0);
        let error = link.give_up_greeting(&mut link.receiving(), Deadline::now());
        assert!(matches!(error, Error::Handshake { .. }), "{error:?}");
        assert_eq!(budget.bytes(), 0);
        let error = link.recv_message(Deadline::after(None), true);
        assert!(matches!(error.map(drop), Err(Error::Failed { .. })));
    }
}
