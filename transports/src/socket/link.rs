//! A connection: its socket and its two directions.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use numpush_message::{
    AllocError, BufferAllocator, Header, Hello, LastHead, Message, Preamble, Reference,
};
use numpush_os::{self as os, Bell};
use numpush_session::{Config, Fault, Inbound, Outbound, Refusal};

use crate::budget::Charge;
use crate::error::Error;
use crate::options::Options;
#[cfg(feature = "unix")]
use crate::socket::medium::Lend;
use crate::socket::medium::{Borrow, Medium, Terms};
use crate::socket::room::Room;
use crate::socket::spent::Unused;
use crate::socket::spin::Spin;
use crate::status::Meter;
use crate::transfer::Transfer;
#[cfg(feature = "tokio")]
use crate::watch::Watches;

/// One side of a connection over a stream socket, which both halves of it share.
///
/// Lock order: `receiving`, then `sending`. Neither is held over a wait, except that a connection that is used by one thread
/// only holds `receiving` while it blocks in recv(2).
pub(crate) struct Link<M: Medium> {
    pub(super) socket: Arc<OwnedFd>,
    pub(super) peer: String,
    pub(super) patience: Duration,
    /// How long a call looks without sleeping before it waits.
    pub(super) spin: Duration,
    pub(super) receiving: Mutex<Receiving<M>>,
    pub(super) sending: Mutex<Sending<M>>,
    /// What is dropped once no lock is held.
    pub(super) unused: Arc<Unused>,
    /// What wakes a call of each side. They are made when more than one thread can call.
    bells: OnceLock<[Bell; 2]>,
    /// As the bells, where the callers are tasks.
    #[cfg(feature = "tokio")]
    watches: OnceLock<Watches>,
    is_cancelled: AtomicBool,
    /// The janitor has this connection on its list.
    pub(super) is_listed: AtomicBool,
    pub(super) meter: Meter,
    /// A forked child leaves the connection to its parent.
    pub(super) forks: u32,
    /// What an accepted connection takes of its listener's budget, as long as it lives.
    pub(super) charge: OnceLock<Charge>,
}

/// While a call spins it does not look whether the way to the peer is still there.
const MOST_SPIN: Duration = Duration::from_secs(1);

/// The side of a connection that a call uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Receive = 0,
    Send = 1,
}

impl Side {
    pub(super) fn other(self) -> Self {
        match self {
            Self::Receive => Self::Send,
            Self::Send => Self::Receive,
        }
    }
}

/// What comes in.
pub(super) struct Receiving<M: Medium> {
    pub(super) session: Inbound<OwnedFd>,
    pub(super) borrower: M::Borrower,
    pub(super) allocator: Box<dyn BufferAllocator>,
    /// Messages that came while a call waited for something else.
    pub(super) inbox: VecDeque<Queued>,
    /// Bytes that a look may read, and that the one at hand may still read.
    pub(super) most: usize,
    pub(super) left: usize,
    /// System calls since the last message.
    pub(super) system_calls: u32,
    pub(super) end: Option<End>,
    /// A call has reported that nothing more comes.
    pub(super) has_told_end: bool,
    /// When a thread that waits elsewhere is to look whether the way to the peer is still there.
    pub(super) look_at_way: Option<Instant>,
    /// What it has of its budgets.
    pub(super) room: Room,
    /// Calls that send have found no room for what comes.
    pub(super) short: Option<Short>,
    /// A message in segments of the peer for which there was no room.
    pub(super) unresolved: Option<Unresolved>,
}

/// For how long there has been no room for what comes.
pub(super) struct Short {
    since: Instant,
    /// When it was last found so.
    last: Instant,
    pub(super) source: AllocError,
}

/// A message whose payload lies in segments of the peer.
pub(super) struct Unresolved {
    pub(super) preamble: Preamble,
    pub(super) header: Header,
    pub(super) references: Vec<Reference>,
}

