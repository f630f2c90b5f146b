//! A word to sleep on, made of loom's parts.

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

/// The beds of those who sleep. The kernel wakes who waits for the death of a thread; here a death wakes all.
static BEDS: std::sync::Mutex<Vec<Arc<Bed>>> = std::sync::Mutex::new(Vec::new());

/// Wakes those who wait for a death, of which the mutexes are marked.
pub(crate) fn died() {
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

    pub(crate) fn word(&self) -> &AtomicU32 {
        &self.word
    }

    /// Without a clock: `until` never comes.
    pub(crate) fn sleep_while_both(
        &self,
        word: u32,
        (other, its_word): (&Self, u32),
        _until: Duration,
    ) -> bool {
        let bed = &self.bed;
        let Ok(asleep) = bed.asleep.lock() else {
            return true;
        };
        bed.sleepers.fetch_add(1, Ordering::Relaxed);
        beds().push(Arc::clone(bed));
        if self.load() == word && other.load() == its_word {
            drop(bed.changed.wait(asleep));
        }
        bed.sleepers.fetch_sub(1, Ordering::Relaxed);
        beds().retain(|other| !Arc::ptr_eq(other, bed));
        true
    }

    pub(crate) fn sleep_while(&self, _word: u32, _time: Duration) {
        unreachable!("this kernel waits for two words")
    }

    pub(crate) fn wake(&self) {
        self.bed.wake();
    }
}
