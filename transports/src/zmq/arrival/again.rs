//! A short message that begins as the last one did.

use std::ops::Range;

use numpush_message::BufferAllocator;
use numpush_zmtp::{FrameHead, Inbound};

use crate::transfer::{PathReason, Transfer, TransferPath};
use crate::zmq::arrival::{Arrival, Arrived, Content};

/// Longest message whose beginning is remembered, and the longest beginning, in bytes.
const SHORT: u64 = 4 << 10;
const LONGEST_REMEMBERED: usize = 512;

/// How the last message began, if it was short: the next one may begin so too.
pub(super) struct Again {
    /// All bytes of it up to its only buffer, heads of frames included.
    lead: Vec<u8>,
    /// Its head among them.
    head: Range<usize>,
    /// Bytes of that buffer.
    buffer: usize,
}

impl Arrival {
    /// The next message, if it has come whole and begins as the last one did.
    pub(in crate::zmq) fn again(
        &mut self,
        inbound: &mut Inbound,
        allocator: &mut dyn BufferAllocator,
    ) -> Option<Arrived> {
        let Some(Again { lead, head, buffer }) = &self.again else {
            return None;
        };
        let (first, rest) = inbound.waiting().split_at_checked(lead.len())?;
        let bytes = rest.get(..*buffer)?;
        if first != lead {
            return None;
        }
        let head = lead.get(head.clone())?;
        // What fails here is found again, and told, as of any other.
        let message = self.landing.again(head, bytes, allocator).ok()??;
        let count = lead.len() + bytes.len();
        inbound.pass(count);
        let transfer = Transfer {
            bytes: message.payload_len(),
            copied: *buffer as u64,
            system_calls: std::mem::take(&mut self.transfer.system_calls),
            path: TransferPath::Read,
            reason: PathReason::Small,
            ..Transfer::default()
        };
        Some(Arrived {
            content: Content::Message(message),
            transfer,
            envelope: self.last_envelope.clone(),
        })
    }

    /// Remembers how a short message of one buffer began, whose head has been gathered.
    pub(super) fn remember(&mut self, envelope: &[Vec<u8>]) {
        let again = self.again.take();
        let payload = self.transfer.bytes;
        let (Some(len), 1) = (self.landing.len_of(0), self.landing.buffers()) else {
            return;
        };
        if payload > SHORT || self.gathered.len() > LONGEST_REMEMBERED {
            return;
        }
        let mut lead = again.map_or_else(Vec::new, |again| again.lead);
        lead.clear();
        let mut push = |frame: &[u8]| {
            FrameHead::message(frame.len() as u64, true).write(&mut lead);
            let start = lead.len();
            lead.extend_from_slice(frame);
            start..lead.len()
        };
        for frame in envelope {
            push(frame);
        }
        let head = push(&self.gathered);
        FrameHead::message(len, false).write(&mut lead);
        if lead.len() <= LONGEST_REMEMBERED {
            let buffer = usize::try_from(len).unwrap_or(usize::MAX);
            self.again = Some(Again { lead, head, buffer });
            self.last_envelope = Vec::from(envelope);
        }
    }
}
