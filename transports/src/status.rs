//! Views of the queues of a connection and of a listener.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::budget::BudgetStatus;

/// Shows another thread how a message goes while a call sends it, made by [`Connection::meter`](crate::Connection::meter).
#[derive(Clone, Debug, Default)]
pub struct Meter(Arc<AtomicU64>);

impl Meter {
    /// Bytes of records that the socket has taken since the connection was made.
    pub fn written(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    #[cfg(any(feature = "tcp", feature = "unix"))]
    /// Only one thread writes at a time.
    pub(crate) fn add(&self, bytes: usize) {
        self.0
            .store(self.written() + bytes as u64, Ordering::Relaxed);
    }
}

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
    /// Bytes of its [`Budget`](crate::Budget) that this connection has, for the credit of its peer and for messages that no
    /// call has returned.
    pub budgeted: u64,
}

/// What goes on at a listener, made by [`Listener::status`](crate::Listener::status).
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListenerStatus {
    /// Peers that have connected and whose hello has not come.
    pub handshakes: usize,
    /// Peers that got no connection since the listener was made: they sent something else, nothing in time, or may not
    /// connect. [`Listener::take_refused`](crate::Listener::take_refused) says why.
    pub refused: u64,
    /// What is in use of the listener's [`Budget`](crate::Budget).
    pub budget: BudgetStatus,
}
