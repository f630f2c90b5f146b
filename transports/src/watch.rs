//! What wakes a task where no descriptor does.

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use numpush_os::lock;

/// A bell that a task waits for. It is remembered that it has rung until the task looks.
#[derive(Debug, Default)]
pub(crate) struct Watch(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    has_rung: bool,
    waker: Option<Waker>,
}

/// The bells of a connection: one for each direction.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watches {
    /// Rings when a receiving task should look again.
    pub(crate) receiving: Arc<Watch>,
    /// Rings when a sending task should look again.
    pub(crate) sending: Arc<Watch>,
}

impl Watch {
    /// Wakes the task, or lets it look again before it waits next.
    pub(crate) fn ring(&self) {
        let mut state = lock(&self.0);
        state.has_rung = true;
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Ready once for each time it has rung, or for several together.
    pub(crate) fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = lock(&self.0);
        if std::mem::take(&mut state.has_rung) {
            return Poll::Ready(());
        }
        match &mut state.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            waker => *waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_before_the_look_is_remembered() {
        let watch = Watch::default();
        let cx = Context::from_waker(Waker::noop());
        assert!(watch.poll(&cx).is_pending());
        watch.ring();
        watch.ring();
        assert!(watch.poll(&cx).is_ready());
        assert!(watch.poll(&cx).is_pending());
    }
}
