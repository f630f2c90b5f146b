//! Messages that the peer has not acknowledged, and what they hold.

use std::collections::VecDeque;

use numpush_message::Buffer;

use crate::fault::Fault;

/// Places for messages that are kept while there are none: a stream of small messages looks for acknowledgements after so many.
const KEPT: usize = 256;

#[derive(Debug, Default)]
pub(super) struct InFlight {
    messages: VecDeque<Sent>,
    bytes: u64,
    /// What acknowledged messages held.
    pub(super) spent: Vec<Buffer<'static>>,
}

#[derive(Debug)]
struct Sent {
    id: u64,
    bytes: u64,
    /// Pages that the kernel still reads, and memory that the peer maps.
    held: Vec<Buffer<'static>>,
}

impl InFlight {
    pub(super) fn push(&mut self, id: u64, bytes: u64) {
        let held = Vec::new();
        self.messages.push_back(Sent { id, bytes, held });
        self.bytes += bytes;
    }

    /// The last message was not sent after all.
    pub(super) fn pop_last(&mut self) {
        if let Some(message) = self.messages.pop_back() {
            self.bytes -= message.bytes;
        }
    }

    /// Holds buffers until message `id` is acknowledged.
    pub(super) fn hold(&mut self, id: u64, held: Vec<Buffer<'static>>) {
        if let Some(message) = self.messages.iter_mut().rev().find(|sent| sent.id == id) {
            message.held = held;
        }
    }

    /// Every message up to `ack` has arrived; `unsent` is the number of the first that was not written whole.
    pub(super) fn acknowledged(&mut self, ack: u64, unsent: u64) -> Result<(), Fault> {
        if ack >= unsent {
            let fault = "it acknowledges a message that was never sent";
            return Err(Fault::Violation(fault));
        }
        while self.messages.front().is_some_and(|sent| sent.id <= ack) {
            if let Some(mut message) = self.messages.pop_front() {
                self.bytes -= message.bytes;
                if !message.held.is_empty() {
                    self.spent.append(&mut message.held);
                }
            }
        }
        // A connection that is quiet after a burst holds no more than one that was always quiet.
        if self.messages.is_empty() && self.messages.capacity() > KEPT {
            self.messages = VecDeque::new();
        }
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// True if `bytes` more fit into the window. One message always does.
    pub(super) fn has_room(&self, bytes: u64, window: u64) -> bool {
        self.messages.is_empty() || self.bytes.saturating_add(bytes) <= window
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(count: u64) -> InFlight {
        let mut in_flight = InFlight::default();
        for id in 1..=count {
            in_flight.push(id, 100);
        }
        in_flight
    }

    #[test]
    fn an_acknowledgement_is_for_every_message_up_to_it() {
        let mut in_flight = sent(5);
        in_flight.acknowledged(3, 6).unwrap();
        assert_eq!((in_flight.len(), in_flight.bytes()), (2, 200));
        in_flight.acknowledged(1, 6).unwrap();
        assert_eq!(in_flight.len(), 2, "an old one changes nothing");
        in_flight.acknowledged(5, 6).unwrap();
        assert_eq!((in_flight.len(), in_flight.bytes()), (0, 0));
    }

    #[test]
    fn what_was_never_sent_cannot_be_acknowledged() {
        sent(2).acknowledged(3, 3).unwrap_err();
        sent(0).acknowledged(1, 1).unwrap_err();
    }

    #[test]
    fn one_message_always_fits() {
        assert!(sent(0).has_room(1000, 10));
        assert!(sent(1).has_room(900, 1000));
        assert!(!sent(1).has_room(901, 1000));
        assert!(!sent(1).has_room(u64::MAX, 1000));
    }
}
