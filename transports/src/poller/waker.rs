//! The end of a wait, by another thread.

use std::sync::Arc;

use numpush_os as os;

/// Ends a wait of a [`Poller`](crate::Poller) from another thread, made by [`Poller::waker`](crate::Poller::waker).
///
/// ```
/// # use numpush_transports as numpush;
/// let mut poller = numpush::Poller::new()?;
/// let waker = poller.waker();
/// std::thread::spawn(move || waker.wake());
/// assert!(matches!(poller.wait(None)?, Some(numpush::Event::Woken)));
/// # Ok::<(), numpush::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Waker(Arc<os::Events>);

impl Waker {
    pub(super) fn new(events: &Arc<os::Events>) -> Self {
        Self(Arc::clone(events))
    }

    /// Ends the wait at hand, or else the next one, with [`Event::Woken`](crate::Event::Woken). Several calls before that end one wait.
    pub fn wake(&self) {
        self.0.ring();
    }
}
