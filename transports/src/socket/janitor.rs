//! Acknowledgements that no call would write: one thread a process, which sleeps while nothing is owed.
//!
//! A program that received a message and computes for an hour has acknowledged it when it called; a program that answers
//! takes the acknowledgement along with its answer. What lies between is written here, a millisecond later.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
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
    // Without a thread the next call pays.
    if add(&owing).is_err() {
        link.is_listed.store(false, Ordering::Release);
    }
}

fn add(owing: &Arc<dyn Owing>) -> io::Result<()> {
    let mut list = LIST.lock();
    if list.forks != os::forks() {
        list.visits.clear();
        list.janitor = None;
        list.forks = os::forks();
    }
    if list.janitor.is_none() {
        let named = std::thread::Builder::new().name("numpush-janitor".into());
        list.janitor = Some(named.spawn(work)?.thread().clone());
    }
    list.visits.push(Visit {
        link: Arc::downgrade(owing),
        seen: u64::MAX,
    });
    if list.visits.len() == 1
        && let Some(janitor) = &list.janitor
    {
        janitor.unpark();
    }
    Ok(())
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
            // The last owner of a connection may be gone: it ends here then, as it would anywhere. Code of the program that
            // panics, where memory of it is dropped, ends no duty of ours.
            let visit = || link.upgrade().and_then(|owing| owing.visit(seen));
            let next = catch_unwind(AssertUnwindSafe(visit)).unwrap_or(Some(seen));
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
        // It ends behind the lock.
        let _drops;
        // Whoever holds the lock writes, or leaves, and drops what it lets go of.
        let Ok(mut sending) = self.sending.try_lock() else {
            return Some(seen);
        };
        _drops = self.unused.drops();
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::time::Instant;

    use super::*;

    /// Panics when it is visited first.
    #[derive(Default)]
    struct Panics(AtomicUsize);

    impl Owing for Panics {
        fn visit(&self, _: u64) -> Option<u64> {
            let visits = self.0.fetch_add(1, Ordering::SeqCst);
            assert!(visits > 0, "a drop of the program's panics");
            None
        }
    }

    #[test]
    fn a_panic_ends_no_duty() {
        let panics = Arc::new(Panics::default());
        add(&(Arc::clone(&panics) as Arc<dyn Owing>)).unwrap();
        let end = Instant::now() + Duration::from_secs(60);
        while panics.0.load(Ordering::SeqCst) < 2 {
            assert!(Instant::now() < end, "nobody came again");
            std::thread::sleep(DELAY);
        }
    }
}
