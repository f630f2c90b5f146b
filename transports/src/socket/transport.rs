//! The calls of a connection over a stream socket.

#[cfg(feature = "tokio")]
use std::os::fd::OwnedFd;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use numpush_message::{Message, Prepared};
use numpush_os::Ready;
use numpush_session::Tag;

use crate::batch::{Batch, BatchError};
use crate::deadline::Deadline;
use crate::error::{Error, Operation};
use crate::socket::deliver::Terms;
use crate::socket::finish::LINGER;
use crate::socket::janitor;
use crate::socket::link::Link;
use crate::socket::medium::Medium;
use crate::socket::outgoing::Outgoing;
#[cfg(feature = "tokio")]
use crate::socket::steps::STEP;
use crate::socket::write::Progress;
use crate::status::{Meter, Status};
use crate::transfer::{Capabilities, Received, Transfer};
#[cfg(feature = "tokio")]
use crate::transport::Begun;
use crate::transport::{Context, Duplex, Transport};
#[cfg(feature = "tokio")]
use crate::watch::Watches;

/// A connection that one thread uses. Its halves share what it owns.
pub(crate) struct SocketTransport<M: Medium>(Arc<Owned<M>>);

/// What the user's handles own. The connection is left when the last of them is dropped, on the thread that drops it, whoever
/// else is looking at the link at that moment.
struct Owned<M: Medium>(Arc<Link<M>>, Linger);

/// How long leaving may take, in milliseconds.
struct Linger(AtomicU64);

impl Linger {
    fn new() -> Self {
        Self(AtomicU64::new(millis(LINGER)))
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl<M: Medium> SocketTransport<M> {
    /// Sends our hello and returns the connection. The first call that needs the peer's hello waits for it: the other
    /// side may be a listener that this very thread will ask to accept.
    pub(crate) fn open(link: Arc<Link<M>>) -> Self {
        if link.pay_all() == Progress::Full {
            janitor::list(&link);
        }
        Self::new(link)
    }

    /// The connection over a link.
    pub(super) fn new(link: Arc<Link<M>>) -> Self {
        Self(Arc::new(Owned(link, Linger::new())))
    }

    fn link(&self) -> &Arc<Link<M>> {
        &self.0.0
    }
}

impl<M: Medium> Link<M> {
    /// Takes a message if it can begin now, and keeps what the socket does not take at once.
    fn try_send_outgoing(
        self: &Arc<Self>,
        outgoing: Outgoing<'_>,
        tag: Tag,
    ) -> Result<Transfer, Error> {
        let terms = Terms {
            deadline: Deadline::now(),
            keeps_rest: true,
        };
        let sent = self.send_message(outgoing, tag, terms);
        self.leave_rest();
        sent
    }

    /// A task may make no other call for long: what is kept goes without one.
    fn leave_rest(self: &Arc<Self>) {
        #[cfg(feature = "tokio")]
        if self.is_watched() && !self.sending().session.is_drained() {
            janitor::list(self);
        }
    }
}

impl<M: Medium> Drop for Owned<M> {
    fn drop(&mut self) {
        self.0
            .leave(Duration::from_millis(self.1.0.load(Ordering::Relaxed)));
    }
}

impl<M: Medium> Transport for SocketTransport<M> {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            two_way: true,
            acknowledges: true,
            notices_death: true,
            limits_size: true,
            passes_descriptors: M::DESCRIPTORS,
            fills_allocator: !M::DESCRIPTORS,
        }
    }

    fn send(&mut self, message: &Message<'_>, cx: &mut Context<'_>) -> Result<Transfer, Error> {
        Duplex::send(&*self.0, message, cx.tag, cx.deadline)
    }

    fn send_all(
        &mut self,
        messages: &[Message<'_>],
        cx: &mut Context<'_>,
    ) -> Result<Batch, BatchError> {
        Duplex::send_all(&*self.0, messages, cx.tag, cx.deadline)
    }

    fn recv(&mut self, cx: &mut Context<'_>) -> Result<Received, Error> {
        let _drops = self.link().unused.drops();
        self.link().recv_message(cx.deadline, true)
    }

    fn flush(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        let _drops = self.link().unused.drops();
        self.link().finish();
        self.link().flush_messages(Operation::Flush, cx.deadline)
    }

    fn close(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        let _drops = self.link().unused.drops();
        self.link().finish();
        self.link().close_sending(cx.deadline)
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.link().socket.as_fd())
    }

    fn duplex(&self) -> Option<Arc<dyn Duplex>> {
        Some(Arc::clone(&self.0) as Arc<dyn Duplex>)
    }
}

impl<M: Medium> Duplex for Owned<M> {
    fn send(&self, message: &Message<'_>, tag: Tag, deadline: Deadline) -> Result<Transfer, Error> {
        let terms = Terms {
            deadline,
            keeps_rest: false,
        };
        let _drops = self.0.unused.drops();
        self.0.send_message(message.into(), tag, terms)
    }

