//! Acknowledgements that no call would write: one thread a process, which sleeps while nothing is owed.
//!
//! A program that received a message and computes for an hour has acknowledged it when it called; a program that answers
//! takes the acknowledgement along with its answer. What lies between is written here, a millisecond later.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::time::Duration;

use numpush_os as os;

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

#[derive(Default)]
struct List {
    visits: Vec<Visit>,
    /// The process whose thread works on the list: a forked child has no thread of its parent.
    process: u32,
}

static LIST: Mutex<List> = Mutex::new(List {
    visits: Vec::new(),
    process: 0,
});
static CHANGE: Condvar = Condvar::new();

/// Lets the janitor look at a connection that owes its peer something.
pub(super) fn list<M: Medium>(link: &Arc<Link<M>>) {
    if link.is_listed.swap(true, Ordering::AcqRel) {
        return;
    }
    let mut list = os::lock(&LIST);
    let process = std::process::id();
    if list.process != process {
        let started = std::thread::Builder::new()
            .name("numpush-janitor".into())
            .spawn(work);
        // Without a thread the next call pays.
        if started.is_err() {
            link.is_listed.store(false, Ordering::Release);
            return;
        }
        list.process = process;
        list.visits.clear();
    }
    let link: Arc<dyn Owing> = Arc::clone(link) as Arc<dyn Owing>;
    list.visits.push(Visit {
        link: Arc::downgrade(&link),
        seen: u64::MAX,
    });
    drop(list);
    CHANGE.notify_one();
}

fn work() {
    let mut delay = DELAY;
    loop {
        let mut list = os::lock(&LIST);
        while list.visits.is_empty() {
            delay = DELAY;
            list = CHANGE.wait(list).unwrap_or_else(PoisonError::into_inner);
        }
        drop(list);
        std::thread::sleep(delay);
        let visits = std::mem::take(&mut os::lock(&LIST).visits);
        let mut again = Vec::new();
        for Visit { link, seen } in visits {
            let Some(owing) = link.upgrade() else {
                continue;
            };
            if let Some(seen) = owing.visit(seen) {
                again.push(Visit { link, seen });
            }
        }
        delay = if again.is_empty() {
            DELAY
        } else {
            (delay * 2).min(LONGEST)
        };
        os::lock(&LIST).visits.append(&mut again);
    }
}

impl<M: Medium> Owing for Link<M> {
    fn visit(&self, seen: u64) -> Option<u64> {
        let mut sending = self.sending();
        let session = &mut sending.session;
        if !session.owes_ack() && !session.owes_credit() && session.is_drained() {
            self.is_listed.store(false, Ordering::Release);
            return None;
        }
        let now = session.last_id();
        if (now == seen || session.owes_ack()) && !session.is_busy() {
            session.pay();
            if sending.drain(&self.socket).is_err() {
                sending.session.broken();
                self.is_listed.store(false, Ordering::Release);
                return None;
            }
        }
        Some(now)
    }
}
