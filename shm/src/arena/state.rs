//! The chunks of an arena: which are there, what is free in them, and when they go back to the system.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Condvar, MutexGuard, PoisonError};

use numpush_message::{ALIGNMENT, AllocError};
use numpush_os::{ForkMutex, FreeRuns};
use numpush_shm_core::{SharedPages, forks};

use super::fresh::{Fresh, Stale};
use super::growth::Growth;
use super::options::ArenaOptions;

/// What all clones of an arena share.
pub(super) struct Inner {
    pub(super) options: ArenaOptions,
    state: ForkMutex<State>,
    /// A thread has made a chunk, or could not.
    grown: Condvar,
}

/// The chunks of a process, and what is free in them.
pub(super) struct State {
    forks: u32,
    pub(super) used: usize,
    pub(super) reserved: usize,
    /// Bytes of the chunks that threads are making now.
    pub(super) growing: usize,
    /// A thread makes a chunk for many values now.
    pub(super) growing_shared: bool,
    pub(super) chunks: Vec<Chunk>,
    /// Regions that grow, by their number.
    claims: BTreeMap<u64, Claimed>,
    last_claim: u64,
}

/// A region that grows: what it has of the budget, and what it is to have.
struct Claimed {
    held: usize,
    size: usize,
}

pub(super) struct Chunk {
    pub(super) pages: Arc<SharedPages>,
    free: FreeRuns,
    fresh: Fresh,
}

/// A run of bytes that was free.
pub(super) struct Taken {
    pub(super) pages: Arc<SharedPages>,
    pub(super) range: Range<usize>,
    /// What of it may hold bytes of an earlier value. All else is zero.
    pub(super) stale: Stale,
}

/// What to do for bytes that no chunk has.
pub(super) enum Plan {
    /// Make a chunk.
    Grow(Growth),
    /// Another thread makes one that may have them.
    Wait,
}

impl Inner {
    pub(super) fn new(options: ArenaOptions) -> Self {
        Self {
            options,
            state: ForkMutex::new(State::new(forks())),
            grown: Condvar::new(),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock();
        let forks = forks();
        if state.forks != forks {
            // The parent hands these chunks out; ours begin anew.
            *state = State::new(forks);
        }
        state
    }

    /// Takes `len` bytes, from a new chunk if need be. The kernel is asked while the state is not locked: it takes 0.1 s for
    /// a GiB, and other threads give their bytes back meanwhile.
    pub(super) fn take(&self, len: usize) -> Result<Taken, AllocError> {
        // Dropped after the state is unlocked: to unmap a GiB takes 50 ms.
        let mut unused = Vec::new();
        let mut state = self.state();
        let growth = loop {
            if let Some(taken) = state.take(len) {
                return Ok(taken);
            }
            match state.plan(len, &self.options, &mut unused)? {
                Plan::Grow(growth) => break growth,
                Plan::Wait => {
                    let woken = self.grown.wait(state);
                    state = woken.unwrap_or_else(PoisonError::into_inner);
                }
            }
        };
        state.begin(&growth);
        drop(state);
        drop(unused);
        let made = growth.make(self.options.pages);
        let mut state = self.state();
        state.end(&growth);
        self.grown.notify_all();
        state.add(made?);
        // The new chunk has room for `len`, and nobody has seen it.
        state.take(len).ok_or(AllocError::NoMemory { len })
    }

    /// Takes `len` bytes that are there already, if there are any.
    pub(super) fn take_warm(&self, len: usize) -> Option<Taken> {
        self.state().take(len)
    }

    /// Lets a region that grows have `held` bytes of the budget.
    pub(super) fn grant(&self, number: u64, held: usize) -> Result<(), AllocError> {
        let mut unused = Vec::new();
        let mut state = self.state();
        let result = state.grant(number, held, &self.options, &mut unused);
        drop(state);
        drop(unused);
        result
    }

    /// Takes the bytes back.
    pub(super) fn give(&self, pages: &Arc<SharedPages>, range: &Range<usize>) {
        let mut state = self.state();
        let unused = state.give(pages, range, self.options.keep);
        drop(state);
        drop(unused);
    }

    /// Gives chunks with nothing in them back to the system. Returns their bytes.
    pub(super) fn trim(&self) -> usize {
        let unused = self.state().remove_unused(0);
        unused.iter().map(|chunk| chunk.pages.len()).sum()
    }
}

impl State {
    fn new(forks: u32) -> Self {
        Self {
            forks,
            used: 0,
            reserved: 0,
            growing: 0,
            growing_shared: false,
            chunks: Vec::new(),
            claims: BTreeMap::new(),
            last_claim: 0,
        }
    }

    fn take(&mut self, len: usize) -> Option<Taken> {
        let taken = self.chunks.iter_mut().find_map(|chunk| {
            let start = chunk.free.take(len)?;
            let range = start..start + len;
            Some(Taken {
                pages: Arc::clone(&chunk.pages),
                stale: chunk.fresh.take(range.clone()),
                range,
            })
        })?;
        self.used += len;
        Some(taken)
    }

