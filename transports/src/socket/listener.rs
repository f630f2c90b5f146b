//! Accepting stream sockets: handshakes side by side, so that a slow or foreign peer delays nobody.
//!
//! One set of descriptors has the listening socket, every peer whose hello is awaited, and a timer. It is readable whenever
//! a call of accept has something to do, so that a program can wait for it together with others.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use numpush_message::Hello;
use numpush_os::{self as os, Event, Events, Ready, Timer};
use numpush_session::Refusal;

use crate::budget::{Charge, Item};
use crate::deadline::Deadline;
use crate::error::{Error, Operation};
use crate::options::Options;
use crate::socket::link::Link;
use crate::socket::medium::Medium;
use crate::socket::transport::SocketTransport;
use crate::status::ListenerStatus;
use crate::transport::{AcceptContext, Acceptor, Established};

/// A listening socket of some kind.
pub(crate) trait ListeningSocket: Send {
    type Medium: Medium + 'static;

    fn descriptor(&self) -> BorrowedFd<'_>;

    /// Accepts one connection, without waiting, and names the peer.
    fn accept(&self) -> io::Result<(OwnedFd, String)>;

    /// Decides whether the peer may connect, and what our hello to it is. A peer that is refused is told.
    fn authenticate(
        &self,
        socket: OwnedFd,
        peer: &str,
        options: &Options,
    ) -> Result<(OwnedFd, Self::Medium, Hello), Error>;
}

/// Accepts connections at a listening socket.
pub(crate) struct SocketAcceptor<S: ListeningSocket> {
    listening: S,
    options: Options,
    events: Events,
    timer: Timer,
    /// When the timer ends the wait.
    timer_at: Option<Instant>,
    /// By number, so that the oldest comes first.
    pending: BTreeMap<u64, Pending<S::Medium>>,
    next: u64,
    refusals: Refusals,
    /// Out of descriptors, or of connections: no accept before this time.
    paused: Option<Instant>,
    /// Since when every accept has failed for want of descriptors.
    short_since: Option<Instant>,
    /// A forked child shares the kernel's list of descriptors with its parent, and must not use it.
    forks: u32,
}

/// A connection whose handshake is under way.
struct Pending<M: Medium> {
    link: Arc<Link<M>>,
    deadline: Deadline,
    _charge: Option<Charge>,
}

/// Peers that got no connection.
#[derive(Default)]
struct Refusals {
    count: u64,
    /// The last of those that nobody has asked for.
    recent: VecDeque<Error>,
}

/// What one look at the descriptors brought.
enum Turn {
    Nothing,
    Something,
    Done(Established),
}

/// Numbers of descriptors in the set. Handshakes have those behind.
const LISTENING: u64 = 0;
const TIMER: u64 = 1;

/// How long a peer that has connected may take to send its hello.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// Peers that are accepted before the hellos of others are looked at again.
const BATCH: usize = 16;

/// A call whose time is over looks so often at what is there.
const MOST_TURNS: usize = 8;

/// Refusals that are kept until somebody asks for them.
const KEPT: usize = 16;

/// accept(2) without descriptors left would fail again at once, for as long as the connection waits. Without connections
/// left in the budget this is how long one that ends goes unnoticed.
const PAUSE: Duration = Duration::from_millis(100);

/// A want of descriptors that lasts so long is reported: what others hold may never come back.
const LASTING: Duration = Duration::from_secs(5);

impl<S: ListeningSocket> SocketAcceptor<S> {
    pub(crate) fn new(listening: S, options: &Options) -> io::Result<Self> {
        os::watch_forks();
        let events = Events::new()?;
        let timer = Timer::new()?;
        events.add(listening.descriptor(), LISTENING, Ready::READ)?;
        events.add(&timer, TIMER, Ready::READ)?;
        Ok(Self {
            listening,
            options: options.clone(),
            events,
            timer,
            timer_at: None,
            pending: BTreeMap::new(),
            next: TIMER + 1,
            refusals: Refusals::default(),
            paused: None,
            short_since: None,
            forks: os::forks(),
        })
    }

    /// In a forked child: makes what it must not share with its parent. The handshakes that were under way are the parent's.
    fn renew(&mut self) -> io::Result<()> {
        if self.forks == os::forks() {
            return Ok(());
        }
        let (events, timer) = (Events::new()?, Timer::new()?);
        events.add(self.listening.descriptor(), LISTENING, Ready::READ)?;
        events.add(&timer, TIMER, Ready::READ)?;
        (self.events, self.timer, self.timer_at) = (events, timer, None);
        self.pending.clear();
        (self.paused, self.short_since) = (None, None);
        self.forks = os::forks();
        Ok(())
    }

