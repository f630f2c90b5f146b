//! A listener in a poller.

use crate::listener::Listener;

/// A listener, and the poller's account of it.
pub(super) struct Place {
    pub(super) listener: Listener,
    /// It is on the poller's list of those to look at.
    pub(super) is_listed: bool,
}