/// A message that nobody has received yet.
pub(super) struct Queued {
    pub(super) preamble: Preamble,
    pub(super) message: Message<'static>,
    pub(super) transfer: Transfer,
}

/// How the incoming direction ended.
#[derive(Clone, Debug)]
pub(super) enum End {
    /// The peer refused to go on.
    Refused(Refusal),
    /// The peer has closed, and hung up.
    Closed,
    /// The peer is gone.
    Disconnected,
    /// A fault of the peer, which was returned.
    Failed,
}

/// What goes out.
pub(super) struct Sending<M: Medium> {
    pub(super) session: Outbound<Arc<OwnedFd>>,
    pub(super) last_head: LastHead,
    pub(super) lender: M::Lender,
    pub(super) system_calls: u32,
    /// Counts what the socket takes.
    pub(super) meter: Meter,
    /// Messages begun since the peer's acknowledgements were last read.
    pub(super) since_look: usize,
    /// Of the call at hand.
    pub(super) spin: Spin,
    pub(super) unused: Arc<Unused>,
}

impl<M: Medium> Link<M> {
    /// The link over a connected socket. Our hello waits to be written.
    pub(crate) fn new(
        socket: OwnedFd,
        medium: M,
        peer: String,
        mut hello: Hello,
        options: &Options,
    ) -> Arc<Self> {
        let room = Room::new(&options.budget, hello.credit);
        hello.credit = room.promised();
        let config = Config::new(hello)
            .window(options.window)
            .patience(options.patience)
            .acknowledge(options.acknowledge);
        let (lender, borrower) = medium.split();
        os::watch_forks();
        let meter = Meter::default();
        let unused = Arc::<Unused>::default();
        Arc::new(Self {
            meter: meter.clone(),
            socket: Arc::new(socket),
            peer,
            patience: options.patience,
            spin: match os::online_processors() {
                // The peer cannot run while this side looks.
                1 => Duration::ZERO,
                _ => options.spin.min(MOST_SPIN),
            },
            receiving: Mutex::new(Receiving {
                session: Inbound::new(&config),
                borrower,
                allocator: options.make_allocator(),
                inbox: VecDeque::new(),
                most: usize::MAX,
                left: usize::MAX,
                system_calls: 0,
                end: None,
                has_told_end: false,
                look_at_way: None,
                room,
                short: None,
                unresolved: None,
            }),
            sending: Mutex::new(Sending {
                session: Outbound::new(&config),
                last_head: LastHead::default(),
                lender,
                system_calls: 0,
                meter,
                since_look: 0,
                spin: Spin::default(),
                unused: Arc::clone(&unused),
            }),
            unused,
            bells: OnceLock::new(),
            #[cfg(feature = "tokio")]
            watches: OnceLock::new(),
            is_cancelled: AtomicBool::new(false),
            is_listed: AtomicBool::new(false),
            forks: os::forks(),
            charge: OnceLock::new(),
        })
    }

