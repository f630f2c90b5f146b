//! Sending.

use std::time::{Duration, Instant};

use crate::error::{Error, Operation};
use crate::transfer::Transfer;
use crate::transport::Context;
use crate::zmq::calls::{Calls, gone};
use crate::zmq::core::Call;
use crate::zmq::parcel::{Parcel, Sending, check_room, owned};
use crate::zmq::pattern::{Pattern, hands_on};
use crate::zmq::short::Short;
use crate::zmq::state::{Asked, LOOKS_EVERY, State};
use crate::zmq::terms::{LONGEST_BEFORE, MOST_BEFORE};

/// How long a call that could leave the rest of a message to the keeper waits for the peer to read.
const PATIENCE: Duration = Duration::from_millis(20);

impl Calls {
    /// Sends the frames `envelope`, and what they stand before. On a ROUTER the first frame of all names the peer.
    pub(in crate::zmq) fn send_parcel(
        &mut self,
        envelope: &[&[u8]],
        parcel: Parcel<'_>,
        cx: &Context<'_>,
    ) -> Result<Transfer, Error> {
        if !self.pattern.sends() {
            return Err(self.unsupported(Operation::Send, "it only receives"));
        }
        if self.is_closed {
            return Err(cx.failed());
        }
        if self.pattern == Pattern::XSub {
            return self.send_subscription(envelope, parcel);
        }
        let (mut to, mut envelope, mut parcel) = (None, envelope, parcel);
        if self.pattern == Pattern::Router {
            let reason = "no frame before the message names the peer that gets it";
            let named = parcel.split_name(envelope);
            let named = named.ok_or_else(|| self.unsupported(Operation::Send, reason))?;
            (to, envelope, parcel) = (Some(named.name), named.rest, named.parcel);
        }
        let is_long = |frame: &&[u8]| frame.len() > LONGEST_BEFORE;
        if let Parcel::Message(_) = parcel
            && (envelope.len() > MOST_BEFORE || envelope.iter().any(is_long))
        {
            let reason = "a message has at most 16 frames before it, each of 4 KiB at most";
            return Err(self.unsupported(Operation::Send, reason));
        }
        let mut call = self.core.enter();
        let lead = self.lead(&mut call)?;
        let frames = Short::new(&lead, envelope, parcel);
        if frames.is_short() {
            return self.send_short(&mut call, to, &frames, cx);
        }
        let mut sending = parcel.frames(&lead, envelope)?;
        if sending.len == 0 {
            return Err(self.unsupported(Operation::Send, "a message has at least one frame"));
        }
        sending.is_borrowed &= !cx.deadline.is_none();
        let sealed = call.state().sealed(parcel.len());
        match self.pattern {
            Pattern::Pub | Pattern::XPub => Ok(self.publish(&mut call, sending, sealed)),
            _ => {
                sending.transfer.copied += sealed;
                self.give(&mut call, to, sending, cx)
            }
        }
    }

    /// What an XSUB sends: a frame that says what it wants.
    fn send_subscription(&self, envelope: &[&[u8]], parcel: Parcel<'_>) -> Result<Transfer, Error> {
        if let ([], Parcel::Frames([frame])) = (envelope, parcel)
            && let Some((is_wanted @ (0 | 1), topic)) = frame.split_first()
        {
            self.subscribe(topic, *is_wanted == 1)?;
            return Ok(Transfer::default());
        }
        let reason = "it sends one frame: a 1 or a 0, and a topic";
        Err(self.unsupported(Operation::Send, reason))
    }

    /// Frames that go before those of the caller's.
    pub(in crate::zmq) fn lead(&self, call: &mut Call<'_>) -> Result<Vec<Vec<u8>>, Error> {
        match self.pattern {
            Pattern::Req if !has_no_question(call) => Err(self.unsupported(
                Operation::Send,
                "the answer to its last request has not come: receive it, or until a call has timed out",
            )),
            Pattern::Req => Ok(vec![Vec::new()]),
            Pattern::Rep => match &call.state().answering {
                Some((_, back)) => Ok(back.clone()),
                None => Err(self.unsupported(Operation::Send, "nobody has asked it")),
            },
            _ => Ok(Vec::new()),
        }
    }

