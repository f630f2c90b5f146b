//! Descriptors that the runtime of a program watches.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::poll::{Ready, wait};

pub use def::Watched;

mod def {
    use super::{Arc, AsyncFd, Interest, OwnedFd, io};

    /// A descriptor that the tokio runtime at hand watches, until this is dropped.
    ///
    /// # Invariants
    /// 1. The descriptor is owned by the `Arc` inside, which nobody can replace: it is open, and the same, while this lives.
    #[derive(Debug)]
    pub struct Watched(AsyncFd<Arc<OwnedFd>>);

    impl Watched {
        /// Lets the runtime at hand watch `descriptor`, to read, or to read and write.
        ///
        /// # Errors
        /// What epoll_ctl(2) reports.
        ///
        /// # Panics
        /// Outside of a tokio runtime that has its I/O enabled.
        pub fn new(descriptor: Arc<OwnedFd>, writes: bool) -> io::Result<Self> {
            let interest = match writes {
                true => Interest::READABLE | Interest::WRITABLE,
                false => Interest::READABLE,
            };
            // SAFETY: invariant 1.
            let watched = unsafe { AsyncFd::register_with_interest(descriptor, interest) };
            Ok(Self(watched?))
        }

        pub(super) fn inner(&self) -> &AsyncFd<Arc<OwnedFd>> {
            &self.0
        }
    }
}

impl Watched {
    /// Waits until the descriptor is ready for `want`. The runtime hears of each change once, and would never wake a task that
    /// has left bytes in a socket: what it has heard before this call counts until poll(2) denies it. A task may be woken for
    /// nothing.
    ///
    /// # Errors
    /// What poll(2) reports, or that the runtime ends.
    pub async fn ready(&self, want: Ready) -> io::Result<()> {
        let interest = match (want.read, want.write) {
            (true, true) => Interest::READABLE | Interest::WRITABLE,
            (false, true) => Interest::WRITABLE,
            _ => Interest::READABLE,
        };
        let mut heard = self.inner().ready(interest).await?;
        let ready = wait(&[(self.as_fd(), want)], Some(Instant::now()))?;
        if ready.first().is_some_and(|ready| ready.any()) {
            return Ok(());
        }
        // A change since the runtime was asked is not forgotten by this.
        heard.clear_ready();
        self.inner().ready(interest).await.map(drop)
    }
}

impl AsFd for Watched {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner().get_ref().as_fd()
    }
}
