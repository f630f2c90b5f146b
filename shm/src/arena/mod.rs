//! Where shared values live: memory that is used again and again.

mod allocation;
mod fresh;
mod frozen;
mod growing;
mod growth;
mod options;
mod returning;
mod state;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use numpush_message::{ALIGNMENT, AllocError, Buffer, BufferAllocator, BufferMut};
use numpush_os::{GlobalMutex, page_size};
use numpush_shm_core::{HugePages, MemoryRange, Owned, SharedPages, forks};

use allocation::ArenaBufferMut;
pub(crate) use allocation::{Allocation, Reservation};
use fresh::Stale;
pub(crate) use frozen::freeze;
use growing::{AT_ONCE, GrowingBuffer};
pub use options::ArenaOptions;
pub(crate) use returning::Returning;
use state::{Inner, Taken, check_size};

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

impl Arena {
    /// An arena of at most `budget` bytes, which it takes from the system as it needs them.
    pub fn new(budget: usize) -> Self {
        Self::with_options(ArenaOptions::new().budget(budget))
    }

    /// An arena with options.
    pub fn with_options(options: ArenaOptions) -> Self {
        Self {
            inner: Arc::new(Inner::new(options)),
        }
    }

    /// The arena of this process. Its budget is three quarters of the machine's memory, or of the control
    /// group's limit.
    pub fn shared() -> Self {
        static SHARED: GlobalMutex<Option<Arena>> = GlobalMutex::outer(None);
        SHARED
            .lock()
            .get_or_insert_with(|| Self::with_options(ArenaOptions::default()))
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

    /// Gives memory with no value in it back to the system, whatever is to be [kept](ArenaOptions::keep), and returns its
    /// bytes. Memory that another process has open goes when that process lets go of it.
    ///
    /// ```
    /// use ndarray::Ix1;
    /// use numpush_shm::{Arena, SharedArray};
    ///
    /// let arena = Arena::new(1 << 30);
    /// drop(SharedArray::<f64, Ix1>::zeros(&arena, 1 << 20)?);
    /// assert_eq!(arena.usage().reserved, 8 << 20);
    /// assert_eq!(arena.trim(), 8 << 20);
    /// assert_eq!(arena.usage().reserved, 0);
    /// # Ok::<(), numpush_shm::Error>(())
    /// ```
    pub fn trim(&self) -> usize {
        self.inner.trim()
    }

    /// Takes `len` bytes. They hold those of an earlier value, or zeros.
    pub(crate) fn reserve(&self, len: usize) -> Result<Allocation, AllocError> {
        self.take(len).map(|(allocation, _)| allocation)
    }

    /// Takes `len` bytes. Those of the ranges returned may hold an earlier value; all others are zero.
    fn take(&self, len: usize) -> Result<(Allocation, Stale), AllocError> {
        let rounded = self.rounded(len)?;
        let taken = returning::retry(|| self.inner.take(rounded))?;
        Ok(self.allocation(taken, len))
    }

    /// What `len` bytes take of the arena.
    fn rounded(&self, len: usize) -> Result<usize, AllocError> {
        let rounded = len.max(1).checked_next_multiple_of(ALIGNMENT);
        rounded.ok_or(AllocError::TooLarge {
            len,
            max: self.inner.options.budget,
        })
    }

    /// The first `len` of the bytes that were taken, and which of them may hold an earlier value.
    fn allocation(&self, taken: Taken, len: usize) -> (Allocation, Stale) {
        let Taken {
            pages,
            range,
            stale,
        } = taken;
        let start = range.start;
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
        let within = |stale: Range<usize>| {
            let (from, to) = (stale.start - start, stale.end - start);
            from.min(len)..to.min(len)
        };
        let home = Arc::new(home);
        let stale = stale.into_iter().map(within).collect();
        (Allocation { claimed, home }, stale)
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

    /// Takes `len` zeros. Pages fresh from the kernel are zeros already: they are not touched.
    pub(crate) fn reserve_zeros(&self, len: usize) -> Result<Allocation, Error> {
        let (mut allocation, stale) = self.take(len)?;
        let bytes = allocation.claimed.bytes_mut();
        stale.into_iter().for_each(|range| bytes[range].fill(0));
        Ok(allocation)
    }
}

impl BufferAllocator for Arena {
    fn allocate(&mut self, len: usize) -> Result<Box<dyn BufferMut>, AllocError> {
        Ok(Box::new(ArenaBufferMut::new(self.reserve(len)?)))
    }

    /// Memory that is there already, or that comes as the bytes do: a claim takes nothing of the system and of the budget.
    /// Huge pages that were set aside, and up to 16 MiB, are taken at once.
    fn claim(&mut self, len: usize) -> Result<Box<dyn BufferMut>, AllocError> {
        let options = &self.inner.options;
        if len <= AT_ONCE || options.pages.huge == HugePages::Reserved {
            return self.allocate(len);
        }
        let rounded = self.rounded(len)?;
        check_size(rounded, options)?;
        if let Some(warm) = self.inner.take_warm(rounded) {
            let (allocation, _) = self.allocation(warm, len);
            return Ok(Box::new(ArenaBufferMut::new(allocation)));
        }
        let whole_pages = rounded.next_multiple_of(page_size());
        let size = if whole_pages <= options.budget {
            whole_pages
        } else {
            rounded
        };
        let growing = GrowingBuffer::new(&self.inner, len, size, options.pages)?;
        Ok(Box::new(growing))
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
    fn zeros_are_zeros_wherever_they_lie() {
        let arena = Arena::new(1 << 20);
        let dirty = |len| {
            let mut allocation = arena.reserve(len).unwrap();
            allocation.claimed.bytes_mut().fill(7);
            allocation
        };
        let (first, second) = (dirty(1000), dirty(5000));
        drop(first);
        let _between = dirty(100);
        drop(second);
        let all: Vec<Allocation> = [900, 6000, 1, 300_000]
            .map(|len| arena.reserve_zeros(len).unwrap())
            .into();
        for zeros in &all {
            assert!(zeros.as_ref().iter().all(|&byte| byte == 0));
        }
    }

    /// What the kernel has made zero is not written once more: not one page of it is touched.
    #[test]
    fn fresh_pages_are_not_touched() {
        let arena = Arena::new(64 << 20);
        let zeros = arena.reserve_zeros(16 << 20).unwrap();
        let touched = zeros.home.pages.resident(&zeros.home.range).unwrap();
        assert_eq!(touched, 0);
        drop(zeros);
        drop(arena.reserve_zeros(16 << 20).unwrap());
        let again = arena.reserve_zeros(16 << 20).unwrap();
        let touched = again.home.pages.resident(&again.home.range).unwrap();
        assert_eq!(touched, 16 << 20, "used before, and so written");
    }

    #[test]
    fn what_is_not_used_goes_back_on_request() {
        let arena = Arena::new(1 << 30);
        let kept = arena.reserve(10).unwrap();
        drop(arena.reserve(40 << 20).unwrap());
        assert_eq!(arena.trim(), 40 << 20);
        assert_eq!(arena.usage().reserved, 1 << 20);
        assert_eq!(arena.trim(), 0);
        drop(kept);
        assert_eq!(arena.trim(), 1 << 20);
    }

    /// A thread that finds no room waits for the chunk that another is making.
    #[test]
    fn threads_that_grow_at_once_share_a_chunk() {
        let arena = Arena::new(1 << 20);
        let all: Vec<Allocation> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| arena.reserve(100 << 10).unwrap()))
                .collect();
            threads.into_iter().map(|it| it.join().unwrap()).collect()
        });
        assert_eq!(arena.usage().chunks, 1);
        drop(all);
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
