use numpush_os::total_memory;
use numpush_shm_core::PageOptions;

/// How an arena gets its memory.
///
/// ```
/// use numpush_shm::{Arena, ArenaOptions, HugePages, PageOptions};
///
/// let pages = PageOptions::new().huge(HugePages::Advise);
/// let options = ArenaOptions::new().budget(1 << 30).keep(64 << 20).pages(pages);
/// assert_eq!(Arena::with_options(options).usage().budget, 1 << 30);
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug)]
pub struct ArenaOptions {
    /// Most bytes that the arena takes from the system; an allocation over it is an error. Default: three quarters of the
    /// machine's memory, or of the control group's limit. An allocation of memory that is not there at the moment is an
    /// error too.
    pub budget: usize,
    /// Bytes that stay with the arena when nothing is in them, so that the next value finds its pages mapped. Default: a
    /// quarter of the default budget.
    pub keep: usize,
    /// Huge pages and NUMA. Default: those of [`PageOptions`].
    pub pages: PageOptions,
}

impl ArenaOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the most bytes that the arena takes from the system.
    #[must_use]
    pub fn budget(mut self, bytes: usize) -> Self {
        self.budget = bytes;
        self
    }

    /// Sets the bytes that stay with the arena when nothing is in them.
    #[must_use]
    pub fn keep(mut self, bytes: usize) -> Self {
        self.keep = bytes;
        self
    }

    /// Sets how pages are made.
    #[must_use]
    pub fn pages(mut self, pages: PageOptions) -> Self {
        self.pages = pages;
        self
    }
}

impl Default for ArenaOptions {
    fn default() -> Self {
        let total = total_memory().unwrap_or(1 << 30);
        let budget = usize::try_from(total / 4 * 3).unwrap_or(usize::MAX);
        Self {
            budget,
            keep: budget / 4,
            pages: PageOptions::default(),
        }
    }
}
