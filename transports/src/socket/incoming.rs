//! What comes in: the record at hand, the messages not yet received, and the acknowledgement that is due for them.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use numpush_message::{Decoder, Limits, Message, Preamble};

use crate::options::Acknowledge;
use crate::socket::allowance;
use crate::socket::medium::SMALL;
use crate::transfer::{Received, Transfer};

pub(super) struct Incoming {
    pub(super) decoder: Decoder,
    pub(super) inbox: VecDeque<Received>,
    /// When the first byte of the record at hand came.
    pub(super) began: Option<Instant>,
    next_id: u64,
    pub(super) system_calls: u32,
    /// The peer has reported that nothing more comes.
    pub(super) closed: bool,
    unacknowledged: Option<PendingAck>,
    /// A descriptor that came with the preamble at hand.
    pub(super) descriptor: Option<OwnedFd>,
    /// Payload bytes that may wait in the inbox before acknowledgements stop.
    window: u64,
    acknowledge: Acknowledge,
    /// Messages that recv has returned.
    returned: u64,
    /// Messages that recv had returned before the last call. With `Acknowledge::OnNextCall` only they are acknowledged.
    finished: u64,
    acknowledged: u64,
}

/// Messages that came and are not acknowledged.
struct PendingAck {
    /// Number of the last of them.
    last: u64,
    count: u32,
    bytes: u64,
}

impl PendingAck {
    /// So many small messages share one acknowledgement.
    const MESSAGES: u32 = 32;
}

impl Incoming {
    pub(super) fn new(max_message: u64, window: u64, acknowledge: Acknowledge) -> Self {
        Self {
            decoder: Decoder::new(Limits::default().with_payload(max_message)),
            inbox: VecDeque::new(),
            began: None,
            next_id: 1,
            system_calls: 0,
            closed: false,
            unacknowledged: None,
            descriptor: None,
            window,
            acknowledge,
            returned: 0,
            finished: 0,
            acknowledged: 0,
        }
    }

    /// Puts a whole message into the inbox. Messages are numbered from 1.
    pub(super) fn queue_message(
        &mut self,
        preamble: &Preamble,
        message: Message<'static>,
        transfer: Transfer,
    ) -> Result<(), &'static str> {
        if preamble.id != self.next_id {
            return Err("a message is missing or came twice");
        }
        self.next_id += 1;
        let transfer = Transfer {
            system_calls: std::mem::take(&mut self.system_calls),
            ..transfer
        };
        let pending = self.unacknowledged.get_or_insert(PendingAck {
            last: 0,
            count: 0,
            bytes: 0,
        });
        pending.last = preamble.id;
        pending.count += 1;
        pending.bytes += preamble.payload_len;
        self.inbox.push_back(Received { message, transfer });
        Ok(())
    }

    /// The next message of the inbox.
    pub(super) fn take_message(&mut self) -> Option<Received> {
        let received = self.inbox.pop_front()?;
        self.returned += 1;
        Some(received)
    }

    /// Records that the caller is done with the messages that recv has returned.
    pub(super) fn finish(&mut self) {
        self.finished = self.returned;
    }

    /// True if the caller has a message that it may not be done with.
    pub(super) fn is_unfinished(&self) -> bool {
        self.acknowledge == Acknowledge::OnNextCall && self.finished != self.returned
    }

    /// True if a message came that is not acknowledged.
    pub(super) fn owes_ack(&self) -> bool {
        self.unacknowledged.is_some()
    }

    /// True if enough came for an acknowledgement of its own.
    pub(super) fn owes_ack_now(&self) -> bool {
        self.unacknowledged
            .as_ref()
            .is_some_and(|pending| pending.bytes > SMALL || pending.count >= PendingAck::MESSAGES)
    }

    /// The number of the last message that came, to acknowledge it.
    ///
    /// While the inbox holds more than a window nothing is acknowledged, so that the peer pauses.
    pub(super) fn take_ack(&mut self) -> Option<u64> {
        let pending = self.unacknowledged.as_ref()?;
        let waiting = self.inbox.iter().map(|message| message.transfer.bytes);
        if waiting.sum::<u64>() > self.window {
            return None;
        }
        let last = match self.acknowledge {
            Acknowledge::OnReturn => pending.last,
            Acknowledge::OnNextCall => self.finished,
        };
        if last == pending.last {
            self.unacknowledged = None;
        }
        (std::mem::replace(&mut self.acknowledged, last) != last).then_some(last)
    }

    /// Bytes that the record at hand lacks.
    pub(super) fn missing(&self) -> u64 {
        if self.decoder.is_idle() {
            0
        } else {
            self.decoder.missing()
        }
    }

    pub(super) fn allowance(&self) -> Duration {
        allowance::for_record(self.decoder.payload_len())
    }

    /// When the record at hand must be complete.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.began.map(|began| began + self.allowance())
    }
}

