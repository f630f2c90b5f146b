//! A socket and its peers.

mod admit;
mod arrange;
mod take;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use numpush_message::{Buffer, LastHead};
use numpush_os::{self as os, Event, Events, Ready, Timer};
use numpush_zmtp::{Frames, Outbound};

use crate::error::Error;
use crate::zmq::arrival::Arrived;
use crate::zmq::dial::Dial;
use crate::zmq::endpoints::Endpoints;
use crate::zmq::feed::Feed;
use crate::zmq::lost::Lost;
use crate::zmq::pattern::{Pattern, hands_on};
use crate::zmq::peer::{Peer, Unused};
use crate::zmq::refusals::Refusals;
use crate::zmq::stream::Listening;
use crate::zmq::terms::Terms;
use crate::zmq::topics::Topics;

/// What the set names beside peers and endpoints.
const TIMER: u64 = 0;
const FIRST: u64 = 1;

/// Calls that never wait look so often at what happens besides.
pub(super) const LOOKS_EVERY: Duration = Duration::from_millis(5);

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
    /// Short messages wait for more, to be written together.
    pub(super) is_lazy: bool,
    pub(super) last_head: LastHead,
    endpoints: Endpoints,
    /// What peers are told that this side is called.
    pub(super) identity: Vec<u8>,
    /// Peers by the names that a ROUTER has for them.
    identities: BTreeMap<Vec<u8>, u64>,
    /// Topics that this side wants, each as often as it was asked for.
    pub(super) wanted: Topics,
    /// What subscribers want, for an XPUB.
    feed: Feed,
    /// Messages that were dropped for want of room in a queue.
    pub(super) dropped: u64,
    timer: Timer,
    timer_at: Option<Instant>,
    /// Until when a peer must have said who it is.
    greeting: BTreeMap<u64, Instant>,
    /// Since when the message that has stood still longest does.
    still: Option<Instant>,
    /// When the peers hear from us whose pings are not seen.
    pulse_at: Option<Instant>,
    /// When a peer is to be looked at that may be gone.
    beat_at: Option<Instant>,
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

/// Messages that were taken together with one that was returned.
pub(super) type Inbox = VecDeque<Result<Arrived, Error>>;

