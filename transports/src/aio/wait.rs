//! Where a task waits: for a socket, a bell or a time.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Instant;

use numpush_os::{Ready, Watched};
use tokio::time::{Sleep, sleep_until};

use crate::origin::Origin;
use crate::watch::Watch;

/// What ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Woken {
    /// The descriptor is ready, and was not when the wait began.
    Ready,
    /// The descriptor was ready before the wait, or it was time: the call has left something there.
    WasReady,
    /// A bell rang, or it is time.
    Other,
}

/// A timer that is set again only for an earlier time, or after its own: to set one wakes the runtime's thread, which costs
/// two system calls.
#[derive(Debug, Default)]
pub(super) struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    /// Ready at `until`, or at an earlier time that it was set for.
    fn set(&mut self, until: Option<Instant>) {
        let Some(until) = until.map(tokio::time::Instant::from_std) else {
            return;
        };
        match &mut self.0 {
            Some(sleep) if !sleep.is_elapsed() && sleep.deadline() <= until => {}
            Some(sleep) => sleep.as_mut().reset(until),
            none => *none = Some(Box::pin(sleep_until(until))),
        }
    }
}

/// A descriptor that the runtime watches, if there is one.
///
/// A forked child forgets it, and keeps the descriptor open until it ends or executes another program: it shares the epoll
/// instance with its parent, and would take the parent's socket out of it.
#[derive(Debug)]
pub(super) struct Socket {
    watched: Option<Watched>,
    origin: Origin,
}

impl Socket {
    pub(super) fn new(watched: Option<Watched>) -> Self {
        let origin = Origin::here();
        Self { watched, origin }
    }

    pub(super) fn watched(&self) -> Option<&Watched> {
        self.watched.as_ref()
    }
}

impl Drop for Socket {
    #[expect(
        clippy::mem_forget,
        reason = "its drop would change what the parent waits for"
    )]
    fn drop(&mut self) {
        if self.origin.check("").is_err() {
            std::mem::forget(self.watched.take());
        }
    }
}

/// Waits until a descriptor is ready for `want`, a bell rings, or it is time.
pub(super) async fn wait(
    watched: Option<&Watched>,
    want: Ready,
    watch: Option<&Watch>,
    until: Option<Instant>,
    timer: &mut Timer,
) -> io::Result<Woken> {
    let watched = watched.filter(|_| want.any());
    let mut ready = pin!(watched.map(|watched| watched.ready(want)));
    timer.set(until);
    let mut timer = until.and(timer.0.as_mut());
    let mut woken = Woken::WasReady;
    poll_fn(|cx| {
        let now = std::mem::replace(&mut woken, Woken::Ready);
        if watch.is_some_and(|watch| watch.poll(cx).is_ready()) {
            return Poll::Ready(Ok(Woken::Other));
        }
        if let Some(timer) = &mut timer
            && timer.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Ok(match now {
                Woken::WasReady => Woken::WasReady,
                _ => Woken::Other,
            }));
        }
        match ready.as_mut().as_pin_mut() {
            Some(ready) => ready.poll(cx).map_ok(|()| now),
            None => Poll::Pending,
        }
    })
    .await
}

/// Lets the other tasks of the thread run.
pub(super) async fn yield_now() {
    let mut has_yielded = false;
    poll_fn(|cx: &mut Context<'_>| {
        if std::mem::replace(&mut has_yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