    /// Waits until there is something to do, at most for `timeout`, and does it.
    fn turn(&mut self, timeout: Option<Duration>, cx: &AcceptContext<'_>) -> Result<Turn, Error> {
        let failed = |error| Error::io(Operation::Wait, cx.address)(error);
        self.renew().map_err(failed)?;
        let events = self.events.wait(timeout).map_err(failed)?;
        let turn = self.serve(&events, cx);
        // After an error too: the next call may have to wait for it.
        self.set_timer().map_err(failed)?;
        turn
    }

    fn serve(&mut self, events: &[Event], cx: &AcceptContext<'_>) -> Result<Turn, Error> {
        let failed = |error| Error::io(Operation::Wait, cx.address)(error);
        for event in events {
            let established = match event.token {
                LISTENING => self.begin_handshakes(cx)?,
                TIMER => self.end_waits().map_err(failed)?,
                number => self.continue_handshake(number),
            };
            // What else is ready is so at the next look.
            if let Some(established) = established {
                return Ok(Turn::Done(established));
            }
        }
        Ok(match events.is_empty() {
            true => Turn::Nothing,
            false => Turn::Something,
        })
    }

    /// Accepts who has connected, and sends our hello. Returns a connection if one had to be finished to make place.
    fn begin_handshakes(&mut self, cx: &AcceptContext<'_>) -> Result<Option<Established>, Error> {
        for _ in 0..BATCH {
            if !self.options.budget.has_room(Item::Connection) {
                return self
                    .hold()
                    .map(|()| None)
                    .map_err(Error::io(Operation::Accept, cx.address));
            }
            let (socket, peer) = match self.listening.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.short_since = None;
                    return Ok(None);
                }
                Err(error) if is_about_the_peer(&error) => {
                    self.short_since = None;
                    continue;
                }
                Err(error) if is_out_of_descriptors(&error) => {
                    return self.pause(error, cx).map(|()| None);
                }
                Err(error) => return Err(Error::io(Operation::Accept, cx.address)(error)),
            };
            self.short_since = None;
            let (charge, established) = self.make_place();
            let begun = charge.and_then(|charge| self.begin_handshake(socket, &peer, charge));
            if let Err(error) = begun {
                self.refusals.note(error.handshake(peer));
            }
            if established.is_some() {
                return Ok(established);
            }
        }
        Ok(None)
    }

    fn begin_handshake(
        &mut self,
        socket: OwnedFd,
        peer: &str,
        charge: Option<Charge>,
    ) -> Result<(), Error> {
        let authenticated = self.listening.authenticate(socket, peer, &self.options);
        let (socket, medium, ours) = authenticated?;
        let link = Link::new(socket, medium, peer.to_owned(), ours, &self.options);
        // A fresh socket has room for a hello; if not, the peer is gone, and the next read shows it.
        link.pay_all();
        let number = self.next;
        self.next += 1;
        self.events
            .add(&link.socket, number, Ready::READ)
            .map_err(Error::io(Operation::SetUp, peer))?;
        let deadline = Deadline::after(HANDSHAKE);
        let pending = Pending {
            link,
            deadline,
            _charge: charge,
        };
        self.pending.insert(number, pending);
        Ok(())
    }

    /// Reads what one pending peer has sent; returns its connection if its hello is complete.
    fn continue_handshake(&mut self, number: u64) -> Option<Established> {
        let greeted = self.pending.get(&number)?.link.greet();
        if matches!(greeted, Ok(false)) {
            return None;
        }
        let link = self.remove(number)?;
        let peer = link.peer.clone();
        match greeted.and_then(|_| self.admit(&link)) {
            Ok(()) => Some(Established::new(SocketTransport::new(link), peer)),
            Err(error) => {
                // What it is refused for was queued with the fault.
                link.send_away(None);
                self.refusals.note(error.handshake(peer));
                None
            }
        }
    }

    /// Takes a connection of the budget. Others may have been faster since the peer was accepted.
    fn admit(&self, link: &Link<S::Medium>) -> Result<(), Error> {
        match self.options.budget.take(Item::Connection) {
            Ok(charge) => {
                let _ = link.charge.set(charge);
                Ok(())
            }
            Err(limit) => {
                link.sending().session.refuse(Refusal::Busy);
                let what = "connections at once";
                Err(Error::OverLimit { what, limit })
            }
        }
    }

    /// Takes a handshake of the budget, if need be that of the oldest. If the hello of that one is here, it is a connection.
    /// A listener may always have one, so that strangers at another one keep nobody out here.
    fn make_place(&mut self) -> (Result<Option<Charge>, Error>, Option<Established>) {
        let what = "handshakes at once";
        let over = |limit| Error::OverLimit { what, limit };
        let limit = match self.options.budget.take(Item::Handshake) {
            Ok(charge) => return (Ok(Some(charge)), None),
            Err(limit) => limit,
        };
        while let Some((&oldest, _)) = self.pending.first_key_value() {
            let established = self.continue_handshake(oldest);
            if let Some(link) = self.remove(oldest) {
                link.send_away(Some(Refusal::Busy));
                self.refusals.note(over(limit).handshake(link.peer.clone()));
            }
            let charge = self.options.budget.take(Item::Handshake);
            if charge.is_ok() || established.is_some() {
                return (charge.map(Some).map_err(over), established);
            }
        }
        (Ok(None), None)
    }

    /// Gives up who has not said hello in time, and goes on after a pause.
    fn end_waits(&mut self) -> io::Result<Option<Established>> {
        // It stays readable until it is set again.
        self.timer.set(None)?;
        self.timer_at = None;
        if self.paused.is_some_and(|paused| Instant::now() >= paused) {
            self.listen(true)?;
            self.paused = None;
        }
        while let Some((&number, pending)) = self.pending.first_key_value()
            && pending.deadline.has_passed()
        {
            let error = pending
                .deadline
                .error(Operation::Handshake, &pending.link.peer);
            if let Some(established) = self.continue_handshake(number) {
                return Ok(Some(established));
            }
            if let Some(link) = self.remove(number) {
                link.send_away(Some(Refusal::Busy));
                let peer = link.peer.clone();
                self.refusals.note(error.handshake(peer));
            }
        }
        Ok(None)
    }

    fn remove(&mut self, number: u64) -> Option<Arc<Link<S::Medium>>> {
        let pending = self.pending.remove(&number)?;
        // Whoever else has the socket, a forked child for example, would keep it in the set.
        let _ = self.events.remove(&pending.link.socket);
        Some(pending.link)
    }

    /// Accepts nobody for a while. A want that lasts is an error.
    fn pause(&mut self, error: io::Error, cx: &AcceptContext<'_>) -> Result<(), Error> {
        self.hold()
            .map_err(Error::io(Operation::Accept, cx.address))?;
        let now = Instant::now();
        if now - *self.short_since.get_or_insert(now) < LASTING {
            return Ok(());
        }
        self.short_since = None;
        Err(Error::io(Operation::Accept, cx.address)(error))
    }

    /// Leaves who comes in the backlog for a while.
    fn hold(&mut self) -> io::Result<()> {
        self.listen(false)?;
        self.paused = Some(Instant::now() + PAUSE);
        Ok(())
    }

    fn listen(&self, is_wanted: bool) -> io::Result<()> {
        let want = Ready {
            read: is_wanted,
            write: false,
        };
        self.events
            .change(self.listening.descriptor(), LISTENING, want)
    }

    fn set_timer(&mut self) -> io::Result<()> {
        let oldest = self.pending.first_key_value();
        let oldest = oldest.and_then(|(_, pending)| pending.deadline.instant());
        let at = oldest.into_iter().chain(self.paused).min();
        if at != self.timer_at {
            self.timer.set(at)?;
            self.timer_at = at;
        }
        Ok(())
    }
}

