//! How large a new chunk is, and its making.

use std::io;
use std::sync::Arc;

use numpush_message::AllocError;
use numpush_shm_core::{HUGE_PAGE, HugePages, PageOptions, SharedPages};

use super::options::ArenaOptions;

/// A chunk that is to be made.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Growth {
    /// Its bytes.
    pub(super) size: usize,
    /// Whether it is for more than the value it is made for.
    pub(super) is_shared: bool,
    /// The bytes that are needed.
    len: usize,
    /// The bytes that suffice, if `size` cannot be had.
    exact: usize,
}

/// Chunks for small values begin with this and grow with the arena, so that many values need few descriptors.
const SMALLEST_CHUNK: usize = 1 << 20;
/// Larger values get a chunk each.
const LARGEST_SHARED: usize = 64 << 20;

impl Growth {
    /// A chunk with room for `len` bytes beside the `taken` ones, if the budget allows it.
    pub(super) fn new(len: usize, taken: usize, options: &ArenaOptions) -> Option<Self> {
        let room = options.budget.saturating_sub(taken);
        if len > room {
            return None;
        }
        let generous = taken.clamp(SMALLEST_CHUNK, LARGEST_SHARED);
        let grain = match options.pages.huge {
            HugePages::Reserved => HUGE_PAGE,
            _ => numpush_os::page_size(),
        };
        // A page more or less is no matter for values that have a chunk to themselves.
        let exact = len.next_multiple_of(grain).min(room);
        let is_shared = len <= generous / 2;
        Some(Self {
            size: if is_shared { generous.min(room) } else { exact },
            is_shared,
            len,
            exact,
        })
    }

    /// Asks the kernel for it, or for as much as is needed.
    pub(super) fn make(&self, options: PageOptions) -> Result<Arc<SharedPages>, AllocError> {
        let made = SharedPages::new(self.size, options);
        let made = match made {
            Err(error) if is_shortage(&error) && self.exact < self.size => {
                SharedPages::new(self.exact, options)
            }
            made => made,
        };
        made.map_err(|error| refused(self.len, &error))
    }
}

fn is_shortage(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::OutOfMemory | io::ErrorKind::StorageFull
    )
}

pub(super) fn refused(len: usize, error: &io::Error) -> AllocError {
    match error.raw_os_error() {
        Some(code) if !is_shortage(error) => AllocError::System { len, code },
        _ => AllocError::NoMemory { len },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn growth(len: usize, taken: usize, budget: usize) -> Option<(usize, bool)> {
        let options = ArenaOptions::new().budget(budget);
        let growth = Growth::new(len, taken, &options)?;
        Some((growth.size, growth.is_shared))
    }

    #[test]
    fn chunks_for_small_values_grow_with_the_arena() {
        assert_eq!(growth(64, 0, 1 << 30), Some((1 << 20, true)));
        assert_eq!(growth(64, 8 << 20, 1 << 30), Some((8 << 20, true)));
        assert_eq!(growth(64, 512 << 20, 1 << 30), Some((64 << 20, true)));
        assert_eq!(growth(1 << 20, 0, 1 << 30), Some((1 << 20, false)));
        assert_eq!(growth(64, 0, 1000), Some((1000, true)));
        assert_eq!(growth(64, 960, 1000), None);
        assert_eq!(growth(64, 2000, 1000), None);
    }

    #[test]
    fn what_the_system_says_is_kept() {
        let of = |code| refused(8, &io::Error::from_raw_os_error(code));
        const EMFILE: i32 = 24;
        const ENOMEM: i32 = 12;
        assert_eq!(of(ENOMEM), AllocError::NoMemory { len: 8 });
        let error = of(EMFILE);
        assert!(error.to_string().contains("open files"), "{error}");
    }
}
