//! Where shared values live: memory that is used again and again.

mod free;
mod frozen;
mod options;
mod region;

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use numpush_message::{ALIGNMENT, AllocError, Buffer, BufferAllocator, BufferMut};
use numpush_shm_core::{HUGE_PAGE, HugePages, MemoryRange, Owned, SharedPages, forks};

use free::FreeRuns;
pub(crate) use frozen::freeze;
pub use options::ArenaOptions;

use crate::error::Error;

/// A pool of shared memory with a budget.
///
/// It hands out runs of bytes, aligned to 64, from a few large chunks, and has each back when the value in it is gone
/// from every process. Pages that were touched once stay mapped for the next value. It is a [`BufferAllocator`]: what a
/// listener or a connection receives into it goes from the socket to where workers see it.
///
/// Clones are the same arena. A forked process does not get memory of its parent's arena.
///
/// ```
/// use ndarray::Ix1;
/// use numpush_shm::{Arena, Error, SharedArray};
///
/// let arena = Arena::new(1 << 20);
/// let small = SharedArray::<f64, Ix1>::zeros(&arena, 1000)?;
/// assert_eq!(arena.usage().used, 8000);
/// let large = SharedArray::<f64, Ix1>::zeros(&arena, 1 << 20);
/// assert!(matches!(large, Err(Error::NoRoom(_))));
/// drop(small);
/// assert_eq!(arena.usage().used, 0);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone)]
pub struct Arena {
    inner: Arc<Inner>,
}

/// What an arena has and uses, in bytes.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArenaUsage {
    /// In values.
    pub used: usize,
    /// Taken from the system.
    pub reserved: usize,
    /// The most that it takes from the system.
    pub budget: usize,
    /// Number of chunks: each is one descriptor and one mapping.
    pub chunks: usize,
}

struct Inner {
    options: ArenaOptions,
    state: Mutex<State>,
}

struct State {
    forks: u32,
    used: usize,
    reserved: usize,
    chunks: Vec<Chunk>,
}

struct Chunk {
    pages: Arc<SharedPages>,
    free: FreeRuns,
}

/// Chunks for small values begin with this and grow with the arena, so that many values need few descriptors.
const SMALLEST_CHUNK: usize = 1 << 20;
/// Larger values get a chunk each.
const LARGEST_SHARED: usize = 64 << 20;

impl Arena {
    /// An arena of at most `budget` bytes, which it takes from the system as it needs them.
    pub fn new(budget: usize) -> Self {
        Self::with_options(ArenaOptions::new().budget(budget))
    }

    /// An arena with options.
    pub fn with_options(options: ArenaOptions) -> Self {
        let state = State {
            forks: forks(),
            used: 0,
            reserved: 0,
            chunks: Vec::new(),
        };
        Self {
            inner: Arc::new(Inner {
                options,
                state: Mutex::new(state),
            }),
        }
    }

    /// The arena of this process. Its budget is three quarters of the memory that is available at the first call.
    pub fn shared() -> Self {
        static SHARED: OnceLock<Arena> = OnceLock::new();
        SHARED
            .get_or_init(|| Self::with_options(ArenaOptions::default()))
            .clone()
    }

    /// What the arena has and uses.
    pub fn usage(&self) -> ArenaUsage {
        let state = self.inner.state();
        let (used, reserved, chunks) = (state.used, state.reserved, state.chunks.len());
        ArenaUsage {
            used,
            reserved,
            budget: self.inner.options.budget,
            chunks,
        }
    }

    /// Bytes of the arena in huge pages.
    ///
    /// # Errors
    /// [`Error::Io`] if /proc/self/smaps cannot be read.
    pub fn huge_bytes(&self) -> Result<u64, Error> {
        let chunks: Vec<Arc<SharedPages>> = self
            .inner
            .state()
            .chunks
            .iter()
            .map(|chunk| Arc::clone(&chunk.pages))
            .collect();
        let bytes: Result<Vec<u64>, _> = chunks.iter().map(|pages| pages.huge_bytes()).collect();
        bytes
            .map(|bytes| bytes.iter().sum())
            .map_err(Error::io("read /proc/self/smaps"))
    }

