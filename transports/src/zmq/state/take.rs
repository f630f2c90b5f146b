//! Messages that come.

use std::time::Instant;

use numpush_message::BufferAllocator;
use numpush_os::Events;

use crate::error::Error;
use crate::zmq::arrival::Arrived;
use crate::zmq::lost::Lost;
use crate::zmq::pattern::Pattern;
use crate::zmq::peer::Found;
use crate::zmq::state::{Asked, Inbox, LOOKS_EVERY, State, Taken};

/// So many short messages are taken with one look at the most, and a longer one is the last.
const MOST_READY: usize = 64;
const SHORTEST_LARGE: u64 = 4 << 10;

impl State {
    /// The next message that has come, from the peers in turn. For the rest of one it may wait, if the call `waits`.
    pub(in crate::zmq) fn take(
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
        // It may say who it is and send with one write.
        let found = found.and_then(|found| match self.welcome(token) {
            Ok(()) => Ok(found),
            Err(lost) => {
                self.unused.found.push(found);
                Err(lost)
            }
        });
        let Some(peer) = self.peers.get_mut(&token) else {
            return Taken::Nothing;
        };
        // From now on it may stand still.
        self.has_changed |= peer.is_waited_for() && peer.still.is_none();
        let name = || peer.stream.name.clone();
        let taken = match found {
            Ok(Found::Nothing) => Taken::Nothing,
            Ok(Found::Message(mut arrived)) => {
                if self.terms.pattern == Pattern::Router {
                    arrived.envelope.insert(0, peer.identity.clone());
                }
                Taken::Message(token, arrived)
            }
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
        self.serve(token, events);
        taken
    }

    /// False for what a SUB has not subscribed to.
    pub(in crate::zmq) fn is_wanted(&self, arrived: &Arrived) -> bool {
        self.terms.pattern != Pattern::Sub || self.wanted.want(arrived.first())
    }

    /// Takes the messages that have come whole behind one of the same peer, as long as they are short.
    pub(in crate::zmq) fn take_more(
        &mut self,
        token: u64,
        allocator: &mut dyn BufferAllocator,
        events: &Events,
        inbox: &mut Inbox,
    ) {
        while inbox.len() < MOST_READY {
            let Some(peer) = self.peers.get_mut(&token) else {
                return;
            };
            let found = peer.take_ready(allocator);
            peer.take_unused(&mut self.unused);
            match found {
                Ok(Found::Message(mut arrived)) => {
                    if self.terms.pattern == Pattern::Router {
                        arrived.envelope.insert(0, peer.identity.clone());
                    }
                    let is_short = arrived.transfer.bytes <= SHORTEST_LARGE;
                    match self.is_wanted(&arrived) {
                        true => inbox.push_back(Ok(arrived)),
                        false => self.unused.found.push(Found::Message(arrived)),
                    }
                    if !is_short {
                        return;
                    }
                }
                Ok(Found::Refused(source)) => {
                    let peer = peer.stream.name.clone();
                    return inbox.push_back(Err(Error::Skipped { peer, source }));
                }
                Ok(_) => return,
                Err(lost) => return self.lose(token, lost, events),
            }
        }
    }

    /// The answer has come: what else its peer says is none.
    pub(in crate::zmq) fn answered(&mut self) {
        if let Asked::Peer { token, .. } = std::mem::replace(&mut self.asked, Asked::Nobody)
            && let Some(peer) = self.peers.get_mut(&token)
        {
            peer.is_asked = false;
        }
    }

    /// Gives up the question for which a call has waited in vain, and with it the connection: a late answer would be taken for
    /// that to the next one. False if an answer is still awaited.
    pub(in crate::zmq) fn forget_question(&mut self, events: &Events) -> bool {
        match self.asked {
            Asked::Peer { in_vain: false, .. } => return false,
            Asked::Peer { token, .. } => self.lose(token, Lost::Ended, events),
            _ => {}
        }
        self.asked = Asked::Nobody;
        true
    }
}
