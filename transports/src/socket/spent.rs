//! Memory of the program that a connection has let go of, until no lock is held: its drop may make calls on the connection.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use numpush_message::Buffer;
use numpush_os as os;
use numpush_session::{Outbound, Spent};

use crate::socket::medium::Lend;

/// What is to be dropped.
#[derive(Default)]
pub(super) struct Unused {
    memory: Mutex<Memory>,
    has_some: AtomicBool,
    is_dropping: AtomicBool,
}

#[derive(Default)]
struct Memory {
    spent: Spent,
    returned: Vec<Buffer<'static>>,
}

/// Drops it when a call ends.
pub(super) struct Drops<'l>(&'l Unused);

impl Drop for Drops<'_> {
    fn drop(&mut self) {
        self.0.drop_all();
    }
}

impl Unused {
    /// Takes what a session has let go of, and what its peer has given back.
    pub(super) fn take_of<D>(&self, session: &mut Outbound<D>, lender: &mut impl Lend) {
        let mut returned = lender.take_returned();
        if session.has_spent() || !returned.is_empty() {
            let mut memory = os::lock(&self.memory);
            session.take_spent(&mut memory.spent);
            memory.returned.append(&mut returned);
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

    /// A call that a drop makes may let go of more. The outer one drops that, however much there is: a stack has an end.
    #[cold]
    fn drop_some(&self) {
        if self.is_dropping.swap(true, Ordering::Acquire) {
            return;
        }
        let _ends = Ends(&self.is_dropping);
        // Before it is taken: what is added after that is seen.
        while self.has_some.swap(false, Ordering::Acquire) {
            let memory = std::mem::take(&mut *os::lock(&self.memory));
            drop(memory);
        }
    }
}

/// Also after a drop that panics.
struct Ends<'l>(&'l AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}
