//! A socket and its peers.

mod admit;
mod arrange;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use numpush_message::{Buffer, BufferAllocator};
use numpush_os::{self as os, Event, Events, Ready, Timer};
use numpush_zmtp::Frames;

use crate::error::Error;
use crate::zmq::arrival::Arrived;
use crate::zmq::dial::Dial;
use crate::zmq::lost::Lost;
use crate::zmq::pattern::Pattern;
use crate::zmq::peer::{Found, Peer, Unused};
use crate::zmq::refusals::Refusals;
use crate::zmq::stream::Listening;
use crate::zmq::terms::Terms;

/// What the set names beside the peers.
const LISTENER: u64 = 0;
const TIMER: u64 = 1;
const LOOK_UP: u64 = 2;
const FIRST_PEER: u64 = 16;

/// How long nobody is let in when descriptors are short.
const PAUSE: Duration = Duration::from_millis(100);

/// Calls that never wait look so often at what happens besides.
const LOOKS_EVERY: Duration = Duration::from_millis(5);

/// All that a socket has.
pub(super) struct State {
    pub(super) terms: Terms,
    pub(super) peers: BTreeMap<u64, Peer>,
    /// Messages whose peer is gone before it had them whole.
    pub(super) orphans: VecDeque<Frames<Buffer<'static>>>,
    /// Who was asked.
    pub(super) asked: Asked,
    /// The peer that is to be answered, with the way back.
    pub(super) answering: Option<(u64, Vec<Vec<u8>>)>,
    /// What is to be dropped without the lock.
    pub(super) unused: Unused,
    /// Bytes that peers had not acknowledged, or that waited for them, when their connections ended, since the last send began; and
    /// the last one of them.
    pub(super) lost: Option<(String, u64)>,
    /// The set, or the timer, does not know yet what to wait for.
    pub(super) has_changed: bool,
    listening: Option<Listening>,
    /// When the listener is asked again.
    is_paused: Option<Instant>,
    dial: Option<Dial>,
    is_looking_up: bool,
    timer: Timer,
    timer_at: Option<Instant>,
    /// Until when a peer must have said who it is.
    greeting: BTreeMap<u64, Instant>,
    /// Since when the message that has stood still longest does.
    still: Option<Instant>,
    /// When the peers hear from us whose pings are not seen.
    pulse_at: Option<Instant>,
    next: u64,
    /// When it was told last what is ready.
    told: Instant,
    /// The peers that were served last, receiving and sending.
    taken: u64,
    given: u64,
    pub(super) refusals: Arc<Refusals>,
}

/// Whose answer a REQ waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Nobody,
    /// A call may have waited for its answer in vain.
    Peer {
        token: u64,
        in_vain: bool,
    },
    /// The connection has ended, and no call knows yet.
    Gone(String),
}

impl Asked {
    fn is_other(&self, than: u64) -> bool {
        matches!(self, Self::Peer { token, .. } if *token != than)
    }
}

/// Why nothing was taken from a peer.
pub(super) enum Taken {
    Message(u64, Box<Arrived>),
    Failed(Error),
    /// Messages wait for room that others have.
    Short(Error),
    Nothing,
}

impl State {
    pub(super) fn new(terms: Terms, events: &Events) -> io::Result<Self> {
        let timer = Timer::new()?;
        events.add(&timer, TIMER, Ready::READ)?;
        Ok(Self {
            terms,
            peers: BTreeMap::new(),
            orphans: VecDeque::new(),
            asked: Asked::Nobody,
            answering: None,
            unused: Unused::default(),
            lost: None,
            has_changed: false,
            listening: None,
            is_paused: None,
            dial: None,
            is_looking_up: false,
            timer,
            timer_at: None,
            greeting: BTreeMap::new(),
            still: None,
            pulse_at: None,
            next: FIRST_PEER,
            told: Instant::now(),
            taken: 0,
            given: 0,
            refusals: Arc::default(),
        })
    }

    pub(super) fn listen(&mut self, listening: Listening, events: &Events) -> io::Result<()> {
        events.add(&listening, LISTENER, Ready::READ)?;
        self.listening = Some(listening);
        Ok(())
    }

    pub(super) fn connect(&mut self, dial: Dial) {
        self.dial = Some(dial);
    }

    /// Why there is no connection.
    pub(super) fn why(&mut self) -> io::Error {
        let dial = self.dial.as_mut();
        dial.map_or_else(|| io::ErrorKind::TimedOut.into(), Dial::take_last)
    }

