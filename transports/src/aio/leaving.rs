//! Connections that tasks have dropped: one thread a process sees them off, so that no thread of a runtime waits for a peer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use numpush_os::{self as os, GlobalMutex};

use crate::origin::Origin;
use crate::transport::Duplex;

/// How long a dropped connection waits for its peer. Those that are dropped together wait together.
const LINGER: Duration = Duration::from_secs(2);

/// Connections to see off, each with its end.
struct List {
    leaving: Vec<(Arc<dyn Duplex>, Instant)>,
    has_thread: bool,
    /// A forked child has no thread of its parent.
    forks: u32,
}

static LIST: GlobalMutex<List> = GlobalMutex::new(List {
    leaving: Vec::new(),
    has_thread: false,
    forks: 0,
});

/// The last owner of a connection that tasks use: what drops it on a thread of a runtime must not be the last one.
pub(super) struct Leaver(Option<Arc<dyn Duplex>>, Origin);

impl Leaver {
    pub(super) fn new(duplex: Option<Arc<dyn Duplex>>) -> Self {
        Self(duplex, Origin::here())
    }

    /// Somebody else has the connection now.
    pub(super) fn hand_back(&mut self) {
        self.0 = None;
    }
}

impl Drop for Leaver {
    fn drop(&mut self) {
        if let Some(duplex) = self.0.take()
            && self.1.check("").is_ok()
        {
            leave(duplex);
        }
    }
}

/// Leaves a connection in good order, without a wait of the caller.
fn leave(duplex: Arc<dyn Duplex>) {
    let mut list = LIST.lock();
    if list.forks != os::forks() {
        // Those are the parent's, and their drop does nothing here.
        let parents = std::mem::take(&mut list.leaving);
        (list.has_thread, list.forks) = (false, os::forks());
        drop(list);
        drop(parents);
        list = LIST.lock();
    }
    if !list.has_thread {
        let named = std::thread::Builder::new().name("numpush-leaving".into());
        list.has_thread = named.spawn(work).is_ok();
    }
    if list.has_thread {
        list.leaving.push((duplex, Instant::now() + LINGER));
        return;
    }
    drop(list);
    // Without a thread nobody waits.
    duplex.linger(Duration::ZERO);
}

/// Sees off one after the other, those first that have nothing left to write: the others must not cost them their time.
fn work() {
    loop {
        let mut list = LIST.lock();
        let mut leaving = std::mem::take(&mut list.leaving);
        list.has_thread = !leaving.is_empty();
        drop(list);
        if leaving.is_empty() {
            return;
        }
        leaving.sort_by_key(|(duplex, _)| duplex.wants().write);
        for (duplex, until) in leaving {
            // What the program owns with it may panic. Those behind it must not be left here for ever.
            let _ = catch_unwind(AssertUnwindSafe(|| {
                duplex.linger(until.saturating_duration_since(Instant::now()));
                drop(duplex);
            }));
        }
    }
}
