//! The clients that have a value open, as its owner knows them.

use std::sync::atomic::{AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use crate::arena::Returning;

/// The clients that have a value open.
#[derive(Debug, Default)]
pub(super) struct Lessees {
    count: AtomicUsize,
    /// Their processes, one entry for each link. No child of a fork locks it: the value is its parent's, and so are its links.
    pids: Mutex<Vec<u32>>,
    /// Since the owner has let go of the value, until a client says that it uses it.
    returning: Mutex<Option<Returning>>,
}

/// That a client has a value open. It ends when dropped.
#[derive(Debug)]
pub(super) struct Lessee {
    of: Arc<Lessees>,
    pid: u32,
}

/// What is called when an owner lets go of a value that clients have open.
static LET_GO: OnceLock<fn(u64)> = OnceLock::new();

/// Sets what is called with the number of a value when its owner lets go of it while clients have it open. The first call
/// decides.
pub(super) fn when_let_go(call: fn(u64)) {
    let _ = LET_GO.set(call);
}

impl Lessees {
    /// Notes a client of the process `pid`.
    ///
    /// Whoever looks afterwards whether the owner has let go of the value finds that it has, or the owner finds the client.
    pub(super) fn enter(self: &Arc<Self>, pid: u32) -> Lessee {
        self.pids().push(pid);
        self.count.fetch_add(1, Ordering::SeqCst);
        // Pairs with the fence of `owner_lets_go`.
        fence(Ordering::SeqCst);
        Lessee {
            of: Arc::clone(self),
            pid,
        }
    }

    /// The owner lets go of value `number`: its handles are dropped already.
    pub(super) fn owner_lets_go(&self, number: u64) {
        // Pairs with the fence of `enter`.
        fence(Ordering::SeqCst);
        if !self.is_empty()
            && let Some(call) = LET_GO.get()
        {
            *numpush_os::lock(&self.returning) = Some(Returning::new());
            call(number);
        }
    }

    /// A client uses the value: its bytes do not come back soon.
    pub(super) fn is_used(&self) {
        let returning = numpush_os::lock(&self.returning).take();
        drop(returning);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count.load(Ordering::SeqCst) == 0
    }

    /// The processes of the clients, each once, in order.
    pub(super) fn processes(&self) -> Vec<u32> {
        let mut pids = self.pids().clone();
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    fn pids(&self) -> MutexGuard<'_, Vec<u32>> {
        numpush_os::lock(&self.pids)
    }
}

impl Drop for Lessee {
    fn drop(&mut self) {
        let mut pids = self.of.pids();
        if let Some(at) = pids.iter().position(|&pid| pid == self.pid) {
            pids.swap_remove(at);
        }
        drop(pids);
        self.of.count.fetch_sub(1, Ordering::SeqCst);
    }
}
