//! One side of a connection: what both of its halves share.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use numpush_message::{BufferAllocator, Message};
use numpush_os::{Bell, Ready, lock};
use numpush_session::{Acknowledge, Confirmations, Refusal, Tag};

use crate::deadline::Deadline;
use crate::error::{Error, Operation};
use crate::inproc::way::{Item, Queue, Seen, Way};
use crate::options::Options;
use crate::origin::Origin;
use crate::status::Status;
use crate::transfer::{Capabilities, Received, Transfer};
use crate::transport::{Context, Duplex, Transport};
#[cfg(feature = "tokio")]
use crate::watch::Watches;

/// Lock order: `sending` or `receiving`, then the queue of a way. Neither is held over a wait.
pub(super) struct Link {
    pub(super) peer: String,
    pub(super) out: Arc<Way>,
    pub(super) back: Arc<Way>,
    /// Payload bytes that may be unacknowledged, and what the peer takes of one message and of all that it has not taken.
    window: u64,
    pub(super) peer_max: u64,
    credit: u64,
    acknowledge: Acknowledge,
    sending: Mutex<Sending>,
    pub(super) receiving: Mutex<Receiving>,
    confirmations: Confirmations,
    is_cancelled: AtomicBool,
    /// A call that does not wait found no room, and nobody has said since that there may be some.
    is_blocked: AtomicBool,
    bell: OnceLock<Arc<Bell>>,
    /// Nobody has accepted this side yet: it waits at a listener.
    pub(super) waits: bool,
    origin: Origin,
}

/// What was sent, all of it sums.
#[derive(Clone, Copy, Default)]
pub(super) struct Sent {
    pub(super) count: u64,
    pub(super) bytes: u64,
    pub(super) charge: u64,
}

#[derive(Default)]
pub(super) struct Sending {
    pub(super) sent: Sent,
    /// What the receiver had done when it was last looked at.
    seen: Seen,
    closed: bool,
}

pub(super) struct Receiving {
    /// Messages that were taken out of the queue together: the sender and the receiver meet once for many.
    pub(super) inbox: VecDeque<Item>,
    /// The sum of their charges.
    pub(super) charge: u64,
    pub(super) allocator: Box<dyn BufferAllocator>,
    /// The end of the peer's messages was reported.
    has_ended: bool,
    /// Messages returned.
    pub(super) taken: u64,
    /// Payload bytes of those that are not acknowledged.
    unacknowledged: VecDeque<u64>,
}

impl Link {
    /// One side, with its options and those of the peer.
    pub(super) fn new(
        peer: &str,
        (out, back): (&Arc<Way>, &Arc<Way>),
        ours: &Options,
        theirs: &Options,
    ) -> Self {
        Self {
            peer: peer.to_owned(),
            out: Arc::clone(out),
            back: Arc::clone(back),
            window: ours.window,
            peer_max: theirs.max_message,
            credit: theirs.credit,
            acknowledge: ours.acknowledge,
            sending: Mutex::default(),
            receiving: Mutex::new(Receiving {
                inbox: VecDeque::new(),
                charge: 0,
                allocator: ours.make_allocator(),
                has_ended: false,
                taken: 0,
                unacknowledged: VecDeque::new(),
            }),
            confirmations: Confirmations::default(),
            is_cancelled: AtomicBool::new(false),
            is_blocked: AtomicBool::new(false),
            bell: OnceLock::new(),
            waits: false,
            origin: Origin::here(),
        }
    }

