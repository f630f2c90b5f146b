//! What a socket and its peers agree upon.

use std::time::Duration;

use crate::budget::Budget;
use crate::zmq::pattern::Pattern;

/// What a socket and its peers agree upon.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) pattern: Pattern,
    /// Messages of other programs are taken as they are.
    pub(super) takes_raw: bool,
    pub(super) max_message: u64,
    /// Bytes that may wait for a peer.
    pub(super) window: u64,
    /// How long a message may stand still, or wait for room.
    pub(super) patience: Duration,
    /// What the peers may make this side hold.
    pub(super) budget: Budget,
}
