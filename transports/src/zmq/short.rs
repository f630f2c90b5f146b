//! Short messages, which are copied to where they wait: one write takes many of them.
//!
//! A message that comes alone is written at once. In a burst, one that comes soon after the last write waits until there
//! are enough for a write of some length, until a call waits for something, or a millisecond for the keeper.

use std::time::Duration;

use numpush_os::Events;

use crate::error::{Error, Operation};
use crate::transfer::Transfer;
use crate::transport::Context;
use crate::zmq::calls::{Calls, gone};
use crate::zmq::core::Call;
use crate::zmq::parcel::Parcel;
use crate::zmq::pattern::{Pattern, hands_on};
use crate::zmq::peer::Peer;
use crate::zmq::state::State;

/// Longest message that is copied: bytes of its frames, but for the head.
pub(super) const SHORT: usize = 4 << 10;

/// So many bytes are written at once.
const MANY: u64 = 32 << 10;

/// A message that comes so long after the last write goes at once.
const LONE: Duration = Duration::from_micros(50);

/// What a frame has beside its body, and what a head is expected to have.
const BESIDE: u64 = 128;

impl Calls {
    pub(super) fn send_short(
        &self,
        call: &mut Call<'_>,
        to: Option<&[u8]>,
        frames: &Short<'_>,
        cx: &Context<'_>,
    ) -> Result<Transfer, Error> {
        let mut transfer = frames.parcel.transfer();
        let copied = frames.len as u64 + call.state().sealed(frames.len);
        if frames.is_empty() {
            return Err(self.unsupported(Operation::Send, "a message has at least one frame"));
        }
        let len = frames.len as u64 + BESIDE;
        if self.pattern().publishes() {
            transfer.copied += copied * publish(call, frames, len)?;
            return Ok(transfer);
        }
        // Whoever is asked must get the question.
        if let Parcel::Message(message) = frames.parcel {
            let checked = call.state().last_head.plain(message);
            checked.map_err(Error::Message)?;
        }
        let token = loop {
            let token = match to {
                Some(to) => Some(self.find(call, to, len)?),
                None => self.choose(call, len, false, cx)?,
            };
            if let Some(token) = token {
                break token;
            }
            if !self.wait(call, cx, None)? {
                return Err(cx.timeout(Operation::Send));
            }
        };
        let waits = !matches!(self.pattern(), Pattern::Req | Pattern::Rep);
        let now = call.now;
        let (state, events) = call.parts();
        frames.push(state, token)?;
        transfer.copied += copied;
        self.gave(state, token);
        transfer.system_calls = state.write_short(token, waits.then_some(now), events);
        match state.peers.get(&token) {
            Some(peer) if peer.is_arranged() => call.light(),
            Some(_) => {}
            None if hands_on(self.pattern()) => {}
            None => return Err(gone(cx)),
        }
        Ok(transfer)
    }
}

/// Sends a message to each peer that wants it. One whose queue is full does not get it. Returns how many do.
fn publish(call: &mut Call<'_>, frames: &Short<'_>, len: u64) -> Result<u64, Error> {
    let now = call.now;
    let (state, events) = call.parts();
    // Subscriptions that have come count from now on.
    if !state.is_lazy {
        state.step(events);
    }
    state.lost = None;
    let first = Vec::from(frames.first(state)?);
    let window = state.terms.window;
    let mut tokens = Vec::new();
    for (token, peer) in &mut state.peers {
        if !peer.is_open() || !peer.topics.want(&first) {
            continue;
        }
        if peer.has_room(len, window) {
            tokens.push(*token);
        } else {
            peer.dropped += 1;
            state.dropped += 1;
        }
    }
    let mut is_light = true;
    let count = tokens.len() as u64;
    for token in tokens {
        frames.push(state, token)?;
        state.write_short(token, Some(now), events);
        is_light &= state.peers.get(&token).is_some_and(Peer::is_arranged);
    }
    if is_light {
        call.light();
    }
    Ok(count)
}

/// The frames of a short message.
pub(super) struct Short<'m> {
    lead: &'m [Vec<u8>],
    envelope: &'m [&'m [u8]],
    parcel: Parcel<'m>,
    /// Bytes of its buffers, or frames.
    len: usize,
}

impl<'m> Short<'m> {
    pub(super) fn new(lead: &'m [Vec<u8>], envelope: &'m [&'m [u8]], parcel: Parcel<'m>) -> Self {
        Self {
            lead,
            envelope,
            parcel,
            len: parcel.len(),
        }
    }

    /// True if it really is.
    pub(super) fn is_short(&self) -> bool {
        let before: usize = self.envelope.iter().map(|frame| frame.len()).sum();
        // Each frame has a head of its own.
        let frames = match self.parcel {
            Parcel::Message(_) => 0,
            Parcel::Frames(frames) => 9 * frames.len(),
        };
        before.saturating_add(self.len).saturating_add(frames) <= SHORT
    }

    fn is_empty(&self) -> bool {
        let none = matches!(self.parcel, Parcel::Frames([]));
        none && self.lead.is_empty() && self.envelope.is_empty()
    }

    /// What subscriptions are compared with.
    fn first<'s>(&'s self, state: &'s mut State) -> Result<&'s [u8], Error> {
        Ok(match (self.envelope, self.parcel) {
            ([first, ..], _) => first,
            ([], Parcel::Frames(frames)) => frames.first().map_or(&[][..], |frame| frame),
            ([], Parcel::Message(message)) => {
                state.last_head.plain(message).map_err(Error::Message)?
            }
        })
    }

    /// Queues a copy for a peer.
    fn push(&self, state: &mut State, token: u64) -> Result<(), Error> {
        let State {
            peers, last_head, ..
        } = state;
        let Some(peer) = peers.get_mut(&token) else {
            return Ok(());
        };
        let lead = self.lead.iter().map(Vec::as_slice);
        let before = lead.chain(self.envelope.iter().copied());
        match self.parcel {
            Parcel::Message(message) => {
                let head = last_head.plain(message).map_err(Error::Message)?;
                let buffers = message.buffers().map(|buffer| &**buffer);
                let all = before.chain([head]).chain(buffers);
                peer.outbound.push_copies(all);
            }
            Parcel::Frames(frames) => {
                let frames = frames.iter().map(|frame| &**frame);
                peer.outbound.push_copies(before.chain(frames));
            }
        }
        Ok(())
    }
}

impl State {
    /// Writes what waits for a peer, if that is much, or if it did not wait lately. Returns the number of system calls.
    fn write_short(&mut self, token: u64, now: Option<std::time::Instant>, events: &Events) -> u32 {
        let Some(peer) = self.peers.get_mut(&token) else {
            return 0;
        };
        let is_lone = now.is_none_or(|now| now.saturating_duration_since(peer.written) >= LONE);
        if !is_lone && peer.outbound.left() < MANY {
            self.is_lazy = true;
            return 0;
        }
        if let Some(now) = now {
            peer.written = now;
        }
        match peer.write(&mut self.unused) {
            Err(lost) => self.lose(token, lost, events),
            Ok(()) => self.forsake(token),
        }
        1
    }
}