    /// Waits until a message of so many bytes may go. Nobody else takes the room.
    pub(super) fn wait_for_room(
        &self,
        bytes: u64,
        charge: u64,
        deadline: Deadline,
    ) -> Result<MutexGuard<'_, Sending>, Error> {
        loop {
            let mut sending = lock(&self.sending);
            if sending.closed {
                return Err(self.closed());
            }
            if self.has_room(sending.sent, sending.seen, bytes, charge) {
                return Ok(sending);
            }
            sending.seen = self.out.progress.look();
            let sent = sending.sent;
            if self.has_room(sent, sending.seen, bytes, charge) {
                return Ok(sending);
            }
            drop(sending);
            self.wait_for_progress(Operation::Send, deadline, |seen| {
                self.has_room(sent, seen, bytes, charge)
            })?;
        }
    }

    fn has_room(&self, sent: Sent, seen: Seen, bytes: u64, charge: u64) -> bool {
        let fits = |out: u64, more: u64, limit| out == 0 || out.saturating_add(more) <= limit;
        fits(sent.bytes - seen.acked_bytes, bytes, self.window)
            && fits(sent.charge - seen.taken_charge, charge, self.credit)
    }

    /// Waits until the receiver has come so far.
    fn wait_for_progress(
        &self,
        operation: Operation,
        deadline: Deadline,
        done: impl Fn(Seen) -> bool,
    ) -> Result<(), Error> {
        let mut queue = self.out.queue();
        loop {
            self.out.progress.await_next();
            if queue.refused {
                return Err(self.refused());
            }
            if done(self.out.progress.look()) {
                return Ok(());
            }
            self.check_receiver(&queue)?;
            self.check_cancelled()?;
            if deadline.has_passed() {
                self.is_blocked.store(true, Ordering::Relaxed);
                drop(queue);
                self.rest();
                return Err(deadline.error(operation, &self.peer));
            }
            queue.senders += 1;
            queue = deadline.wait(&self.out.progressed, queue);
            queue.senders -= 1;
        }
    }

    /// Fails if nothing more can be sent.
    pub(super) fn check_receiver(&self, queue: &Queue) -> Result<(), Error> {
        if queue.refused {
            return Err(self.refused());
        }
        if queue.receiver_gone {
            return Err(self.disconnected());
        }
        Ok(())
    }

    /// Waits until there is a message, which is then in the inbox.
    pub(super) fn wait_for_message(
        &self,
        deadline: Deadline,
    ) -> Result<MutexGuard<'_, Receiving>, Error> {
        loop {
            let mut receiving = lock(&self.receiving);
            if !receiving.inbox.is_empty() {
                return Ok(receiving);
            }
            let mut queue = self.back.queue();
            if !queue.messages.is_empty() {
                std::mem::swap(&mut receiving.inbox, &mut queue.messages);
                receiving.charge = std::mem::take(&mut queue.charge);
                return Ok(receiving);
            }
            receiving.has_ended = queue.closed || queue.sender_gone;
            drop(receiving);
            let ended = match (queue.closed, queue.sender_gone) {
                (true, _) => Some(self.closed()),
                (false, true) => Some(self.disconnected()),
                _ if deadline.has_passed() => Some(deadline.error(Operation::Recv, &self.peer)),
                _ => None,
            };
            if let Some(error) = ended {
                drop(queue);
                self.rest();
                self.check_cancelled()?;
                return Err(error);
            }
            self.check_cancelled()?;
            queue.receivers += 1;
            queue = deadline.wait(&self.back.arrived, queue);
            queue.receivers -= 1;
        }
    }

    /// Counts a message that is returned, and gives its room back.
    pub(super) fn count(&self, receiving: &mut Receiving, charge: u64, bytes: u64) {
        receiving.charge -= charge;
        receiving.taken += 1;
        self.back.progress.take(charge);
        match self.acknowledge {
            Acknowledge::OnNextCall | Acknowledge::OnConfirm => {
                receiving.unacknowledged.push_back(bytes);
            }
            _ => self.back.progress.acknowledge(1, bytes),
        }
    }

    /// True if messages are acknowledged by hand.
    pub(super) fn confirms(&self) -> bool {
        self.acknowledge == Acknowledge::OnConfirm
    }

    pub(super) fn confirmations(&self) -> &Confirmations {
        &self.confirmations
    }

    /// Acknowledges the messages up to a number.
    pub(super) fn acknowledge(&self, receiving: &mut Receiving, number: u64) {
        let acknowledged = receiving.taken - receiving.unacknowledged.len() as u64;
        let more = usize::try_from(number.saturating_sub(acknowledged)).unwrap_or(usize::MAX);
        let count = more.min(receiving.unacknowledged.len());
        let bytes = receiving.unacknowledged.drain(..count).sum();
        self.back.progress.acknowledge(count as u64, bytes);
    }

    /// A call begins: what was returned before it is acknowledged, where the next call does that.
    pub(super) fn finish(&self) {
        if self.acknowledge != Acknowledge::OnNextCall {
            return;
        }
        let mut receiving = lock(&self.receiving);
        let taken = receiving.taken;
        self.acknowledge(&mut receiving, taken);
        drop(receiving);
        self.back.report();
    }

    fn flush_messages(&self, operation: Operation, deadline: Deadline) -> Result<(), Error> {
        let sent = lock(&self.sending).sent.count;
        if self.out.progress.look().acked == sent {
            return Ok(());
        }
        self.wait_for_progress(operation, deadline, |seen| seen.acked == sent)
    }

    /// The bell of this side, which is made when somebody asks for it.
    fn bell(&self) -> Option<&Arc<Bell>> {
        if let Some(bell) = self.bell.get() {
            return Some(bell);
        }
        let bell = Arc::new(Bell::new().ok()?);
        let bell = self.bell.get_or_init(|| bell);
        self.out.queue().sender_bell = Some(Arc::clone(bell));
        self.back.queue().receiver_bell = Some(Arc::clone(bell));
        // What happened before nobody has rung for.
        bell.ring();
        Some(bell)
    }

    /// A call has found nothing to do: the bell rests until there is.
    fn rest(&self) {
        let Some(bell) = self.bell.get() else {
            return;
        };
        // Whoever has the lock receives, and comes by here afterwards.
        let Ok(receiving) = self.receiving.try_lock() else {
            return;
        };
        let mut queue = self.back.queue();
        queue.has_rung = false;
        bell.quiet();
        let is_over = receiving.has_ended || !(queue.closed || queue.sender_gone);
        let has_news = !receiving.inbox.is_empty() || !queue.messages.is_empty() || !is_over;
        // It may have rung for room, of which the caller has not heard.
        let has_room =
            !self.out.progress.is_awaited() && self.is_blocked.swap(false, Ordering::Relaxed);
        if has_news || has_room {
            queue.has_rung = has_news;
            bell.ring();
        }
    }

    /// Fails once after [`Duplex::cancel`].
    fn check_cancelled(&self) -> Result<(), Error> {
        if self.is_cancelled.swap(false, Ordering::AcqRel) {
            return Err(Error::Cancelled {
                peer: self.peer.clone(),
            });
        }
        Ok(())
    }

    fn closed(&self) -> Error {
        Error::Closed {
            peer: self.peer.clone(),
        }
    }

    fn disconnected(&self) -> Error {
        Error::Disconnected {
            peer: self.peer.clone(),
            missing: 0,
        }
    }

    fn refused(&self) -> Error {
        Error::Refused {
            peer: self.peer.clone(),
            reason: Refusal::NoRoom,
        }
    }
}

