//! Receiving: the next message, and the acknowledgements that go back meanwhile.

use numpush_os::Ready;

use crate::error::{Error, Operation};
use crate::socket::medium::Medium;
use crate::socket::stream::Stream;
use crate::transfer::Received;
use crate::transport::Context;

impl<M: Medium> Stream<M> {
    /// Waits for the next message. Without a timeout it blocks in recv(2), which saves the call of poll(2).
    pub(super) fn next_message(&mut self, cx: &mut Context<'_>) -> Result<Received, Error> {
        loop {
            if let Some(received) = self.incoming.take_message() {
                let due = self.acknowledge_now(cx)?;
                self.queue_control(due);
                self.write_control(cx)?;
                return Ok(received);
            }
            if self.incoming.closed {
                return Err(cx.closed());
            }
            if self.incoming.decoder.wants_room() {
                self.read(false, cx)?;
                continue;
            }
            // Before a wait everything owed is sent: the peer may be waiting for it.
            if self.incoming.decoder.is_idle() {
                let due = self.incoming.owes_ack() && !self.has_input(cx)?;
                self.queue_control(due);
                self.write_control(cx)?;
            }
            let blocked_control = !self.outgoing.control.is_empty();
            if cx.options.recv_timeout.is_none() && !blocked_control {
                if !self.read(true, cx)? {
                    self.check_progress(cx)?;
                }
                continue;
            }
            let want = if blocked_control {
                Ready::BOTH
            } else {
                Ready::READ
            };
            let (ready, in_time) = self.wait(want, cx.deadline, cx)?;
            if ready.read {
                self.read(false, cx)?;
            }
            if !in_time {
                return Err(cx.timeout(Operation::Recv));
            }
        }
    }

    /// True if an acknowledgement should not wait for an answer or for more messages to go with it.
    ///
    /// A packet for each small message would cost a third of a round trip in a conversation, and half the rate in a
    /// stream: there it goes with the answer, or when nothing more is there to be read.
    fn acknowledge_now(&self, cx: &Context<'_>) -> Result<bool, Error> {
        if !self.incoming.owes_ack() || self.incoming.owes_ack_now() {
            return Ok(self.incoming.owes_ack());
        }
        Ok(self.outgoing.next_id == 1 && !self.has_input(cx)?)
    }
}