    /// Ends listening and connecting: no peer comes any more.
    pub(super) fn leave(&mut self, events: &Events) {
        if let Some(listening) = self.listening.take() {
            // A forked child may have it too, so that it would stay in the set.
            let _ = events.remove(&listening);
        }
        self.dial = None;
    }

    /// True if messages wait for a peer, or for the kernel.
    pub(super) fn owes(&self) -> bool {
        !self.orphans.is_empty() || self.peers.values().any(|peer| !peer.outbound.is_empty())
    }

    /// True if it was not told for a while what is ready.
    pub(super) fn is_due(&self) -> bool {
        self.told.elapsed() >= LOOKS_EVERY
    }

    /// When it was told last.
    #[cfg(test)]
    pub(super) fn told(&self) -> Instant {
        self.told
    }

    /// Takes in what is ready.
    pub(super) fn tell(&mut self, ready: &[Event], events: &Events) {
        for event in ready {
            match event.token {
                LISTENER => self.accept(events),
                TIMER => {}
                LOOK_UP => {
                    let descriptor = self.dial.as_ref().and_then(Dial::descriptor);
                    descriptor.map(|descriptor| events.remove(descriptor));
                    self.is_looking_up = false;
                }
                token => {
                    let told = self.peers.get_mut(&token).map(|it| it.ready(event.ready));
                    if let Some(Err(lost)) = told {
                        self.lose(token, lost, events);
                    }
                }
            }
        }
        self.look_at_the_clock(events);
    }

    /// Reads and writes what goes without a wait, and takes no message.
    pub(super) fn step(&mut self, events: &Events) {
        let tokens: Vec<u64> = self.peers.keys().copied().collect();
        for token in tokens {
            self.exchange(token, events);
        }
    }

    fn exchange(&mut self, token: u64, events: &Events) {
        let Some(peer) = self.peers.get_mut(&token) else {
            return;
        };
        let found = peer.read(None, None);
        peer.take_unused(&mut self.unused);
        let found = found.and_then(|_| peer.write(&mut self.unused));
        match found {
            Ok(()) => self.welcome(token, events),
            Err(lost) => self.lose(token, lost, events),
        }
    }

    /// The next message that has come, from the peers in turn. For the rest of one it may wait, if the call `waits`.
    pub(super) fn take(
        &mut self,
        allocator: &mut dyn BufferAllocator,
        events: &Events,
        waits: bool,
    ) -> Taken {
        let waits = (waits && self.peers.len() == 1).then(|| Instant::now() + LOOKS_EVERY);
        let behind = self.peers.range(self.taken + 1..).map(|(token, _)| *token);
        let before = self.peers.range(..=self.taken).map(|(token, _)| *token);
        let tokens: Vec<u64> = behind.chain(before).collect();
        let mut failed = Taken::Nothing;
        for token in tokens {
            if self.asked.is_other(token) {
                self.exchange(token, events);
                continue;
            }
            match self.take_from(token, allocator, events, waits) {
                Taken::Nothing => {}
                short @ (Taken::Short(_) | Taken::Failed(Error::NoRoom { .. })) => failed = short,
                taken => {
                    self.taken = token;
                    return taken;
                }
            }
        }
        failed
    }

    fn take_from(
        &mut self,
        token: u64,
        allocator: &mut dyn BufferAllocator,
        events: &Events,
        waits: Option<Instant>,
    ) -> Taken {
        let Some(peer) = self.peers.get_mut(&token) else {
            return Taken::Nothing;
        };
        self.has_changed |= peer.release();
        let found = peer.read(Some(allocator), waits);
        peer.take_unused(&mut self.unused);
        // From now on it may stand still.
        self.has_changed |= peer.is_waited_for() && peer.still.is_none();
        let name = || peer.stream.name.clone();
        let taken = match found {
            Ok(Found::Nothing) => Taken::Nothing,
            Ok(Found::Message(arrived)) => Taken::Message(token, arrived),
            Ok(Found::Refused(source)) => Taken::Failed(Error::Skipped {
                peer: name(),
                source,
            }),
            Ok(Found::NoRoom(source)) => Taken::Failed(Error::NoRoom {
                peer: name(),
                source,
            }),
            Ok(Found::Short(source)) => Taken::Short(Error::NoRoom {
                peer: name(),
                source,
            }),
            Err(lost) => {
                self.lose(token, lost, events);
                return Taken::Nothing;
            }
        };
        match peer.write(&mut self.unused) {
            Ok(()) => self.welcome(token, events),
            Err(lost) => self.lose(token, lost, events),
        }
        taken
    }

