//! Descriptors of peers' segments that a connection may keep.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use numpush_os::{self as os, ForkMutex};

use crate::budget::Budget;

/// Descriptors that one connection may keep. What holds none is free again when this is dropped, and each of the others
/// when its [`Place`] is.
#[derive(Debug)]
pub(crate) struct Share(Arc<Places>);

/// One descriptor that is kept.
#[derive(Debug)]
pub(crate) struct Place(Arc<Places>);

#[derive(Debug)]
struct Places {
    budget: Budget,
    forks: u32,
    state: ForkMutex<State>,
}

#[derive(Debug)]
struct State {
    /// Descriptors that are taken of the budgets.
    taken: u64,
    /// Descriptors that are kept.
    kept: u64,
    is_over: bool,
}

/// A connection gets this part of what is left: at the usual limit of 1,024 descriptors some seventy connections have theirs.
const PART: u64 = 32;

/// The most that one connection takes. A sender of plain memory needs 25 for a GiB.
const MOST: u64 = 256;

/// So many it gets while there are so many: enough for small arrays of plain memory. A sender that needs more writes.
const LEAST: u64 = 4;

impl Share {
    /// A share of what nobody has; none of nothing.
    pub(crate) fn take(budget: &Budget) -> Self {
        Self::new(budget, budget.take_descriptors(MOST))
    }

    /// A share of so many, which are in no budget.
    #[cfg(test)]
    pub(crate) fn of(count: u64) -> Self {
        Self::new(&Budget::new(), count)
    }

    fn new(budget: &Budget, taken: u64) -> Self {
        Self(Arc::new(Places {
            budget: budget.clone(),
            forks: os::forks(),
            state: ForkMutex::new(State {
                taken,
                kept: 0,
                is_over: false,
            }),
        }))
    }

    /// How many there are, kept and free.
    pub(crate) fn count(&self) -> u32 {
        u32::try_from(self.0.state.lock().taken).unwrap_or(u32::MAX)
    }

    /// A place for one descriptor; `None` if all are taken.
    pub(crate) fn place(&self) -> Option<Place> {
        let mut state = self.0.state.lock();
        if state.kept >= state.taken {
            return None;
        }
        state.kept += 1;
        Some(Place(Arc::clone(&self.0)))
    }

    /// No more descriptors come: only those that are kept count from now on.
    pub(crate) fn end(&self) {
        let free = {
            let mut state = self.0.state.lock();
            state.is_over = true;
            let free = state.taken - state.kept;
            state.taken = state.kept;
            free
        };
        self.0.give_back(free);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.end();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let is_over = {
            let mut state = self.0.state.lock();
            state.kept -= 1;
            if state.is_over {
                state.taken -= 1;
            }
            state.is_over
        };
        if is_over {
            self.0.give_back(1);
        }
    }
}

impl Places {
    fn give_back(&self, count: u64) {
        // A forked child has taken nothing.
        if self.forks == os::forks() {
            self.budget.give_descriptors(count);
        }
    }
}

impl Budget {
    /// Takes up to `most`, here and of the whole.
    fn take_descriptors(&self, most: u64) -> u64 {
        let limit = self.descriptor_limit();
        let used = self.0.descriptors.used();
        let mut has = 0;
        let take = |used: u64| {
            has = part_of(limit.saturating_sub(used)).min(most);
            Some(used.saturating_add(has))
        };
        let _ = used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        let Some(whole) = &self.0.whole else {
            return has;
        };
        let got = whole.take_descriptors(has);
        self.give_own(has - got);
        got
    }

    fn give_descriptors(&self, count: u64) {
        self.give_own(count);
        if let Some(whole) = &self.0.whole {
            whole.give_descriptors(count);
        }
    }

    fn give_own(&self, count: u64) {
        let less = |used: u64| Some(used.saturating_sub(count));
        let used = self.0.descriptors.used();
        // Two threads of a forked child may have begun its account at once.
        let _ = used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }
}

fn part_of(left: u64) -> u64 {
    (left / PART).clamp(LEAST, MOST).min(left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Accounts;

    fn budget(limit: u64, whole: Option<Budget>) -> Budget {
        let budget = Budget(Arc::new(Accounts::new(1, 1, whole)));
        budget.max_descriptors(limit)
    }

    fn used(budget: &Budget) -> u64 {
        budget.status().descriptors.used
    }

    #[test]
    fn many_connections_share_what_there_is_and_never_have_more() {
        let budget = budget(512, None);
        let shares: Vec<_> = (0..80).map(|_| Share::take(&budget)).collect();
        let counts: Vec<_> = shares.iter().map(Share::count).collect();
        assert_eq!(counts[..4], [16, 15, 15, 14]);
        assert_eq!((counts[60], counts[79]), (4, 0), "{counts:?}");
        assert_eq!(used(&budget), 512);
        drop(shares);
        assert_eq!(used(&budget), 0);
        assert_eq!((part_of(3), part_of(u64::MAX)), (3, MOST));
    }

    #[test]
    fn what_the_whole_lacks_is_not_taken_of_a_part() {
        let whole = budget(10, None);
        let part = budget(1000, Some(whole.clone()));
        let shares = [(); 4].map(|()| Share::take(&part));
        assert_eq!(shares.each_ref().map(Share::count), [4, 4, 2, 0]);
        assert_eq!((used(&part), used(&whole)), (10, 10));
        drop(shares);
        assert_eq!((used(&part), used(&whole)), (0, 0));
    }

    /// A connection is gone, and a message that came by it is not.
    #[test]
    fn a_descriptor_counts_until_it_is_closed() {
        let budget = budget(100, None);
        let share = Share::take(&budget);
        let places = [share.place().unwrap(), share.place().unwrap()];
        assert_eq!(used(&budget), 4);
        share.end();
        assert_eq!((used(&budget), share.count()), (2, 2));
        assert!(share.place().is_none());
        drop(share);
        assert_eq!(used(&budget), 2);
        drop(places);
        assert_eq!(used(&budget), 0);
    }
}
