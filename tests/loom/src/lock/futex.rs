//! A word to sleep on, made of loom's parts.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use loom::sync::{Condvar, Mutex};

use crate::lock::atomic::AtomicU32;

pub(crate) const SPINS: u32 = 0;

#[derive(Debug, Default)]
pub(crate) struct Futex {
    word: AtomicU32,
    bed: Arc<Bed>,
}

/// Where threads sleep.
#[derive(Debug, Default)]
struct Bed {
    asleep: Mutex<()>,
    changed: Condvar,
    /// How many do. Not a word of loom's: it only saves steps.
    sleepers: AtomicUsize,
}

/// Threads that died. A sleeper would look again after a while; here it looks at this, and a death wakes it.
static DEATHS: AtomicUsize = AtomicUsize::new(0);
static BEDS: std::sync::Mutex<Vec<Arc<Bed>>> = std::sync::Mutex::new(Vec::new());

loom::thread_local! {
    static SEEN: Cell<usize> = Cell::new(0);
}

/// Notes how many have died before this thread looks whether another lives.
pub(crate) fn note_deaths() {
    SEEN.with(|seen| seen.set(DEATHS.load(Ordering::SeqCst)));
}

/// Notes a death.
pub(crate) fn died() {
    DEATHS.fetch_add(1, Ordering::SeqCst);
    let beds: Vec<Arc<Bed>> = beds().clone();
    beds.iter().for_each(|bed| bed.wake());
}

fn beds() -> std::sync::MutexGuard<'static, Vec<Arc<Bed>>> {
    BEDS.lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Bed {
    fn wake(&self) {
        if self.sleepers.load(Ordering::Relaxed) > 0 {
            let _asleep = self.asleep.lock();
            self.changed.notify_all();
        }
    }
}

impl Futex {
    pub(crate) fn load(&self) -> u32 {
        self.word.load(Ordering::SeqCst)
    }

    pub(crate) fn swap(&self, word: u32) -> u32 {
        self.word.swap(word, Ordering::SeqCst)
    }

    pub(crate) fn replace(&self, from: u32, to: u32) -> bool {
        self.word
            .compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst)
            .is_ok()
    }

    pub(crate) fn sleep_while(&self, word: u32, _time: Duration) {
        let bed = &self.bed;
        let Ok(asleep) = bed.asleep.lock() else {
            return;
        };
        bed.sleepers.fetch_add(1, Ordering::Relaxed);
        beds().push(Arc::clone(bed));
        if self.load() == word && SEEN.with(Cell::get) == DEATHS.load(Ordering::SeqCst) {
            drop(bed.changed.wait(asleep));
        }
        bed.sleepers.fetch_sub(1, Ordering::Relaxed);
        beds().retain(|other| !Arc::ptr_eq(other, bed));
    }

    pub(crate) fn wake(&self) {
        self.bed.wake();
    }
}
