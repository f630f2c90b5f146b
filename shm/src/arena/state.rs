//! The chunks of an arena: which are there, what is free in them, and when they go back to the system.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use numpush_message::AllocError;
use numpush_shm_core::{HUGE_PAGE, HugePages, SharedPages, forks};

use super::free::FreeRuns;
use super::options::ArenaOptions;

/// What all clones of an arena share.
pub(super) struct Inner {
    pub(super) options: ArenaOptions,
    state: Mutex<State>,
}

/// The chunks of a process, and what is free in them.
pub(super) struct State {
    forks: u32,
    pub(super) used: usize,
    pub(super) reserved: usize,
    pub(super) chunks: Vec<Chunk>,
}

pub(super) struct Chunk {
    pub(super) pages: Arc<SharedPages>,
    free: FreeRuns,
}

/// Chunks for small values begin with this and grow with the arena, so that many values need few descriptors.
const SMALLEST_CHUNK: usize = 1 << 20;
/// Larger values get a chunk each.
const LARGEST_SHARED: usize = 64 << 20;

impl Inner {
    pub(super) fn new(options: ArenaOptions) -> Self {
        Self {
            options,
            state: Mutex::new(State::new(forks())),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        let mut state = numpush_os::lock(&self.state);
        let forks = forks();
        if state.forks != forks {
            // The parent hands these chunks out; ours begin anew.
            *state = State::new(forks);
        }
        state
    }
}

impl State {
    fn new(forks: u32) -> Self {
        Self {
            forks,
            used: 0,
            reserved: 0,
            chunks: Vec::new(),
        }
    }

    pub(super) fn take(&mut self, len: usize) -> Option<(Arc<SharedPages>, usize)> {
        self.chunks.iter_mut().find_map(|chunk| {
            let start = chunk.free.take(len)?;
            Some((Arc::clone(&chunk.pages), start))
        })
    }

    /// Makes a chunk and takes the first `len` bytes of it.
    pub(super) fn grow(
        &mut self,
        len: usize,
        options: &ArenaOptions,
    ) -> Result<(Arc<SharedPages>, usize), AllocError> {
        let over = |state: &Self| AllocError::Budget {
            len,
            used: state.used,
            budget: options.budget,
        };
        if self
            .used
            .checked_add(len)
            .is_none_or(|total| total > options.budget)
        {
            return Err(over(self));
        }
        if self.reserved + len > options.budget {
            // What is free is in runs too short, some of them in chunks with nothing else.
            self.drop_empty(0);
        }
        let room = options.budget - self.reserved.min(options.budget);
        if len > room {
            return Err(over(self));
        }
        let generous = self.reserved.clamp(SMALLEST_CHUNK, LARGEST_SHARED);
        // A page more or less is no matter for values that have a chunk to themselves.
        let grain = if options.pages.huge == HugePages::Reserved {
            HUGE_PAGE
        } else {
            4096
        };
        let exact = len.next_multiple_of(grain).min(room);
        let size = if len <= generous / 2 {
            generous.min(room)
        } else {
            exact
        };
        let attempt = |size| SharedPages::new(size, options.pages);
        let pages = attempt(size)
            .or_else(|_| attempt(exact))
            .map_err(|_| AllocError::NoMemory { len })?;
        let size = pages.len();
        let mut free = FreeRuns::whole(size);
        let start = free.take(len).unwrap_or(0);
        self.reserved += size;
        self.chunks.push(Chunk {
            pages: Arc::clone(&pages),
            free,
        });
        Ok((pages, start))
    }

    pub(super) fn give(&mut self, pages: &Arc<SharedPages>, range: &Range<usize>, keep: usize) {
        self.used -= range.len();
        if let Some(chunk) = self
            .chunks
            .iter_mut()
            .find(|chunk| Arc::ptr_eq(&chunk.pages, pages))
        {
            chunk.free.give(range.start, range.len());
        }
        if self.reserved - self.used > keep {
            self.drop_empty(keep);
        }
    }

    /// Gives chunks with nothing in them back to the system, until at most `keep` bytes are kept warm.
    fn drop_empty(&mut self, keep: usize) {
        let (mut reserved, used) = (self.reserved, self.used);
        self.chunks.retain(|chunk| {
            let is_empty = chunk.free.largest() == chunk.pages.len();
            let goes = is_empty && reserved - used > keep;
            if goes {
                reserved -= chunk.pages.len();
            }
            !goes
        });
        self.reserved = reserved;
    }
}