impl Drop for Link {
    /// What was sent can still be received; a connection that is dropped in good order has closed. One that nobody has
    /// accepted has not: nobody has read what came for it.
    fn drop(&mut self) {
        // A thread that the child does not have may hold the locks, and the bells are its parent's.
        if self.origin.check(&self.peer).is_err() {
            return;
        }
        let mut queue = self.out.queue();
        queue.closed |= !self.waits && !std::thread::panicking();
        queue.sender_gone = true;
        queue.sender_bell = None;
        self.out.tell_receiver(queue);
        let mut queue = self.back.queue();
        queue.receiver_gone = true;
        queue.receiver_bell = None;
        // Dropped below: to give memory back may take long, and the sender waits for the lock.
        let _unread = std::mem::take(&mut queue.messages);
        self.back.tell_sender(queue);
    }
}

/// A connection that one thread uses. Its halves share the link.
pub(super) struct InprocTransport(pub(super) Arc<Link>);

impl Transport for InprocTransport {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            two_way: true,
            acknowledges: true,
            notices_death: true,
            limits_size: true,
            passes_descriptors: true,
            fills_allocator: false,
        }
    }

    fn send(&mut self, message: &Message<'_>, cx: &mut Context<'_>) -> Result<Transfer, Error> {
        self.0.send_message(message, cx.tag, cx.deadline)
    }

    fn recv(&mut self, cx: &mut Context<'_>) -> Result<Received, Error> {
        self.0.recv_message(cx.deadline)
    }

    fn flush(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        self.0.finish();
        Duplex::flush(&*self.0, cx.deadline)
    }

    fn close(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        self.0.finish();
        self.0.close_sending(cx.deadline)
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.0.bell().map(|bell| bell.as_fd())
    }

    fn duplex(&self) -> Option<Arc<dyn Duplex>> {
        Some(Arc::clone(&self.0) as Arc<dyn Duplex>)
    }
}