    /// Sends a message to a subscriber of its first bytes, to all of them. One whose queue is full does not get it. For each `sealed`
    /// bytes are copied.
    fn publish(&self, call: &mut Call<'_>, mut sending: Sending<'_>, sealed: u64) -> Transfer {
        let (frames, copied) = owned(sending.frames);
        sending.transfer.copied += copied;
        let (state, events) = call.parts();
        // Subscriptions that have come count from now on.
        state.step(events);
        let window = state.terms.window;
        state.lost = None;
        for peer in state.peers.values_mut() {
            if !peer.is_open() || !peer.topics.want(&sending.first) {
                continue;
            }
            if peer.has_room(sending.len, window) {
                peer.outbound.push(frames.clone());
                sending.transfer.copied += sealed;
            } else {
                peer.dropped += 1;
                state.dropped += 1;
            }
        }
        state.step(events);
        sending.transfer
    }

    /// Sends a message to one peer: the next one that has room, or the one that has asked.
    fn give(
        &self,
        call: &mut Call<'_>,
        to: Option<&[u8]>,
        mut sending: Sending<'_>,
        cx: &Context<'_>,
    ) -> Result<Transfer, Error> {
        loop {
            let token = match to {
                Some(to) => Some(self.find(call, to, sending.len)?),
                None => self.choose(call, sending.len, sending.is_borrowed, cx)?,
            };
            let Some(token) = token else {
                if !self.wait(call, cx, None)? {
                    return Err(cx.timeout(Operation::Send));
                }
                continue;
            };
            match self.write(call, token, &mut sending, cx) {
                // The peer is gone, and has nothing whole: another one gets it.
                Ok(false) if hands_on(self.pattern) => sending.frames.rewind(),
                Ok(false) => return Err(gone(cx)),
                Ok(true) => {
                    self.gave(call.state(), token);
                    return Ok(keep_rest(call, token, sending));
                }
                Err(error) => return Err(self.give_up(call, token, sending, error)),
            }
        }
    }

    /// The peer gets the message: whose turn it is now.
    pub(in crate::zmq) fn gave(&self, state: &mut State, token: u64) {
        state.lost = None;
        match self.pattern {
            Pattern::Req => {
                state.asked = Asked::Peer {
                    token,
                    in_vain: false,
                };
            }
            Pattern::Rep => state.answering = None,
            _ => {}
        }
    }

    /// The peer that has this name.
    pub(in crate::zmq) fn find(
        &self,
        call: &mut Call<'_>,
        name: &[u8],
        len: u64,
    ) -> Result<u64, Error> {
        let state = call.state();
        let peer = state.find(name).ok_or_else(|| Error::UnknownPeer {
            name: name.escape_ascii().to_string(),
        });
        let (token, peer) = peer?;
        // One that does not read must not stop those that do.
        check_room(peer, len, state.terms.window)?;
        Ok(token)
    }

    /// The peer that gets the message, if one has room for it.
    pub(in crate::zmq) fn choose(
        &self,
        call: &mut Call<'_>,
        len: u64,
        idle: bool,
        cx: &Context<'_>,
    ) -> Result<Option<u64>, Error> {
        let state = call.state();
        // What others have left goes first.
        state.hand_on();
        if !state.orphans.is_empty() {
            return Ok(None);
        }
        if self.pattern != Pattern::Rep {
            let token = state.next_with_room(len, idle);
            if self.pattern == Pattern::Req
                && let Some(peer) = token.and_then(|token| state.peers.get_mut(&token))
            {
                peer.forget_answers();
                peer.is_asked = true;
            }
            return Ok(token);
        }
        let answering = state.answering.as_ref().map(|(token, _)| *token);
        let peer = answering.and_then(|token| Some((token, state.peers.get(&token)?)));
        let peer = peer.filter(|(_, peer)| !peer.is_deaf);
        let Some((token, peer)) = peer else {
            state.answering = None;
            return Err(gone(cx));
        };
        // A client that does not read its answers has no room for one more. It must not stop those that do.
        let checked = check_room(peer, len, state.terms.window);
        if checked.is_err() {
            state.answering = None;
        }
        checked.map(|()| Some(token))
    }

