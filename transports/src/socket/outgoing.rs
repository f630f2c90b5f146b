//! What goes out: the records not yet written, and the messages that the peer has not acknowledged.

use std::collections::VecDeque;

use numpush_message::{Buffer, RecordKind};

use crate::socket::session::control;

pub(super) struct Outgoing {
    pub(super) next_id: u64,
    /// Messages on their way, with what they hold until the peer has them.
    in_flight: VecDeque<InFlight>,
    in_flight_bytes: u64,
    /// Records that have not been written.
    pub(super) control: Vec<u8>,
    pub(super) system_calls: u32,
    pub(super) closed: bool,
}

struct InFlight {
    id: u64,
    bytes: u64,
    /// Pages the kernel still reads after sendfile, and segments the peer maps.
    _held: Vec<Buffer<'static>>,
}

impl Outgoing {
    pub(super) fn new() -> Self {
        Self {
            next_id: 1,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            control: Vec::new(),
            system_calls: 0,
            closed: false,
        }
    }

    /// Appends a record to those that have not been written.
    pub(super) fn queue(&mut self, kind: RecordKind, id: u64) {
        self.control.extend_from_slice(&control(kind, id, 0));
    }

    /// Counts the message with the next number as sent; `held` is kept until the peer has it.
    pub(super) fn message_sent(&mut self, bytes: u64, held: Vec<Buffer<'static>>) {
        self.in_flight.push_back(InFlight {
            id: self.next_id,
            bytes,
            _held: held,
        });
        self.in_flight_bytes += bytes;
        self.next_id += 1;
    }

    /// A message never sent cannot be acknowledged.
    pub(super) fn was_sent(&self, id: u64) -> Result<(), &'static str> {
        if id < self.next_id {
            Ok(())
        } else {
            Err("it acknowledges a message that was never sent")
        }
    }

    /// Every message up to `id` has arrived.
    pub(super) fn acknowledged(&mut self, id: u64) -> Result<(), &'static str> {
        self.was_sent(id)?;
        while self
            .in_flight
            .front()
            .is_some_and(|message| message.id <= id)
        {
            if let Some(message) = self.in_flight.pop_front() {
                self.in_flight_bytes -= message.bytes;
            }
        }
        Ok(())
    }

    /// Messages on their way.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// True if `bytes` more fit into the window. One message always does.
    pub(super) fn has_room(&self, bytes: u64, window: u64) -> bool {
        self.in_flight.is_empty() || self.in_flight_bytes.saturating_add(bytes) <= window
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(count: u32) -> Outgoing {
        let mut outgoing = Outgoing::new();
        for _ in 0..count {
            outgoing.message_sent(100, Vec::new());
        }
        outgoing
    }

    #[test]
    fn an_acknowledgement_is_for_every_message_up_to_it() {
        let mut outgoing = sent(5);
        outgoing.acknowledged(3).unwrap();
        assert_eq!((outgoing.in_flight(), outgoing.in_flight_bytes), (2, 200));
        outgoing.acknowledged(1).unwrap();
        assert_eq!(outgoing.in_flight(), 2, "an old one changes nothing");
        outgoing.acknowledged(5).unwrap();
        assert_eq!((outgoing.in_flight(), outgoing.in_flight_bytes), (0, 0));
    }

    #[test]
    fn what_was_never_sent_cannot_be_acknowledged() {
        sent(2).acknowledged(3).unwrap_err();
        sent(0).acknowledged(1).unwrap_err();
    }

    #[test]
    fn one_message_always_fits() {
        assert!(sent(0).has_room(1000, 10));
        assert!(sent(1).has_room(900, 1000));
        assert!(!sent(1).has_room(901, 1000));
        assert!(!sent(1).has_room(u64::MAX, 1000));
    }
}
