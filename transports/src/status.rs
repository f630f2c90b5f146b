//! A view of the queues of a connection.

/// What waits on a connection at this moment, made by [`Connection::status`](crate::Connection::status).
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Messages that the peer has not acknowledged.
    pub in_flight: usize,
    /// Payload bytes of them.
    pub in_flight_bytes: u64,
    /// Bytes of records that the peer takes before its program has to receive more.
    pub credit: u64,
    /// Bytes of this side that the socket has not taken: the rest of a message, or control records.
    pub unwritten: u64,
    /// Messages that have come whole and that no call has returned.
    pub waiting: usize,
    /// Bytes of records that have begun to come and that no call has returned.
    pub waiting_bytes: u64,
}