#[cfg(test)]
mod tests {
    use numpush_message::{Buffer, Encoder, Flags};

    use super::*;

    const WINDOW: u64 = 1 << 20;

    fn arrive(incoming: &mut Incoming, id: u64, len: usize) -> Result<(), &'static str> {
        let message = Message::new(Buffer::from(vec![0; len]));
        let mut preamble = *Encoder::new(&message, Flags::default()).unwrap().preamble();
        preamble.id = id;
        let transfer = Transfer {
            bytes: preamble.payload_len,
            ..Transfer::default()
        };
        incoming.queue_message(&preamble, message, transfer)
    }

    #[test]
    fn a_message_that_is_missing_or_repeated_is_a_fault() {
        let mut incoming = Incoming::new(u64::MAX, WINDOW, Acknowledge::OnReturn);
        arrive(&mut incoming, 1, 1).unwrap();
        arrive(&mut incoming, 1, 1).unwrap_err();
        arrive(&mut incoming, 3, 1).unwrap_err();
        arrive(&mut incoming, 2, 1).unwrap();
        assert_eq!(incoming.inbox.len(), 2);
    }

    #[test]
    fn one_acknowledgement_is_for_all_that_came() {
        let mut incoming = Incoming::new(u64::MAX, WINDOW, Acknowledge::OnReturn);
        assert_eq!(incoming.take_ack(), None);
        for id in 1..=3 {
            arrive(&mut incoming, id, 100).unwrap();
        }
        assert!(incoming.owes_ack());
        assert_eq!(incoming.take_ack(), Some(3));
        assert_eq!(incoming.take_ack(), None);
    }

    #[test]
    fn small_messages_share_an_acknowledgement_and_a_large_one_does_not_wait() {
        let mut small = Incoming::new(u64::MAX, WINDOW, Acknowledge::OnReturn);
        for id in 1..PendingAck::MESSAGES.into() {
            arrive(&mut small, id, 64).unwrap();
            assert!(!small.owes_ack_now());
        }
        arrive(&mut small, PendingAck::MESSAGES.into(), 64).unwrap();
        assert!(small.owes_ack_now());
        let mut large = Incoming::new(u64::MAX, WINDOW, Acknowledge::OnReturn);
        arrive(&mut large, 1, 100_000).unwrap();
        assert!(large.owes_ack_now());
    }

    #[test]
    fn a_full_inbox_holds_the_acknowledgement_back() {
        let mut incoming = Incoming::new(u64::MAX, WINDOW, Acknowledge::OnReturn);
        for id in 1..=3 {
            arrive(&mut incoming, id, 1 << 19).unwrap();
        }
        assert_eq!(incoming.take_ack(), None);
        incoming.take_message();
        assert_eq!(incoming.take_ack(), Some(3));
    }
    #[test]
    fn a_message_is_acknowledged_when_its_receiver_has_finished_with_it() {
        let mut incoming = Incoming::new(u64::MAX, WINDOW, Acknowledge::OnNextCall);
        for id in 1..=2 {
            arrive(&mut incoming, id, 100).unwrap();
        }
        assert_eq!(incoming.take_ack(), None);
        incoming.take_message();
        assert!(incoming.is_unfinished());
        assert_eq!(incoming.take_ack(), None);
        incoming.finish();
        assert_eq!(incoming.take_ack(), Some(1));
        assert_eq!(incoming.take_ack(), None);
        incoming.take_message();
        incoming.finish();
        assert_eq!((incoming.take_ack(), incoming.owes_ack()), (Some(2), false));
    }
}
