//! Memory of the program that a connection has let go of, until no lock is held: its drop may make calls on the connection.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use numpush_os as os;
use numpush_session::{Outbound, Spent};

/// What is to be dropped.
#[derive(Default)]
pub(super) struct Unused {
    spent: Mutex<Spent>,
    has_some: AtomicBool,
}

/// Drops it when a call ends.
pub(super) struct Drops<'l>(&'l Unused);

impl Drop for Drops<'_> {
    fn drop(&mut self) {
        self.0.drop_all();
    }
}

impl Unused {
    /// Takes what a session has let go of.
    pub(super) fn take_of<D>(&self, session: &mut Outbound<D>) {
        if session.has_spent() {
            session.take_spent(&mut os::lock(&self.spent));
            self.has_some.store(true, Ordering::Release);
        }
    }

    /// A call begins, which holds no lock when it ends.
    pub(super) fn drops(&self) -> Drops<'_> {
        Drops(self)
    }

    /// The caller holds no lock.
    pub(super) fn drop_all(&self) {
        if self.has_some.load(Ordering::Relaxed) {
            self.drop_some();
        }
    }

    #[cold]
    fn drop_some(&self) {
        // Before it is taken: what is added after that is seen.
        self.has_some.store(false, Ordering::Relaxed);
        let spent = std::mem::take(&mut *os::lock(&self.spent));
        drop(spent);
    }
}
