//! Acknowledgements that no call would write: one thread a process, which sleeps while nothing is owed.
//!
//! A program that received a message and computes for an hour has acknowledged it when it called; a program that answers
//! takes the acknowledgement along with its answer. What lies between is written here, a millisecond later.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::thread::Thread;
use std::time::Duration;

use numpush_os::{self as os, GlobalMutex};

use crate::socket::ending::ends_the_way;
use crate::socket::link::Link;
use crate::socket::medium::Medium;

/// How long an acknowledgement waits for a message that takes it along; twice as long each time one does.
const DELAY: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_millis(16);

/// A connection that may owe its peer something.
trait Owing: Send + Sync {
    /// Pays if nothing has gone there since `seen`. Returns what is to be seen next time, or `None` if nothing is owed.
    fn visit(&self, seen: u64) -> Option<u64>;
}

struct Visit {
    link: Weak<dyn Owing>,
    seen: u64,
}

/// The connections to look at, and the thread that does.
struct List {
    visits: Vec<Visit>,
    janitor: Option<Thread>,
    /// A forked child has no thread of its parent, and leaves its connections alone.
    forks: u32,
}

static LIST: GlobalMutex<List> = GlobalMutex::new(List {
    visits: Vec::new(),
    janitor: None,
    forks: 0,
});

/// Lets the janitor look at a connection that owes its peer something.
pub(super) fn list<M: Medium>(link: &Arc<Link<M>>) {
    // The load spares most calls the cost of the exchange. Whoever clears the flag has the lock under which the debt was noted.
    if link.is_listed.load(Ordering::Relaxed) || link.is_listed.swap(true, Ordering::AcqRel) {
        return;
    }
    let owing: Arc<dyn Owing> = Arc::clone(link) as Arc<dyn Owing>;
    let mut list = LIST.lock();
    if list.forks != os::forks() {
        list.visits.clear();
        list.janitor = None;
        list.forks = os::forks();
    }
    if list.janitor.is_none() {
        let named = std::thread::Builder::new().name("numpush-janitor".into());
        // Without a thread the next call pays.
        let Ok(janitor) = named.spawn(work) else {
            link.is_listed.store(false, Ordering::Release);
            return;
        };
        list.janitor = Some(janitor.thread().clone());
    }
    list.visits.push(Visit {
        link: Arc::downgrade(&owing),
        seen: u64::MAX,
    });
    if list.visits.len() == 1
        && let Some(janitor) = &list.janitor
    {
        janitor.unpark();
    }
}

fn work() {
    let mut delay = DELAY;
    loop {
        while LIST.lock().visits.is_empty() {
            delay = DELAY;
            std::thread::park();
        }
        std::thread::sleep(delay);
        let visits = std::mem::take(&mut LIST.lock().visits);
        let mut again = Vec::new();
        for Visit { link, seen } in visits {
            // The last owner of a connection may be gone: it ends here then, as it would anywhere.
            let next = link.upgrade().and_then(|owing| owing.visit(seen));
            if let Some(seen) = next {
                again.push(Visit { link, seen });
            }
        }
        delay = if again.is_empty() {
            DELAY
        } else {
            (delay * 2).min(LONGEST)
        };
        LIST.lock().visits.append(&mut again);
    }
}

impl<M: Medium> Owing for Link<M> {
    fn visit(&self, seen: u64) -> Option<u64> {
        // Whoever holds the lock writes, or leaves.
        let _drops = self.unused.drops();
        let Ok(mut sending) = self.sending.try_lock() else {
            return Some(seen);
        };
        let session = &mut sending.session;
        if !session.owes_ack() && !session.owes_credit() && session.is_drained() {
            self.is_listed.store(false, Ordering::Release);
            return None;
        }
        let now = session.last_id();
        if (now == seen || session.owes_ack()) && !session.is_busy() {
            session.pay();
            if sending
                .drain(&self.socket)
                .is_err_and(|error| ends_the_way(&error))
            {
                sending.broken();
                self.is_listed.store(false, Ordering::Release);
                return None;
            }
        }
        Some(now)
    }
}
