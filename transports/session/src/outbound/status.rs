//! What goes with a message, and how far sending has come.

use crate::outbound::Outbound;

/// What a message carries besides its contents. Over ZeroMQ it is dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tag {
    /// Number of the peer's message that this one answers; 0 for none.
    pub reply_to: u64,
    /// The caller's channel.
    pub channel: u32,
}

/// How far sending has come.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboundStatus {
    /// Messages that the peer has not acknowledged.
    pub in_flight: usize,
    /// Payload bytes of them.
    pub in_flight_bytes: u64,
    /// Bytes of records that the peer takes before it must grant more.
    pub credit: u64,
    /// Bytes that wait to be written.
    pub queued: u64,
}

impl<D> Outbound<D> {
    /// How far sending has come.
    pub fn status(&self) -> OutboundStatus {
        OutboundStatus {
            in_flight: self.in_flight.len(),
            in_flight_bytes: self.in_flight.bytes(),
            credit: self.granted.saturating_sub(self.charged),
            queued: self.queue.len(),
        }
    }
}
