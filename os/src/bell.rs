use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::failpoint::point;

/// A descriptor that any thread makes readable, to end another thread's wait; eventfd(2).
#[derive(Debug)]
pub struct Bell(EventFd);

impl Bell {
    /// A bell that has not rung.
    ///
    /// # Errors
    /// What eventfd(2) reports.
    pub fn new() -> io::Result<Self> {
        point("eventfd2")?;
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        Ok(Self(EventFd::from_flags(flags)?))
    }

    /// Makes the descriptor readable until [`Self::quiet`].
    pub fn ring(&self) {
        // It fails only if it has rung 2^64 times and nobody listens, or by a signal.
        while matches!(self.0.write(1), Err(nix::errno::Errno::EINTR)) {}
    }

    /// Makes the descriptor unreadable. Returns true if the bell had rung.
    pub fn quiet(&self) -> bool {
        loop {
            match self.0.read() {
                Err(nix::errno::Errno::EINTR) => {}
                result => return result.is_ok(),
            }
        }
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::poll::{Ready, wait};

    #[test]
    fn a_ring_lasts_until_it_is_heard() {
        let bell = Bell::new().unwrap();
        let is_heard =
            || wait(&[(bell.as_fd(), Ready::READ)], Some(Instant::now())).unwrap()[0].read;
        assert!(!is_heard() && !bell.quiet());
        bell.ring();
        bell.ring();
        assert!(is_heard() && is_heard());
        assert!(bell.quiet() && !bell.quiet());
        assert!(!is_heard());
    }
}