    /// Writes the message, as much as goes. True if that is all that is to be done now, false if the peer is gone.
    fn write(
        &self,
        call: &mut Call<'_>,
        token: u64,
        sending: &mut Sending<'_>,
        cx: &Context<'_>,
    ) -> Result<bool, Error> {
        loop {
            let (state, events) = call.parts();
            let is_alone = state.peers.len() == 1;
            let Some(peer) = state.peers.get_mut(&token) else {
                return Ok(false);
            };
            // A peer that does not read is waited for only if there is no other: what is borrowed is copied and queued then.
            let is_borrowed = sending.is_borrowed && is_alone;
            let is_patient = sending.is_borrowed || is_alone && !cx.deadline.is_none();
            // What waits goes first, and this behind it.
            let waits = !sending.frames.is_begun() && !peer.outbound.is_empty();
            let written = if waits {
                Ok(false)
            } else {
                sending.transfer.system_calls += 1;
                let waits = (is_alone && is_patient).then(|| Instant::now() + LOOKS_EVERY);
                peer.write_in_hand(&mut sending.frames, waits)
            };
            if peer.is_deaf {
                state.forsake(token);
                return Ok(false);
            }
            match written {
                Ok(is_whole) if is_whole || !is_patient => {
                    peer.in_hand = false;
                    return Ok(true);
                }
                Ok(_) => peer.in_hand = !waits,
                Err(lost) => {
                    state.lose(token, lost, events);
                    return Ok(false);
                }
            }
            if is_borrowed {
                if !self.wait(call, cx, None)? {
                    return Err(cx.timeout(Operation::Send));
                }
                continue;
            }
            // As long as the peer reads, the call writes. It does not wait for one that does not.
            let waited = self.wait(call, cx, Some(PATIENCE))?;
            if let Some(peer) = call.state().peers.get_mut(&token)
                && (!waited || !peer.may_write())
            {
                peer.in_hand = false;
                return Ok(true);
            }
        }
    }

    /// The call ends in the middle of a message: what is left of it is kept.
    fn give_up(
        &self,
        call: &mut Call<'_>,
        token: u64,
        sending: Sending<'_>,
        error: Error,
    ) -> Error {
        let Some(peer) = call.state().peers.get_mut(&token) else {
            return error;
        };
        peer.in_hand = false;
        if !sending.frames.is_begun() {
            peer.is_asked = false;
            return error;
        }
        let name = peer.stream.name.clone();
        let (frames, copied) = owned(sending.frames);
        peer.outbound.push_rest(frames);
        self.gave(call.state(), token);
        Error::Unfinished {
            peer: name,
            id: 0,
            copied: copied + sending.transfer.copied,
            source: Box::new(error),
        }
    }
}

fn has_no_question(call: &mut Call<'_>) -> bool {
    let (state, events) = call.parts();
    state.forget_question(events)
}

/// The rest of a message that needs no memory of the caller's goes by itself.
fn keep_rest(call: &mut Call<'_>, token: u64, mut sending: Sending<'_>) -> Transfer {
    if sending.frames.left() > 0
        && let Some(peer) = call.state().peers.get_mut(&token)
    {
        let is_begun = sending.frames.is_begun();
        let (frames, copied) = owned(sending.frames);
        sending.transfer.copied += copied;
        match is_begun {
            true => peer.outbound.push_rest(frames),
            false => peer.outbound.push(frames),
        }
    }
    sending.transfer
}
