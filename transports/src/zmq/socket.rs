//! The calls of a connection, which is one socket with all its peers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use numpush_message::Message;

use crate::deadline::{Backoff, Deadline};
use crate::error::{Error, Operation};
use crate::origin::Origin;
use crate::transfer::{Capabilities, Received, Transfer};
use crate::transport::{Context, Transport};
use crate::zmq::arrival::{Arrived, Content};
use crate::zmq::core::{Call, Core};
use crate::zmq::parcel::{Parcel, Sending, check_room, owned};
use crate::zmq::pattern::{Pattern, hands_on, name};
use crate::zmq::peer::{Found, LONGEST_TOPIC};
use crate::zmq::short::{SHORT, Short};
use crate::zmq::state::{Asked, Inbox, State, Taken};
use crate::zmq::stream::TICK;

/// How long a dropped connection waits for its queue to be written.
const LINGER: Duration = Duration::from_secs(2);

/// So many messages that nobody wants may come before a call looks at the time.
const UNWANTED: u32 = 64;

/// How long a call that could leave the rest of a message to the keeper waits for the peer to read.
const PATIENCE: Duration = Duration::from_millis(20);

/// How often a call looks for room that other messages have.
const LOOKS_FOR_ROOM: Duration = Duration::from_millis(20);

/// A socket, as a connection has it.
pub(super) struct Socket {
    core: Arc<Core>,
    pattern: Pattern,
    origin: Origin,
    is_closed: bool,
    /// A drop waits for what is on its way.
    lingers: bool,
    inbox: Inbox,
}

impl Socket {
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

    pub(super) fn unsupported(&self, operation: Operation, reason: &'static str) -> Error {
        Error::Unsupported {
            transport: name(self.pattern),
            operation,
            reason,
        }
    }

    /// Sends the frames `envelope`, and what they stand before. On a ROUTER the first frame of all names the peer.
    pub(super) fn send_parcel(
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
        match self.pattern {
            Pattern::Pub | Pattern::XPub => Ok(self.publish(&mut call, sending)),
            _ => self.give(&mut call, to, sending, cx),
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

    /// Receives the next message, and what stands before it.
    pub(super) fn recv_parcel(&mut self, cx: &mut Context<'_>) -> Result<Arrived, Error> {
        if !self.pattern.receives() {
            return Err(self.unsupported(Operation::Recv, "it only sends"));
        }
        if self.is_closed {
            return Err(cx.failed());
        }
        if let Some(next) = self.inbox.pop_front() {
            return next;
        }
        let mut call = self.core.enter();
        if call.state().is_lazy {
            let (state, events) = call.parts();
            state.step(events);
        }
        if self.pattern == Pattern::Req && call.state().asked == Asked::Nobody {
            return Err(self.unsupported(Operation::Recv, "it has asked nobody"));
        }
        let mut unwanted = 0_u32;
        let mut short = None;
        loop {
            let (state, events) = call.parts();
            let waits = cx
                .deadline
                .instant()
                .is_none_or(|at| at > Instant::now() + 2 * TICK);
            let mut most = None;
            match state.take(&mut *cx.allocator, events, waits) {
                Taken::Short(error) => {
                    let since = *short.get_or_insert_with(Instant::now);
                    let patience = state.terms.patience;
                    if cx.deadline.has_passed() || since.elapsed() >= patience {
                        return Err(error);
                    }
                    most = Some(LOOKS_FOR_ROOM);
                }
                Taken::Failed(error) => {
                    // What came was the answer, and there is no other.
                    if self.pattern == Pattern::Req && matches!(error, Error::Skipped { .. }) {
                        state.answered();
                    }
                    return Err(error);
                }
                Taken::Message(_, arrived) if !state.is_wanted(&arrived) => {
                    let is_short = arrived.transfer.bytes <= SHORT as u64;
                    state.unused.found.push(Found::Message(arrived));
                    unwanted += 1;
                    if is_short && !unwanted.is_multiple_of(UNWANTED) {
                        continue;
                    }
                    // They must not hide the deadline, nor hold memory while they come.
                    most = Some(Duration::ZERO);
                }
                Taken::Message(token, mut arrived) => {
                    match self.pattern {
                        Pattern::Req => {
                            state.answered();
                            arrived.take_back();
                        }
                        Pattern::Rep => state.answering = Some((token, arrived.take_back())),
                        _ => state.take_more(token, &mut *cx.allocator, events, &mut self.inbox),
                    }
                    return Ok(arrived);
                }
                Taken::Nothing if matches!(state.asked, Asked::Gone(_)) => {
                    let asked = std::mem::replace(&mut state.asked, Asked::Nobody);
                    let Asked::Gone(peer) = asked else { continue };
                    return Err(Error::Disconnected { peer, missing: 0 });
                }
                Taken::Nothing => {
                    short = None;
                    if let Some(said) = state.next_subscription() {
                        return Ok(Arrived::of_frame(said));
                    }
                }
            }
            let waited = call.wait(cx.deadline, most);
            if !waited.map_err(Error::io(Operation::Wait, cx.peer))? && short.is_none() {
                if let Asked::Peer { in_vain, .. } = &mut call.state().asked {
                    *in_vain = !cx.deadline.is_none();
                }
                return Err(cx.timeout(Operation::Recv));
            }
        }
    }

    /// Frames that go before those of the caller's.
    pub(super) fn lead(&self, call: &mut Call<'_>) -> Result<Vec<Vec<u8>>, Error> {
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

    /// Sends a message to a subscriber of its first bytes, to all of them. One whose queue is full does not get it.
    fn publish(&self, call: &mut Call<'_>, mut sending: Sending<'_>) -> Transfer {
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
    pub(super) fn gave(&self, state: &mut State, token: u64) {
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
    pub(super) fn find(&self, call: &mut Call<'_>, name: &[u8], len: u64) -> Result<u64, Error> {
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
    pub(super) fn choose(
        &self,
        call: &mut Call<'_>,
        len: u64,
        idle: bool,
        cx: &Context<'_>,
    ) -> Result<Option<u64>, Error> {
        let state = call.state();
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
                peer.write_in_hand(&mut sending.frames)
            };
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

fn has_no_question(call: &mut Call<'_>) -> bool {
    let (state, events) = call.parts();
    state.forget_question(events)
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

pub(super) fn gone(cx: &Context<'_>) -> Error {
    Error::Disconnected {
        peer: cx.peer.to_owned(),
        missing: 0,
    }
}

impl Transport for Socket {
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

impl Drop for Socket {
    /// Writes out what waits. What a forked child drops is its parent's.
    fn drop(&mut self) {
        if self.origin.is_here() {
            if self.lingers {
                self.drain(Deadline::after(LINGER));
            }
            let mut call = self.core.enter();
            let (state, events) = call.parts();
            state.leave(events);
        }
    }
}
