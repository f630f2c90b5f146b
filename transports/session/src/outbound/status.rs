use crate::outbound::Outbound;

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