    fn try_send(&self, message: &Message<'_>, tag: Tag) -> Result<Transfer, Error> {
        let _drops = self.0.unused.drops();
        self.0.try_send_outgoing(message.into(), tag)
    }

    fn try_send_prepared(&self, prepared: &Prepared<'_>, tag: Tag) -> Result<Transfer, Error> {
        let _drops = self.0.unused.drops();
        self.0.try_send_outgoing(prepared.into(), tag)
    }

    #[cfg(feature = "unix")]
    fn lends(&self) -> u64 {
        self.0.sending().lends()
    }

    fn send_all(
        &self,
        messages: &[Message<'_>],
        tag: Tag,
        deadline: Deadline,
    ) -> Result<Batch, BatchError> {
        let terms = Terms {
            deadline,
            keeps_rest: false,
        };
        let _drops = self.0.unused.drops();
        self.0.send_messages(messages, tag, terms)
    }

    fn try_send_all(&self, messages: &[Message<'_>], tag: Tag) -> Result<Batch, BatchError> {
        let terms = Terms {
            deadline: Deadline::now(),
            keeps_rest: true,
        };
        let _drops = self.0.unused.drops();
        let sent = self.0.send_messages(messages, tag, terms);
        self.0.leave_rest();
        sent
    }

    fn recv(self: Arc<Self>, deadline: Deadline) -> Result<Received, Error> {
        let _drops = self.0.unused.drops();
        self.0.recv_message(deadline, false)
    }

    fn flush(&self, deadline: Deadline) -> Result<(), Error> {
        let _drops = self.0.unused.drops();
        self.0.flush_messages(Operation::Flush, deadline)
    }

    fn close_sending(&self, deadline: Deadline) -> Result<(), Error> {
        let _drops = self.0.unused.drops();
        self.0.close_sending(deadline)
    }

    fn share(&self) -> Result<(), Error> {
        self.0
            .share()
            .map_err(Error::io(Operation::SetUp, &self.0.peer))
    }

    fn cancel(&self) {
        self.0.cancel();
    }

    fn wants(&self) -> Ready {
        Ready {
            read: true,
            write: {
                let sending = self.0.sending();
                // Whoever is in the middle of a message writes what waits behind it.
                !sending.session.is_drained() && !sending.session.is_busy()
            },
        }
    }

    fn has_input(&self) -> bool {
        let receiving = self.0.receiving();
        let is_over = receiving.end.is_some() || receiving.session.is_closed();
        !receiving.inbox.is_empty()
            || receiving.end.is_none() && receiving.session.has_bytes()
            || receiving.unresolved.is_some()
            || is_over && !receiving.has_told_end
    }

    fn hand_back(&self) {
        let mut receiving = self.0.receiving();
        receiving.session.hand_back();
        (receiving.most, receiving.left) = (usize::MAX, usize::MAX);
    }

    fn meter(&self) -> Option<Meter> {
        Some(self.0.meter.clone())
    }

    fn excuse(&self, time: Duration) {
        self.0.excuse(time);
    }

    fn poll_recv(self: Arc<Self>) -> Result<Received, Error> {
        let _drops = self.0.unused.drops();
        self.0.poll_message()
    }

    fn attend(&self) -> Result<bool, Error> {
        let _drops = self.0.unused.drops();
        self.0.attend()
    }

    fn due(&self) -> Option<Instant> {
        self.0.due()
    }

    fn is_greeted(&self) -> bool {
        self.0.is_greeted()
    }

    fn linger(&self, time: Duration) {
        self.1.0.store(millis(time), Ordering::Relaxed);
    }

    #[cfg(feature = "tokio")]
    fn watches(&self) -> Option<Watches> {
        let mut receiving = self.0.receiving();
        (receiving.most, receiving.left) = (STEP, STEP);
        drop(receiving);
        Some(self.0.watches())
    }

    #[cfg(feature = "tokio")]
    fn socket(&self) -> Option<Arc<OwnedFd>> {
        Some(Arc::clone(&self.0.socket))
    }

    #[cfg(feature = "tokio")]
    fn finish(&self) {
        self.0.finish();
    }

    #[cfg(feature = "tokio")]
    fn begin<'m>(self: Arc<Self>, message: &'m Message<'m>, tag: Tag) -> Result<Begun<'m>, Error> {
        let _drops = self.0.unused.drops();
        Arc::clone(&self.0).begin_steps(message, tag)
    }

    fn status(&self) -> Status {
        let waiting = {
            let receiving = self.0.receiving();
            let held = receiving.session.held();
            (receiving.inbox.len(), held, receiving.room.bytes())
        };
        let sending = self.0.sending().session.status();
        Status {
            in_flight: sending.in_flight,
            in_flight_bytes: sending.in_flight_bytes,
            credit: sending.credit,
            unwritten: sending.queued,
            waiting: waiting.0,
            waiting_bytes: waiting.1,
            budgeted: waiting.2,
        }
    }
}