    /// Takes `len` bytes. They hold those of an earlier value, or zeros.
    pub(crate) fn reserve(&self, len: usize) -> Result<Allocation, AllocError> {
        let rounded = len
            .max(1)
            .checked_next_multiple_of(ALIGNMENT)
            .ok_or(AllocError::NoMemory { len })?;
        let mut state = self.inner.state();
        let (pages, start) = match state.take(rounded) {
            Some(taken) => taken,
            None => state.grow(rounded, &self.inner.options)?,
        };
        state.used += rounded;
        drop(state);
        let range = start..start + rounded;
        let home = Reservation {
            arena: Arc::clone(&self.inner),
            pages: Arc::clone(&pages),
            range,
            forks: forks(),
        };
        #[expect(
            clippy::expect_used,
            reason = "a free run is claimed by nobody: claims end before their home does"
        )]
        let claimed = pages
            .take_exclusive(start..start + len)
            .expect("free bytes are unclaimed");
        Ok(Allocation {
            claimed,
            home: Arc::new(home),
        })
    }

    /// Copies `bytes` into the arena. Returns the copy, and where it goes back to.
    pub(crate) fn copy_of(
        &self,
        bytes: &[u8],
    ) -> Result<(MemoryRange<Owned>, Arc<Reservation>), AllocError> {
        let Allocation { mut claimed, home } = self.reserve(bytes.len())?;
        claimed.bytes_mut().copy_from_slice(bytes);
        Ok((claimed, home))
    }

    /// Takes `len` zeros.
    pub(crate) fn reserve_zeros(&self, len: usize) -> Result<Allocation, Error> {
        let mut allocation = self.reserve(len)?;
        allocation.claimed.bytes_mut().fill(0);
        Ok(allocation)
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = numpush_os::lock(&self.state);
        let forks = forks();
        if state.forks != forks {
            // The parent hands these chunks out; ours begin anew.
            *state = State {
                forks,
                used: 0,
                reserved: 0,
                chunks: Vec::new(),
            };
        }
        state
    }
}

impl State {
    fn take(&mut self, len: usize) -> Option<(Arc<SharedPages>, usize)> {
        self.chunks.iter_mut().find_map(|chunk| {
            let start = chunk.free.take(len)?;
            Some((Arc::clone(&chunk.pages), start))
        })
    }

    /// Makes a chunk and takes the first `len` bytes of it.
    fn grow(
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

    fn give(&mut self, pages: &Arc<SharedPages>, range: &Range<usize>, keep: usize) {
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

/// Bytes of an arena. Dropped, they are the arena's again.
#[derive(Debug)]
pub(crate) struct Allocation {
    // Dropped first: the claim ends before the bytes are free.
    pub(crate) claimed: MemoryRange<Owned>,
    pub(crate) home: Arc<Reservation>,
}

/// Where bytes go back to when the last who shares them is gone.
pub(crate) struct Reservation {
    arena: Arc<Inner>,
    pages: Arc<SharedPages>,
    range: Range<usize>,
    forks: u32,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.forks == forks() {
            let keep = self.arena.options.keep;
            self.arena.state().give(&self.pages, &self.range, keep);
        }
    }
}

impl BufferAllocator for Arena {
    fn allocate(&mut self, len: usize) -> Result<Box<dyn BufferMut>, AllocError> {
        Ok(Box::new(region::ArenaBufferMut::new(self.reserve(len)?)))
    }

    /// Takes nothing but its own memory: workers see nothing else.
    fn adopt(&mut self, buffer: Buffer<'static>) -> Result<Buffer<'static>, Buffer<'static>> {
        let owner = buffer.owner::<Allocation>();
        let is_ours = owner.is_some_and(|own| Arc::ptr_eq(&own.home.arena, &self.inner));
        if is_ours || buffer.is_empty() {
            Ok(buffer)
        } else {
            Err(buffer)
        }
    }
}

impl fmt::Debug for Arena {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Arena").field(&self.usage()).finish()
    }
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Reservation").field(&self.range).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_thousand_values_take_few_chunks_and_give_back_each() {
        let arena = Arena::new(256 << 20);
        let mut all: Vec<Allocation> = (0..10_000).map(|_| arena.reserve(1000).unwrap()).collect();
        assert!(arena.usage().chunks < 10, "{:?}", arena.usage());
        assert_eq!(arena.usage().used, 10_000 * 1024);
        all.truncate(5_000);
        assert_eq!(arena.usage().used, 5_000 * 1024);
        drop(all);
        assert_eq!(arena.usage().used, 0);
    }

    #[test]
    fn the_budget_is_an_error() {
        let arena = Arena::new(8 << 20);
        let first = arena.reserve(5 << 20).unwrap();
        let error = arena.reserve(4 << 20).unwrap_err();
        assert_eq!(
            error,
            AllocError::Budget {
                len: 4 << 20,
                used: 5 << 20,
                budget: 8 << 20
            }
        );
        drop(first);
        // The empty chunk of five makes room for one of eight.
        assert_eq!(
            arena.reserve(8 << 20).unwrap().claimed.as_ref().len(),
            8 << 20
        );
        assert!(arena.reserve(usize::MAX).is_err());
    }

    #[test]
    fn pages_are_used_again_while_warm() {
        let arena = Arena::new(1 << 30);
        let mut first = arena.reserve(40 << 20).unwrap();
        first.claimed.bytes_mut()[5] = 7;
        let address = first.claimed.as_ref().as_ptr();
        drop(first);
        let again = arena.reserve(40 << 20).unwrap();
        assert_eq!(again.claimed.as_ref().as_ptr(), address);
        assert_eq!(address.align_offset(ALIGNMENT), 0);
    }

    #[test]
    fn what_is_over_the_keep_goes_back_to_the_system() {
        let arena = Arena::with_options(ArenaOptions::new().budget(1 << 30).keep(1 << 20));
        drop(arena.reserve(70 << 20).unwrap());
        assert_eq!(
            arena.usage(),
            ArenaUsage {
                budget: 1 << 30,
                ..ArenaUsage::default()
            }
        );
    }
}