impl<S: ListeningSocket> Acceptor for SocketAcceptor<S> {
    fn accept(&mut self, cx: &AcceptContext<'_>) -> Result<Established, Error> {
        let mut late = 0;
        loop {
            let left = cx.deadline.left();
            let is_late = left.is_some_and(|left| left.is_zero());
            match self.turn(left, cx)? {
                Turn::Done(established) => return Ok(established),
                Turn::Something if late < MOST_TURNS => {}
                _ if is_late => return Err(cx.deadline.error(Operation::Accept, cx.address)),
                _ => {}
            }
            late += usize::from(is_late);
        }
    }

    fn prepare(&mut self) -> io::Result<()> {
        self.renew()
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.events.as_fd())
    }

    fn status(&self) -> ListenerStatus {
        ListenerStatus {
            handshakes: self.pending.len(),
            refused: self.refusals.count,
            budget: self.options.budget.status(),
        }
    }

    fn take_refused(&mut self) -> Option<Error> {
        self.refusals.recent.pop_front()
    }
}

impl Refusals {
    fn note(&mut self, error: Error) {
        self.count += 1;
        if self.recent.len() == KEPT {
            self.recent.pop_front();
        }
        self.recent.push_back(error);
    }
}

/// The peer hung up, or its network went away, before it was accepted: accept(2) says to try again.
fn is_about_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::ConnectionAborted
            | Kind::ConnectionReset
            | Kind::Interrupted
            | Kind::HostUnreachable
            | Kind::NetworkUnreachable
            | Kind::NetworkDown
            | Kind::PermissionDenied
    )
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    // EMFILE and ENFILE have no kind of their own.
    matches!(error.raw_os_error(), Some(23 | 24 | 105))
        || error.kind() == io::ErrorKind::OutOfMemory
}