impl Duplex for Link {
    fn send(&self, message: &Message<'_>, tag: Tag, deadline: Deadline) -> Result<Transfer, Error> {
        self.send_message(message, tag, deadline)
    }

    fn try_send(&self, message: &Message<'_>, tag: Tag) -> Result<Transfer, Error> {
        self.send_message(message, tag, Deadline::after(Duration::ZERO))
    }

    fn recv(self: Arc<Self>, deadline: Deadline) -> Result<Received, Error> {
        self.recv_message(deadline)
    }

    fn flush(&self, deadline: Deadline) -> Result<(), Error> {
        self.flush_messages(Operation::Flush, deadline)
    }

    fn close_sending(&self, deadline: Deadline) -> Result<(), Error> {
        self.flush_messages(Operation::Close, deadline)?;
        lock(&self.sending).closed = true;
        let mut queue = self.out.queue();
        queue.closed = true;
        self.out.tell_receiver(queue);
        Ok(())
    }

    fn share(&self) -> Result<(), Error> {
        Ok(())
    }

    fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::Release);
        self.back.interrupt();
        self.out.interrupt();
    }

    fn attend(&self) -> Result<bool, Error> {
        self.rest();
        let is_gone = self.back.queue().sender_gone;
        Ok(is_gone)
    }

    fn wants(&self) -> Ready {
        // The bell rings for room too.
        Ready::READ
    }

    fn has_input(&self) -> bool {
        let receiving = lock(&self.receiving);
        !receiving.inbox.is_empty() || !self.back.queue().messages.is_empty()
    }

    #[cfg(feature = "tokio")]
    fn watches(&self) -> Option<Watches> {
        let watches = Watches::default();
        self.out.queue().sender_watch = Some(Arc::clone(&watches.sending));
        self.back.queue().receiver_watch = Some(Arc::clone(&watches.receiving));
        Some(watches)
    }

    #[cfg(feature = "tokio")]
    fn finish(&self) {
        Self::finish(self);
    }

    fn status(&self) -> Status {
        let (waiting, waiting_bytes) = {
            let receiving = lock(&self.receiving);
            let queue = self.back.queue();
            (
                receiving.inbox.len() + queue.messages.len(),
                receiving.charge + queue.charge,
            )
        };
        let sending = lock(&self.sending);
        let (sent, seen) = (sending.sent, self.out.progress.look());
        Status {
            in_flight: usize::try_from(sent.count - seen.acked).unwrap_or(usize::MAX),
            in_flight_bytes: sent.bytes - seen.acked_bytes,
            credit: self.credit.saturating_sub(sent.charge - seen.taken_charge),
            unwritten: 0,
            waiting,
            waiting_bytes,
            budgeted: 0,
        }
    }
}