    /// What to do for `len` bytes that no chunk has. Chunks that make room for a new one go to `unused`.
    fn plan(
        &mut self,
        len: usize,
        options: &ArenaOptions,
        unused: &mut Vec<Chunk>,
    ) -> Result<Plan, AllocError> {
        let over = AllocError::Budget {
            len,
            used: self.used,
            budget: options.budget,
        };
        check_size(len, options)?;
        let total = self.used.checked_add(len);
        if total.is_none_or(|total| total > options.budget) {
            return Err(over);
        }
        if self.reserved + self.growing + len > options.budget {
            // What is free is in runs too short, some of them in chunks with nothing else.
            unused.extend(self.remove_unused(0));
        }
        let taken = self.reserved + self.growing;
        let growth = Growth::new(len, taken, options);
        match growth {
            Some(growth) if !(growth.is_shared && self.growing_shared) => Ok(Plan::Grow(growth)),
            None if self.growing == 0 => Err(over),
            _ => Ok(Plan::Wait),
        }
    }

    /// Notes a region that is to have `size` bytes, and has none.
    pub(super) fn claim(&mut self, size: usize) -> u64 {
        self.last_claim += 1;
        self.claims
            .insert(self.last_claim, Claimed { held: 0, size });
        self.last_claim
    }

    /// Lets a region have `held` bytes.
    ///
    /// It gets them only if all that it still lacks would fit. So of several regions that are not whole the one that grew
    /// last can always be finished, and after it the others: none waits for bytes that another half keeps.
    fn grant(
        &mut self,
        number: u64,
        held: usize,
        options: &ArenaOptions,
        unused: &mut Vec<Chunk>,
    ) -> Result<(), AllocError> {
        let claimed = self.claims.get(&number);
        // A forked process has none of its parent's.
        let claimed = claimed.ok_or(AllocError::NoMemory { len: held })?;
        let lacks = claimed.size - claimed.held;
        let has_room = |state: &Self| {
            let taken = state.reserved + state.growing;
            lacks <= options.budget.saturating_sub(taken)
        };
        if !has_room(self) {
            unused.extend(self.remove_unused(0));
        }
        if !has_room(self) {
            return Err(AllocError::Budget {
                len: lacks,
                used: self.used,
                budget: options.budget,
            });
        }
        self.set_held(number, held);
        Ok(())
    }

    /// Sets what a region has of the budget, to less than it had without a question.
    pub(super) fn set_held(&mut self, number: u64, held: usize) {
        if let Some(claimed) = self.claims.get_mut(&number) {
            let before = std::mem::replace(&mut claimed.held, held);
            self.used = self.used - before + held;
            self.reserved = self.reserved - before + held;
        }
    }

    /// Ends a claim, whose bytes go back to the system or are a chunk now.
    pub(super) fn end_claim(&mut self, number: u64) {
        self.set_held(number, 0);
        self.claims.remove(&number);
    }

    /// Makes a chunk of a region that is whole, and returns where its `len` bytes lie in it.
    pub(super) fn finish_claim(
        &mut self,
        number: u64,
        pages: &Arc<SharedPages>,
        len: usize,
    ) -> Range<usize> {
        self.end_claim(number);
        self.add(Arc::clone(pages));
        let range = 0..len.max(1).next_multiple_of(ALIGNMENT);
        if let Some(chunk) = self.chunks.last_mut() {
            // The only free run begins at zero.
            chunk.free.take(range.len());
            chunk.fresh.take(range.clone());
        }
        self.used += range.len();
        range
    }

    fn begin(&mut self, growth: &Growth) {
        self.growing += growth.size;
        self.growing_shared |= growth.is_shared;
    }

    fn end(&mut self, growth: &Growth) {
        self.growing -= growth.size;
        if growth.is_shared {
            self.growing_shared = false;
        }
    }

    fn add(&mut self, pages: Arc<SharedPages>) {
        let len = pages.len();
        self.reserved += len;
        self.chunks.push(Chunk {
            pages,
            free: FreeRuns::whole(len),
            fresh: Fresh::whole(len),
        });
    }

    fn give(&mut self, pages: &Arc<SharedPages>, range: &Range<usize>, keep: usize) -> Vec<Chunk> {
        self.used -= range.len();
        if let Some(chunk) = self
            .chunks
            .iter_mut()
            .find(|chunk| Arc::ptr_eq(&chunk.pages, pages))
        {
            chunk.free.give(range.start, range.len());
        }
        if self.reserved - self.used > keep {
            self.remove_unused(keep)
        } else {
            Vec::new()
        }
    }

    /// Takes chunks with nothing in them out, until at most `keep` bytes are free.
    fn remove_unused(&mut self, keep: usize) -> Vec<Chunk> {
        let (mut reserved, used) = (self.reserved, self.used);
        let unused = self.chunks.extract_if(.., |chunk| {
            let is_empty = chunk.free.largest() == chunk.pages.len();
            let goes = is_empty && reserved - used > keep;
            if goes {
                reserved -= chunk.pages.len();
            }
            goes
        });
        let unused = unused.collect();
        self.reserved = reserved;
        unused
    }
}

/// Refuses what would not fit into an arena with nothing in it.
pub(super) fn check_size(len: usize, options: &ArenaOptions) -> Result<(), AllocError> {
    let max = options.budget;
    if len > max {
        return Err(AllocError::TooLarge { len, max });
    }
    Ok(())
}
