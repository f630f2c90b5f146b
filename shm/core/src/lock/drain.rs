//! How a writer finds those who hold a lock, and waits until they have let go.

use std::sync::atomic::Ordering;

use super::error::LockError;
use super::raw::RawLock;
use super::record::{ThreadRecord, is_inside, is_working, reads_commit};
use super::wait::Wait;

/// Whom a writer waits for.
#[derive(Clone, Copy)]
pub(super) enum Who {
    /// Everybody. Nobody may come in: the gate is closed.
    All,
    /// Readers of another commit than this one.
    ReadersOfOthersThan(u64),
    /// Workers on parts.
    Workers,
}

impl RawLock {
    /// Waits until nobody is inside whom the caller waits for. The caller holds the writer's mutex.
    ///
    /// A thread sets its hold word first, then makes sure that the gate is open and that its bit is set, in this order,
    /// and all of it in the one order of sequentially consistent operations. So a writer that has closed the gate finds
    /// its bit and its hold, or it finds the gate closed and goes away again. A bit is cleared only while the gate is
    /// closed and after the record was found without a hold: whoever set the hold later finds the gate closed too.
    pub(super) fn drain(&self, wait: &mut Wait, who: Who) -> Result<(), LockError> {
        for (index, word) in self.head.seen.0.iter().enumerate() {
            let seen = word.load(Ordering::SeqCst);
            if seen == 0 {
                continue;
            }
            for record in self.seen_records(index, seen) {
                self.drain_record(record, wait, who)?;
            }
            if matches!(who, Who::All) {
                word.fetch_and(!seen, Ordering::SeqCst);
            }
        }
        Ok(())
    }

    fn drain_record(
        &self,
        record: &ThreadRecord,
        wait: &mut Wait,
        who: Who,
    ) -> Result<(), LockError> {
        let ended = |word| match who {
            Who::All => !is_inside(word, self.index),
            Who::ReadersOfOthersThan(commits) => {
                let works = is_working(word, self.index);
                !is_inside(word, self.index) || works || reads_commit(word, commits)
            }
            Who::Workers => !is_working(word, self.index),
        };
        for hold in &record.holds {
            if !ended(hold.load()) && wait.for_hold(record, hold, ended)? {
                self.head.state.deaths.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// True if nobody alive is inside. Does not wait.
    pub(super) fn is_empty(&self) -> bool {
        self.insiders().all(ThreadRecord::reap)
    }

    /// The records of threads that are inside.
    pub(super) fn insiders(&self) -> impl Iterator<Item = &ThreadRecord> {
        let words = self.head.seen.0.iter().enumerate();
        words
            .flat_map(|(index, word)| self.seen_records(index, word.load(Ordering::SeqCst)))
            .filter(|record| {
                record
                    .holds
                    .iter()
                    .any(|hold| is_inside(hold.load(), self.index))
            })
    }

    /// The records whose bits are set in a word of [`Seen`](super::words::Seen).
    fn seen_records(&self, word: usize, bits: u64) -> impl Iterator<Item = &ThreadRecord> {
        let mut rest = bits;
        std::iter::from_fn(move || {
            let bit = rest.trailing_zeros();
            rest &= rest.wrapping_sub(1);
            (bit < u64::BITS).then_some(word * 64 + bit as usize)
        })
        .filter_map(|number| self.records.get(number))
    }
}
