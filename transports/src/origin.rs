//! Which process a connection belongs to.

use numpush_os as os;

use crate::error::Error;

/// The process that made a value. A forked child has a copy of the value, and shares its socket and its memory with the
/// parent: what both of them write would come to the peer mixed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    forks: u32,
}

impl Origin {
    /// This process.
    pub(crate) fn here() -> Self {
        os::watch_forks();
        Self { forks: os::forks() }
    }

    /// False in a child that was forked since.
    pub(crate) fn is_here(self) -> bool {
        self.forks == os::forks()
    }

    /// Fails with [`Error::Forked`] in a child that was forked since.
    pub(crate) fn check(self, peer: &str) -> Result<(), Error> {
        if self.is_here() {
            return Ok(());
        }
        Err(Error::Forked {
            peer: peer.to_owned(),
        })
    }
}
