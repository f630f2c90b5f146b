//! What a socket and its peers agree upon.

use std::sync::Arc;
use std::time::Duration;

use numpush_message::{Limits as MessageLimits, PREAMBLE_LEN};
use numpush_zmtp::{Limits, Security};

use crate::budget::Budget;
use crate::zmq::pattern::Pattern;

/// Most frames before a message, and most bytes of one.
pub(super) const MOST_BEFORE: usize = 16;
pub(super) const LONGEST_BEFORE: usize = 4 << 10;

/// Longest subscription.
pub(super) const LONGEST_TOPIC: usize = 4 << 10;

/// What a socket and its peers agree upon.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) pattern: Pattern,
    pub(super) security: Arc<Security>,
    /// Messages of other programs are taken as they are.
    pub(super) takes_raw: bool,
    pub(super) max_message: u64,
    /// Bytes that may wait for a peer.
    pub(super) window: u64,
    /// How long a message may stand still, or wait for room.
    pub(super) patience: Duration,
    /// A peer is asked after so long a silence whether it is there.
    pub(super) heartbeat: Option<Duration>,
    /// How long a drop waits for what is to be written.
    pub(super) linger: Option<Duration>,
    /// What the peers may make this side hold.
    pub(super) budget: Budget,
}

impl Terms {
    /// What is let through of a peer before it is looked at.
    pub(super) fn limits(&self) -> Limits {
        // The frames of a message are checked against its header; what has none passes by without memory.
        let (mut message, mut frames) = (i64::MAX as u64, u32::MAX);
        if self.security.seals() {
            // What is sealed is opened before it is known, and so held.
            let before = PREAMBLE_LEN + MessageLimits::HEADER;
            let before = before as u64 + (MOST_BEFORE * LONGEST_BEFORE) as u64;
            message = self.max_message.saturating_add(before);
            let before = u32::try_from(MOST_BEFORE + 1).unwrap_or(u32::MAX);
            frames = MessageLimits::BUFFERS.saturating_add(before);
        }
        Limits {
            message,
            frames,
            command: LONGEST_TOPIC as u64 + 16,
            ..Limits::default()
        }
    }
}