/// Why nothing was taken from a peer.
pub(super) enum Taken {
    Message(u64, Arrived),
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
            is_lazy: false,
            last_head: LastHead::default(),
            endpoints: Endpoints::default(),
            identity: Vec::new(),
            identities: BTreeMap::new(),
            wanted: Topics::default(),
            feed: Feed::default(),
            dropped: 0,
            timer,
            timer_at: None,
            greeting: BTreeMap::new(),
            still: None,
            pulse_at: None,
            beat_at: None,
            next: FIRST,
            told: Instant::now(),
            taken: 0,
            given: 0,
            refusals: Arc::default(),
        })
    }

    pub(super) fn listen(&mut self, listening: Listening, events: &Events) -> io::Result<()> {
        let token = self.token();
        self.endpoints.listen(token, listening, events)
    }

    pub(super) fn connect(&mut self, dial: Dial) {
        let token = self.token();
        self.endpoints.connect(token, dial);
        // The timer does not know of it yet.
        self.has_changed = true;
    }

    fn token(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Every message is wanted, on a socket that subscribes.
    pub(super) fn subscribe_to_all(&mut self) {
        if self.terms.pattern.subscribes() {
            // The first one is within every limit.
            let _ = self.wanted.add(b"");
        }
    }

    /// Why there is no connection.
    pub(super) fn why(&mut self) -> io::Error {
        self.endpoints.why()
    }

    /// True if the last attempt to connect has shown that the next one would end as it did.
    pub(super) fn is_refused(&self) -> bool {
        self.endpoints.are_refused()
    }

    /// Ends listening and connecting: no peer comes any more.
    pub(super) fn leave(&mut self, events: &Events) {
        self.endpoints.leave(events);
    }

    /// Ends the endpoint of that name, and the connections that it made. False if there is none.
    pub(super) fn forget(&mut self, name: &str, events: &Events) -> bool {
        let Some(endpoint) = self.endpoints.remove(name, events) else {
            return false;
        };
        let peers = self.peers.iter();
        let peers = peers.filter(|(_, peer)| peer.endpoint == endpoint && peer.is_dialled);
        let tokens: Vec<u64> = peers.map(|(token, _)| *token).collect();
        for token in tokens {
            self.lose(token, Lost::Ended, events);
        }
        true
    }

    /// Bytes that are copied to seal a message with a payload of `len` bytes for a peer.
    pub(super) fn sealed(&self, len: usize) -> u64 {
        if self.terms.security.seals() {
            len as u64
        } else {
            0
        }
    }

    /// True if messages wait for a peer, or for the kernel.
    pub(super) fn owes(&self) -> bool {
        !self.orphans.is_empty() || self.peers.values().any(|peer| !peer.outbound.is_empty())
    }

    /// True if it was not told for a while what is ready.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.told) >= LOOKS_EVERY
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
                TIMER => {}
                token => {
                    if self.attend(token, events) {
                        continue;
                    }
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
        self.is_lazy = false;
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
        match found {
            Ok(_) => self.serve(token, events),
            Err(lost) => self.lose(token, lost, events),
        }
    }

    /// Something has come from the peer: it gets what it is owed.
    fn serve(&mut self, token: u64, events: &Events) {
        let served = self.welcome(token);
        self.heed(token);
        let written = match (served, self.peers.get_mut(&token)) {
            (Ok(()), Some(peer)) => peer.write(&mut self.unused),
            (served, _) => served,
        };
        if let Err(lost) = written {
            self.lose(token, lost, events);
        }
        self.forsake(token);
        // What it had in its queue may have left room.
        self.hand_on();
    }

    /// A peer that takes nothing any more is still read to its end; what waits for it goes to others, or is lost.
    pub(super) fn forsake(&mut self, token: u64) {
        let is_new = |peer: &Peer| peer.is_deaf && !peer.is_settled;
        if !self.peers.get(&token).is_some_and(is_new) {
            return;
        }
        if let Some(mut peer) = self.peers.remove(&token) {
            self.settle(&mut peer);
            peer.outbound = Outbound::default();
            self.peers.insert(token, peer);
            self.has_changed = true;
        }
    }

    /// Notes what a subscriber wants from now on.
    fn heed(&mut self, token: u64) {
        let Some(peer) = self.peers.get_mut(&token) else {
            return;
        };
        for (is_wanted, topic) in peer.changes.drain(..) {
            match is_wanted {
                true => self.feed.add(&topic),
                false => self.feed.remove(&topic),
            }
        }
    }

    /// What the program of an XPUB is to be told next.
    pub(super) fn next_subscription(&mut self) -> Option<Vec<u8>> {
        self.feed.next()
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

    /// The peer that a ROUTER knows by this name.
    pub(super) fn find(&self, name: &[u8]) -> Option<(u64, &Peer)> {
        let token = self.identities.get(name)?;
        let peer = self.peers.get(token).filter(|peer| !peer.is_deaf)?;
        Some((*token, peer))
    }

    /// The connection has ended.
    pub(super) fn lose(&mut self, token: u64, lost: Lost, events: &Events) {
        self.heed(token);
        let Some(mut peer) = self.peers.remove(&token) else {
            return;
        };
        self.has_changed = true;
        if peer.waits_for.is_some() {
            let _ = events.remove(&peer.stream);
        }
        let was_greeting = self.end_greeting(token);
        let is_cut = peer.is_amid();
        if self.identities.get(&peer.identity) == Some(&token) {
            self.identities.remove(&peer.identity);
        }
        if self.terms.pattern == Pattern::XPub {
            let topics = peer.topics.iter();
            topics.for_each(|topic| self.feed.remove(topic));
        }
        self.settle(&mut peer);
        if matches!(self.asked, Asked::Peer { token: asked, .. } if asked == token) {
            self.asked = Asked::Gone(peer.stream.name.clone());
        }
        if matches!(lost, Lost::Fault(_)) {
            peer.say_farewell();
        }
        // Its memory is given back when no lock is held, its place now.
        peer.charge = None;
        let name = std::mem::take(&mut peer.stream.name);
        let is_fault = was_greeting || is_cut || lost.is_fault();
        if peer.is_dialled {
            let is_refused = was_greeting && lost.is_refusal();
            self.endpoints
                .failed(peer.endpoint, lost.into_io(), is_refused);
        } else if is_fault {
            let source = Box::new(lost.explain(&name));
            self.refusals.note(Error::Handshake { peer: name, source });
        }
        self.unused.peers.push(peer);
        self.hand_on();
    }

    /// Keeps the messages of a peer that is gone for others, if they may have them. The rest of what it has not is lost.
    fn settle(&mut self, peer: &mut Peer) {
        let was_settled = std::mem::replace(&mut peer.is_settled, true);
        if was_settled || !peer.is_open() || !self.terms.pattern.sends() {
            return;
        }
        let mut lost = peer.stream.unacknowledged() as u64;
        if hands_on(self.terms.pattern) {
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
    pub(super) fn hand_on(&mut self) {
        while let Some(len) = self.orphans.front().map(Frames::left) {
            let Some(token) = self.next_with_room(len, false) else {
                return;
            };
            let peer = self.peers.get_mut(&token);
            let Some((peer, frames)) = peer.zip(self.orphans.pop_front()) else {
                return;
            };
            peer.outbound.push(frames);
            self.has_changed = true;
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
