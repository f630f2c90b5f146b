//! Who comes: from the first byte of a handshake until it has a place among the peers.

use std::io;
use std::time::Instant;

use numpush_os::Events;

use crate::budget::{Budget, Charge, Item};
use crate::zmq::lost::{HANDSHAKE, Lost};
use crate::zmq::peer::Peer;
use crate::zmq::state::{PAUSE, State};
use crate::zmq::stream::Stream;

/// Most peers of a socket whose budget has no limit for connections.
const MOST_PEERS: u64 = 1000;

/// Most peers that are let in with one look.
const BATCH: usize = 128;

impl State {
    /// Lets in who has connected.
    pub(super) fn accept(&mut self, events: &Events) {
        let Some(listening) = &self.listening else {
            return;
        };
        let mut came = Vec::new();
        // The others come with the next event.
        while came.len() < BATCH {
            match listening.accept() {
                Ok(stream) => came.push(stream),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                // Descriptors are short, or memory.
                Err(_) => {
                    let _ = events.remove(listening);
                    self.is_paused = Some(Instant::now() + PAUSE);
                    self.has_changed = true;
                    break;
                }
            }
        }
        for stream in came {
            let charge = self.make_place(events);
            self.greet(stream, false, charge);
        }
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

    pub(super) fn greet(&mut self, stream: Stream, is_dialled: bool, charge: Option<Charge>) {
        let token = self.next;
        self.next += 1;
        let mut peer = Peer::new(stream, &self.terms, is_dialled);
        peer.charge = charge;
        self.peers.insert(token, peer);
        self.greeting.insert(token, Instant::now() + HANDSHAKE);
        self.refusals.set_handshakes(self.greeting.len());
        self.has_changed = true;
    }

    /// The peer may have become ready: it gets what others have left.
    pub(super) fn welcome(&mut self, token: u64, events: &Events) {
        if !self.peers.get(&token).is_some_and(Peer::is_open) {
            return;
        }
        let is_new = self.end_greeting(token);
        let peers = (self.peers.len() - self.greeting.len()) as u64;
        if let Some(peer) = self.peers.get_mut(&token).filter(|_| is_new) {
            if !peer.is_dialled {
                match admit(&self.terms.budget, peers) {
                    Ok(charge) => peer.charge = Some(charge),
                    Err(limit) => return self.lose(token, Lost::Full(limit), events),
                }
            } else if let Some(dial) = &mut self.dial {
                dial.succeeded();
            }
        }
        self.hand_on();
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
