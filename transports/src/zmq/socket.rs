//! The calls of a connection, which is one socket with all its peers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use numpush_message::{Encoder, Flags, Message, PREAMBLE_LEN};
use numpush_zmtp::Frames;

use crate::deadline::{Backoff, Deadline};
use crate::error::{Error, Operation};
use crate::origin::Origin;
use crate::transfer::{Capabilities, PathReason, Received, Transfer, TransferPath};
use crate::transport::{Context, Transport};
use crate::zmq::core::{Call, Core};
use crate::zmq::pattern::Pattern;
use crate::zmq::sending::{Sending, owned};
use crate::zmq::state::{Asked, Taken};
use crate::zmq::stream::TICK;

/// How long a dropped connection waits for its queue to be written.
const LINGER: Duration = Duration::from_secs(2);

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
}

impl Socket {
    pub(super) fn new(core: Arc<Core>, pattern: Pattern) -> Self {
        Self {
            core,
            pattern,
            origin: Origin::here(),
            is_closed: false,
            lingers: true,
        }
    }

    fn unsupported(&self, operation: Operation, reason: &'static str) -> Error {
        Error::Unsupported {
            transport: self.pattern.name(),
            operation,
            reason,
        }
    }

    /// Frames before the message.
    fn envelope(&self, call: &mut Call<'_>) -> Result<Vec<Vec<u8>>, Error> {
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
    fn publish(&self, call: &mut Call<'_>, mut sending: Sending<'_>, head: &[u8]) -> Transfer {
        let (frames, copied) = owned(sending.frames);
        sending.transfer.copied += copied;
        let (state, events) = call.parts();
        // Subscriptions that have come count from now on.
        state.step(events);
        let window = state.terms.window;
        state.lost = None;
        for peer in state.peers.values_mut() {
            if peer.has_room(sending.len, window) && peer.topics.want(head) {
                peer.outbound.push(frames.clone());
            }
        }
        state.step(events);
        sending.transfer
    }

    /// Sends a message to one peer: the next one that has room, or the one that has asked.
    fn give(
        &self,
        call: &mut Call<'_>,
        mut sending: Sending<'_>,
        cx: &Context<'_>,
    ) -> Result<Transfer, Error> {
        loop {
            let Some(token) = self.choose(call, &sending, cx)? else {
                if !self.wait(call, cx, None)? {
                    return Err(cx.timeout(Operation::Send));
                }
                continue;
            };
            match self.write(call, token, &mut sending, cx) {
                // The peer is gone, and has nothing whole: another one gets it.
                Ok(false) if self.pattern == Pattern::Push => sending.frames.rewind(),
                Ok(false) => return Err(gone(cx)),
                Ok(true) => {
                    self.gave(call, token);
                    return Ok(keep_rest(call, token, sending));
                }
                Err(error) => return Err(self.give_up(call, token, sending, error)),
            }
        }
    }

    /// The peer gets the message: whose turn it is now.
    fn gave(&self, call: &mut Call<'_>, token: u64) {
        let state = call.state();
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

    /// The peer that gets the message, if one has room for it.
    fn choose(
        &self,
        call: &mut Call<'_>,
        sending: &Sending<'_>,
        cx: &Context<'_>,
    ) -> Result<Option<u64>, Error> {
        let state = call.state();
        if self.pattern != Pattern::Rep {
            let token = state.next_with_room(sending.len, sending.is_borrowed);
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
        if !peer.has_room(sending.len, state.terms.window) {
            let name = peer.stream.name.clone();
            let (queued, limit) = (peer.outbound.left(), state.terms.window);
            state.answering = None;
            return Err(Error::QueueFull {
                peer: name,
                queued,
                limit,
            });
        }
        Ok(Some(token))
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
        self.gave(call, token);
        Error::Unfinished {
            peer: name,
            id: 0,
            copied: copied + sending.transfer.copied,
            source: Box::new(error),
        }
    }

    /// Waits until something has happened, for `most` at the longest. False if the time of the call is over.
    fn wait(
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

fn gone(cx: &Context<'_>) -> Error {
    Error::Disconnected {
        peer: cx.peer.to_owned(),
        missing: 0,
    }
}

impl Transport for Socket {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            two_way: self.pattern.is_two_way(),
            acknowledges: false,
            notices_death: false,
            limits_size: true,
            passes_descriptors: false,
            fills_allocator: true,
        }
    }

    fn send(&mut self, message: &Message<'_>, cx: &mut Context<'_>) -> Result<Transfer, Error> {
        if !self.pattern.sends() {
            return Err(self.unsupported(Operation::Send, "it only receives"));
        }
        if self.is_closed {
            return Err(cx.failed());
        }
        let encoder = Encoder::new(message, Flags::default()).map_err(Error::Message)?;
        let len = PREAMBLE_LEN + encoder.preamble().header_len as usize;
        let head = encoder.head().get(..len).unwrap_or(&[]);
        let core = Arc::clone(&self.core);
        let mut call = core.enter();
        let mut frames = Frames::new();
        for before in self.envelope(&mut call)? {
            frames.push_copy(&before, true);
        }
        let mut left = encoder.buffers().len();
        frames.push_copy(head, left > 0);
        let mut is_borrowed = false;
        for buffer in message.buffers() {
            left -= 1;
            is_borrowed |= buffer.is_borrowed();
            frames.push(buffer, left > 0);
        }
        let sending = Sending {
            len: frames.left(),
            frames,
            is_borrowed: is_borrowed && !cx.deadline.is_none(),
            transfer: Transfer {
                id: 0,
                bytes: message.payload_len(),
                copied: message.copied_bytes(),
                system_calls: 0,
                path: TransferPath::Write,
                reason: PathReason::OnlyWay,
            },
        };
        match self.pattern {
            Pattern::Pub => Ok(self.publish(&mut call, sending, head)),
            _ => self.give(&mut call, sending, cx),
        }
    }

    fn recv(&mut self, cx: &mut Context<'_>) -> Result<Received, Error> {
        if !self.pattern.receives() {
            return Err(self.unsupported(Operation::Recv, "it only sends"));
        }
        if self.is_closed {
            return Err(cx.failed());
        }
        let core = Arc::clone(&self.core);
        let mut call = core.enter();
        if self.pattern == Pattern::Req && call.state().asked == Asked::Nobody {
            return Err(self.unsupported(Operation::Recv, "it has asked nobody"));
        }
        let mut short = None;
        loop {
            let mut most = None;
            let (state, events) = call.parts();
            let waits = cx
                .deadline
                .instant()
                .is_none_or(|at| at > Instant::now() + 2 * TICK);
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
                Taken::Message(token, arrived) => {
                    match self.pattern {
                        Pattern::Req => state.answered(),
                        Pattern::Rep => state.answering = Some((token, arrived.envelope)),
                        _ => {}
                    }
                    return Ok(Received::new(arrived.message, arrived.transfer));
                }
                Taken::Nothing if matches!(state.asked, Asked::Gone(_)) => {
                    let asked = std::mem::replace(&mut state.asked, Asked::Nobody);
                    let Asked::Gone(peer) = asked else { continue };
                    return Err(Error::Disconnected { peer, missing: 0 });
                }
                Taken::Nothing => short = None,
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
