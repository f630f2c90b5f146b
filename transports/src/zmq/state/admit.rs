//! Who comes: from the first byte of a handshake until it has a place among the peers.

use std::collections::BTreeMap;
use std::time::Instant;

use numpush_os::Events;
use numpush_zmtp::Fault;

use crate::budget::{Budget, Charge, Item};
use crate::zmq::lost::{HANDSHAKE, Lost};
use crate::zmq::pattern::Pattern;
use crate::zmq::peer::Peer;
use crate::zmq::state::State;
use crate::zmq::stream::Stream;

/// Most peers of a socket whose budget has no limit for connections.
const MOST_PEERS: u64 = 1000;

/// Most peers that are let in with one look.
const BATCH: usize = 128;

impl State {
    /// Lets in who has connected at an endpoint, or goes on with a look-up. False if `token` is no endpoint.
    pub(super) fn attend(&mut self, token: u64, events: &Events) -> bool {
        let before = self.endpoints.at();
        let Some(came) = self.endpoints.ready(token, BATCH, events) else {
            return false;
        };
        // The timer does not know it yet.
        self.has_changed |= self.endpoints.at() != before;
        for stream in came {
            let charge = self.make_place(events);
            self.greet(stream, token, false, charge);
        }
        true
    }

    /// Takes a handshake of the budget, if need be that of the oldest, unless that one has said meanwhile who it is. A socket may
    /// always have one.
    pub(super) fn make_place(&mut self, events: &Events) -> Option<Charge> {
        loop {
            let limit = match self.terms.budget.take(Item::Handshake) {
                Ok(charge) => return Some(charge),
                Err(limit) => limit,
            };
            let has_come = |token: &&u64| self.peers.get(token).is_some_and(|it| !it.is_dialled);
            let oldest = *self.greeting.keys().find(has_come)?;
            self.exchange(oldest, events);
            if self.greeting.contains_key(&oldest) {
                self.lose(oldest, Lost::Evicted(limit), events);
            }
        }
    }

    pub(super) fn greet(
        &mut self,
        stream: Stream,
        endpoint: u64,
        is_dialled: bool,
        charge: Option<Charge>,
    ) {
        let token = self.token();
        let mut peer = Peer::new(stream, &self.terms, &self.identity);
        (peer.endpoint, peer.is_dialled, peer.charge) = (endpoint, is_dialled, charge);
        self.peers.insert(token, peer);
        self.greeting.insert(token, Instant::now() + HANDSHAKE);
        self.refusals.set_handshakes(self.greeting.len());
        self.has_changed = true;
    }

    /// The peer may have become ready: it gets its place, and what others have left.
    pub(super) fn welcome(&mut self, token: u64) -> Result<(), Lost> {
        if !self.peers.get(&token).is_some_and(Peer::is_open) {
            return Ok(());
        }
        if self.end_greeting(token) {
            self.place(token)?;
        }
        self.hand_on();
        Ok(())
    }

    fn place(&mut self, token: u64) -> Result<(), Lost> {
        let pattern = self.terms.pattern;
        let peers = (self.peers.len() - self.greeting.len()) as u64;
        let is_first = |(other, peer): (&u64, &Peer)| *other != token && peer.is_open();
        let is_second = pattern == Pattern::Pair && self.peers.iter().any(is_first);
        let Some(peer) = self.peers.get_mut(&token) else {
            return Ok(());
        };
        match peer.is_dialled {
            true => self.endpoints.succeeded(peer.endpoint),
            false => peer.charge = Some(admit(&self.terms.budget, peers).map_err(Lost::Full)?),
        }
        if is_second {
            return Err(Fault::Violation("a PAIR has its one peer already").into());
        }
        peer.begin_heartbeat(self.terms.heartbeat);
        self.has_changed = true;
        if pattern.subscribes() {
            let wanted = self.wanted.iter();
            wanted.for_each(|topic| peer.subscribe_to(topic, true));
        }
        if pattern == Pattern::Router {
            peer.identity = name_for(&self.identities, peer, token)?;
            self.identities.insert(peer.identity.clone(), token);
        }
        Ok(())
    }

    /// It is known who the peer is, or it is gone. True if it was not known before.
    pub(super) fn end_greeting(&mut self, token: u64) -> bool {
        let was_greeting = self.greeting.remove(&token).is_some();
        if was_greeting {
            self.refusals.set_handshakes(self.greeting.len());
        }
        was_greeting
    }
}

/// The place of a new one of so many peers. Fails with the limit that is reached.
fn admit(budget: &Budget, peers: u64) -> Result<Charge, u64> {
    let limit = match budget.status().connections.limit {
        u64::MAX => MOST_PEERS,
        limit => limit,
    };
    if peers > limit {
        return Err(limit);
    }
    budget.take(Item::Connection)
}

/// The name that a ROUTER has for a peer: its own one, or five bytes that begin with a zero, as no name of a program's does.
fn name_for(taken: &BTreeMap<Vec<u8>, u64>, peer: &Peer, token: u64) -> Result<Vec<u8>, Lost> {
    let Some(first) = peer.identity.first() else {
        let number = u32::try_from(token & u64::from(u32::MAX)).unwrap_or(0);
        let mut name = vec![0];
        name.extend(number.to_be_bytes());
        return Ok(name);
    };
    let fault = if *first == 0 {
        "a name that begins with a zero is none that a peer may have"
    } else if taken.contains_key(&peer.identity) {
        "another peer has that name"
    } else {
        return Ok(peer.identity.clone());
    };
    Err(Fault::Violation(fault).into())
}
