//! The calls of a socket.

mod recv;
mod send;

use std::sync::Arc;
use std::time::Duration;

use numpush_message::Message;

use crate::deadline::{Backoff, Deadline};
use crate::error::{Error, Operation};
use crate::origin::Origin;
use crate::transfer::{Capabilities, Received, Transfer};
use crate::transport::{Context, Transport};
use crate::zmq::arrival::Content;
use crate::zmq::core::{Call, Core};
use crate::zmq::parcel::Parcel;
use crate::zmq::pattern::{Pattern, name};
use crate::zmq::state::Inbox;
use crate::zmq::terms::LONGEST_TOPIC;

/// A socket with all its peers, as a connection has it, or a `Socket`.
pub(super) struct Calls {
    core: Arc<Core>,
    pattern: Pattern,
    origin: Origin,
    is_closed: bool,
    /// A drop waits for what is on its way.
    lingers: bool,
    inbox: Inbox,
}

impl Calls {
    pub(super) fn new(core: Arc<Core>, pattern: Pattern) -> Self {
        Self {
            core,
            pattern,
            origin: Origin::here(),
            is_closed: false,
            lingers: true,
            inbox: Inbox::new(),
        }
    }

    pub(super) fn pattern(&self) -> Pattern {
        self.pattern
    }

    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    pub(super) fn core(&self) -> Arc<Core> {
        Arc::clone(&self.core)
    }

    /// Wants messages that begin with `topic`, or wants them once less.
    pub(super) fn subscribe(&self, topic: &[u8], is_wanted: bool) -> Result<(), Error> {
        if !self.pattern.subscribes() {
            return Err(self.unsupported(Operation::Subscribe, "it has no topics"));
        }
        if topic.len() > LONGEST_TOPIC {
            return Err(self.unsupported(Operation::Subscribe, "a topic has 4 KiB at most"));
        }
        let mut call = self.core.enter();
        let (state, events) = call.parts();
        let has_changed = match is_wanted {
            true => state.wanted.add(topic).map_err(|_| {
                let reason = "a socket has 10,000 topics at most, and 1 MiB of them";
                self.unsupported(Operation::Subscribe, reason)
            })?,
            false => state.wanted.remove(topic),
        };
        if has_changed {
            let peers = state.peers.values_mut().filter(|peer| peer.is_open());
            peers.for_each(|peer| peer.subscribe_to(topic, is_wanted));
            state.step(events);
        }
        Ok(())
    }

    /// Drops what was taken before its topic was given up.
    pub(super) fn drop_unwanted(&mut self) {
        let mut inbox = std::mem::take(&mut self.inbox);
        let wanted: Vec<bool> = self.core.look(|state| {
            let wants = |next: &Result<_, _>| next.as_ref().map_or(true, |it| state.is_wanted(it));
            inbox.iter().map(wants).collect()
        });
        let mut wanted = wanted.into_iter();
        inbox.retain(|_| wanted.next().unwrap_or(true));
        self.inbox = inbox;
    }

    pub(super) fn unsupported(&self, operation: Operation, reason: &'static str) -> Error {
        Error::Unsupported {
            transport: name(self.pattern),
            operation,
            reason,
        }
    }

    /// Waits until something has happened, for `most` at the longest. False if the time of the call is over.
    pub(super) fn wait(
        &self,
        call: &mut Call<'_>,
        cx: &Context<'_>,
        most: Option<Duration>,
    ) -> Result<bool, Error> {
        let waited = call.wait(cx.deadline, most);
        let waited = waited.map_err(Error::io(Operation::Wait, cx.peer))?;
        let (state, events) = call.parts();
        state.step(events);
        Ok(waited)
    }

    /// Waits until all that was sent is with the kernels of the peers, or lost with its connection.
    fn drain(&self, deadline: Deadline) -> Drained {
        let mut call = self.core.enter();
        let mut backoff = Backoff::new();
        while self.pattern.sends() {
            let (state, events) = call.parts();
            state.step(events);
            let owes = state.owes();
            if !owes && state.unacknowledged() == 0 {
                break;
            }
            // The kernel does not say when something is acknowledged.
            let most = if owes { None } else { Some(backoff.advance()) };
            if deadline.has_passed() || call.wait(deadline, most).is_err() {
                return Drained::Late;
            }
        }
        let state = call.state();
        state.end_writing();
        match state.lost.take() {
            Some((peer, missing)) => Drained::Lost { peer, missing },
            None => Drained::Whole,
        }
    }
}

/// How a wait for the peers has ended.
enum Drained {
    Whole,
    Late,
    /// A connection has ended on which bytes were on their way. Nobody knows which of them its peer has.
    Lost {
        peer: String,
        missing: u64,
    },
}

pub(super) fn gone(cx: &Context<'_>) -> Error {
    Error::Disconnected {
        peer: cx.peer.to_owned(),
        missing: 0,
    }
}

impl Transport for Calls {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            two_way: self.pattern.sends() && self.pattern.receives(),
            acknowledges: false,
            notices_death: false,
            limits_size: true,
            passes_descriptors: false,
            fills_allocator: true,
        }
    }

    fn send(&mut self, message: &Message<'_>, cx: &mut Context<'_>) -> Result<Transfer, Error> {
        self.send_parcel(&[], Parcel::Message(message), cx)
    }

    fn recv(&mut self, cx: &mut Context<'_>) -> Result<Received, Error> {
        let arrived = self.recv_parcel(cx)?;
        match arrived.content {
            Content::Message(message) => Ok(Received::new(message, arrived.transfer)),
            // It takes none.
            Content::Frames(_) => Err(cx.failed()),
        }
    }

    fn flush(&mut self, _: &mut Context<'_>) -> Result<(), Error> {
        Err(self.unsupported(Operation::Flush, "nothing is acknowledged"))
    }

    fn close(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        // The caller has waited as long as it would: the drop does not.
        self.lingers = false;
        let drained = self.drain(cx.deadline);
        if matches!(drained, Drained::Late) {
            return Err(cx.timeout(Operation::Close));
        }
        self.is_closed = true;
        // Nobody is greeted, or dialled, for a socket that is closed.
        let mut call = self.core.enter();
        let (state, events) = call.parts();
        state.leave(events);
        match drained {
            Drained::Lost { peer, missing } => Err(Error::Disconnected { peer, missing }),
            _ => Ok(()),
        }
    }
}

impl Drop for Calls {
    /// Writes out what waits. What a forked child drops is its parent's.
    fn drop(&mut self) {
        if self.origin.is_here() {
            if self.lingers {
                let linger = self.core.look(|state| state.terms.linger);
                self.drain(Deadline::after(linger));
            }
            let mut call = self.core.enter();
            let (state, events) = call.parts();
            state.leave(events);
        }
    }
}