    pub(super) fn receiving(&self) -> MutexGuard<'_, Receiving<M>> {
        os::lock(&self.receiving)
    }

    pub(super) fn sending(&self) -> MutexGuard<'_, Sending<M>> {
        os::lock(&self.sending)
    }

    /// From now on several threads may call: a wait can be ended by another thread.
    pub(crate) fn share(&self) -> std::io::Result<()> {
        if self.bells.get().is_none() {
            // If another thread was faster, its bells are used.
            let _ = self.bells.set([Bell::new()?, Bell::new()?]);
        }
        Ok(())
    }

    /// The bell of a side, if several threads may call.
    pub(super) fn bell(&self, side: Side) -> Option<&Bell> {
        self.bells.get().map(|bells| &bells[side as usize])
    }

    /// Ends the wait of a call of `side`, or else its next one.
    pub(super) fn wake(&self, side: Side) {
        if let Some(bell) = self.bell(side) {
            bell.ring();
        }
        #[cfg(feature = "tokio")]
        if let Some(watches) = self.watches.get() {
            match side {
                Side::Receive => watches.receiving.ring(),
                Side::Send => watches.sending.ring(),
            }
        }
    }

    /// From now on tasks may call: what would ring a bell rings these too.
    #[cfg(feature = "tokio")]
    pub(super) fn watches(&self) -> Watches {
        self.watches.get_or_init(Watches::default).clone()
    }

    /// True if tasks may call.
    #[cfg(feature = "tokio")]
    pub(super) fn is_watched(&self) -> bool {
        self.watches.get().is_some()
    }

    /// Ends the call at hand, or else the next one, with [`Error::Cancelled`].
    pub(crate) fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::Release);
        self.wake(Side::Receive);
        self.wake(Side::Send);
    }

    /// Fails once after [`Self::cancel`].
    pub(super) fn check_cancelled(&self) -> Result<(), Error> {
        if self.is_cancelled.load(Ordering::Relaxed)
            && self.is_cancelled.swap(false, Ordering::Acquire)
        {
            return Err(Error::Cancelled {
                peer: self.peer.clone(),
            });
        }
        Ok(())
    }
}

impl<M: Medium> Sending<M> {
    /// Sets aside what the session has let go of, and what the peer has given back.
    pub(super) fn set_aside(&mut self) {
        self.unused.take_of(&mut self.session, &mut self.lender);
    }

    /// The peer is gone: nothing is written from now on.
    pub(super) fn broken(&mut self) {
        self.session.broken();
        self.set_aside();
    }

    /// What a plan must keep to.
    pub(super) fn terms(&self) -> Terms {
        let peer = self.session.peer();
        Terms {
            segments: peer.map_or(0, |peer| peer.segments),
            descriptors: peer.map_or(0, |peer| peer.descriptors),
            checksums: self.session.has_checksums(),
        }
    }

    /// Bytes that memory of ours may have for the peer to map it, though we write it again later; 0 if it maps none. A peer that
    /// has not said hello may map what its hello will allow.
    #[cfg(feature = "unix")]
    pub(super) fn lends(&self) -> u64 {
        let terms = self.terms();
        let is_refused = terms.checksums
            || self.session.peer().is_some() && terms.segments.min(terms.descriptors) == 0;
        if is_refused { 0 } else { self.lender.lends() }
    }
}

impl<M: Medium> Receiving<M> {
    /// Notes that there was no room for what comes. Looks that are more than `patience` apart are of different times.
    pub(super) fn note_short(&mut self, source: AllocError, patience: Duration) {
        let now = Instant::now();
        let apart = patience.max(Duration::from_secs(1));
        let before = self.short.take();
        let before = before.filter(|short| now.duration_since(short.last) <= apart);
        self.short = Some(Short {
            since: before.map_or(now, |short| short.since),
            last: now,
            source,
        });
    }

    /// Why nothing more comes, once that has been so for `patience`. It is said once.
    pub(super) fn short_for(&mut self, patience: Duration) -> Option<AllocError> {
        let is_long = |short: &mut Short| short.since.elapsed() >= patience;
        self.short.take_if(is_long).map(|short| short.source)
    }

    /// Nothing more comes. What only that needs is given back now, for the program may keep the connection for long: half a
    /// message, the credit of the peer, and memory of the peer that no message lies in.
    pub(super) fn end(&mut self, end: End) {
        self.end = Some(end);
        self.unresolved = None;
        self.session.give_up();
        self.borrower.end();
        self.room
            .end(self.inbox.iter().map(|queued| &queued.preamble));
    }

    /// Notes a fault, and returns how it is reported.
    pub(super) fn fail(&mut self, fault: Fault, peer: &str) -> Error {
        match &fault {
            fault if fault.is_recoverable() => {}
            Fault::Refused(reason) => self.end(End::Refused(*reason)),
            Fault::Ended { .. } => self.end(End::Disconnected),
            _ => self.end(End::Failed),
        }
        Error::fault(fault, peer)
    }
}