    /// The answer has come: what else its peer says is none.
    pub(super) fn answered(&mut self) {
        if let Asked::Peer { token, .. } = std::mem::replace(&mut self.asked, Asked::Nobody)
            && let Some(peer) = self.peers.get_mut(&token)
        {
            peer.is_asked = false;
        }
    }

    /// Gives up the question for which a call has waited in vain, and with it the connection: a late answer would be taken for
    /// that to the next one. False if an answer is still awaited.
    pub(super) fn forget_question(&mut self, events: &Events) -> bool {
        match self.asked {
            Asked::Peer { in_vain: false, .. } => return false,
            Asked::Peer { token, .. } => self.lose(token, Lost::Ended, events),
            _ => {}
        }
        self.asked = Asked::Nobody;
        true
    }

    /// The next peer that has room for a message of `len` bytes, from the peers in turn; `idle` ones, if only they will do.
    pub(super) fn next_with_room(&mut self, len: u64, idle: bool) -> Option<u64> {
        let window = self.terms.window;
        let fits = |(_, peer): &(&u64, &Peer)| {
            peer.has_room(len, window) && (!idle || peer.outbound.is_empty())
        };
        let behind = self.peers.range(self.given + 1..);
        let before = self.peers.range(..=self.given);
        let token = behind.chain(before).find(fits).map(|(token, _)| *token)?;
        self.given = token;
        Some(token)
    }

    /// The connection has ended.
    pub(super) fn lose(&mut self, token: u64, lost: Lost, events: &Events) {
        let Some(mut peer) = self.peers.remove(&token) else {
            return;
        };
        self.has_changed = true;
        if peer.waits_for.is_some() {
            let _ = events.remove(&peer.stream);
        }
        let was_greeting = self.end_greeting(token);
        let is_cut = peer.is_amid();
        self.count_loss(&mut peer);
        if matches!(self.asked, Asked::Peer { token: asked, .. } if asked == token) {
            self.asked = Asked::Gone(peer.stream.name.clone());
        }
        // Its memory is given back when no lock is held, its place now.
        peer.charge = None;
        let name = std::mem::take(&mut peer.stream.name);
        let is_fault = was_greeting || is_cut || lost.is_fault();
        if peer.is_dialled {
            if let Some(dial) = &mut self.dial {
                dial.failed(lost.into_io());
            }
        } else if is_fault {
            let source = Box::new(lost.explain(&name));
            self.refusals.note(Error::Handshake { peer: name, source });
        }
        self.unused.peers.push(peer);
        self.hand_on();
    }

    /// Keeps the messages of a peer that is gone for others, if they may have them. The rest of what it has not is lost.
    fn count_loss(&mut self, peer: &mut Peer) {
        if !peer.is_open() || !self.terms.pattern.sends() {
            return;
        }
        let mut lost = peer.stream.unacknowledged() as u64;
        if self.terms.pattern == Pattern::Push {
            // What was written of the first goes anew.
            lost = lost.saturating_sub(peer.outbound.begun());
            self.orphans.extend(peer.outbound.take_messages());
        } else {
            // Answers to its pings are no loss.
            let messages: Vec<_> = peer.outbound.take_messages().collect();
            lost += messages.iter().map(Frames::left).sum::<u64>();
            self.unused.frames.extend(messages);
        }
        if lost > 0 {
            let before = self.lost.take().map_or(0, |(_, bytes)| bytes);
            self.lost = Some((peer.stream.name.clone(), before + lost));
        }
    }

    /// Gives what peers have left to others, in turn.
    fn hand_on(&mut self) {
        while let Some(len) = self.orphans.front().map(Frames::left) {
            let Some(token) = self.next_with_room(len, false) else {
                return;
            };
            let peer = self.peers.get_mut(&token);
            let Some((peer, frames)) = peer.zip(self.orphans.pop_front()) else {
                return;
            };
            peer.outbound.push(frames);
        }
    }

    /// Bytes that the kernels of the peers have not acknowledged.
    pub(super) fn unacknowledged(&self) -> usize {
        let bytes = self.peers.values().map(|peer| peer.stream.unacknowledged());
        bytes.sum()
    }

    /// Reports to the peers that nothing more comes.
    pub(super) fn end_writing(&self) {
        for peer in self.peers.values() {
            let _ = os::end_writing(peer.stream.as_fd());
        }
    }
}
