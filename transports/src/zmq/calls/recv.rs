//! Receiving.

use std::time::{Duration, Instant};

use crate::error::{Error, Operation};
use crate::transport::Context;
use crate::zmq::arrival::Arrived;
use crate::zmq::calls::Calls;
use crate::zmq::pattern::Pattern;
use crate::zmq::peer::Found;
use crate::zmq::short::SHORT;
use crate::zmq::state::{Asked, State, Taken};
use crate::zmq::stream::TICK;

/// So many messages that nobody wants may come before a call looks at the time.
const UNWANTED: u32 = 64;

/// How often a call looks for room that other messages have.
const LOOKS_FOR_ROOM: Duration = Duration::from_millis(20);

impl Calls {
    /// Receives the next message, and what stands before it.
    pub(in crate::zmq) fn recv_parcel(&mut self, cx: &mut Context<'_>) -> Result<Arrived, Error> {
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
                Taken::Message(_, arrived) if !self.is_for_us(state, &arrived) => {
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
                            let (_, left) = arrived.take_back();
                            state.unused.found.extend(left.map(Found::Message));
                        }
                        Pattern::Rep => {
                            let (back, left) = arrived.take_back();
                            state.answering = Some((token, back));
                            state.unused.found.extend(left.map(Found::Message));
                        }
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

    /// False for what a SUB has not subscribed to, and for what is no answer: one begins with an empty frame.
    fn is_for_us(&self, state: &State, arrived: &Arrived) -> bool {
        match self.pattern {
            Pattern::Req => arrived.first().is_empty(),
            _ => state.is_wanted(arrived),
        }
    }
}
