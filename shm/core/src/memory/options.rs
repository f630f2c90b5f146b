//! How shared pages are made.

/// Huge pages: fewer faults and fewer entries in the processor's translation cache.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum HugePages {
    /// As the system does by itself.
    #[default]
    System,
    /// Asked for where the kernel gives them to shared memory (/sys/kernel/mm/transparent_hugepage/shmem_enabled).
    Advise,
    /// From those that the administrator has set aside (/proc/sys/vm/nr_hugepages), for lengths that are whole ones; as
    /// [`Self::Advise`] if there are not enough.
    Reserved,
}

/// The NUMA node whose memory is taken. None of them is a requirement: a node that is full is left out.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum NodePolicy {
    /// That of the processor on which the memory is made, or what the process's own policy says (numactl(8)).
    #[default]
    Local,
    /// All nodes in turn, page by page: for memory that workers on all of them use alike.
    Interleave,
    /// This one.
    Node(u32),
}

/// How pages are made: by default as the system does by itself.
///
/// ```
/// use numpush_shm_core::{NodePolicy, PageOptions, SharedPages};
///
/// let options = PageOptions::new().node(NodePolicy::Interleave).populate(true);
/// let pages = SharedPages::new(1 << 20, options)?;
/// assert_eq!(pages.len(), 1 << 20);
/// # Ok::<_, std::io::Error>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PageOptions {
    /// Whether to ask for huge pages. They are never required. Default: [`HugePages::System`].
    pub huge: HugePages,
    /// On which NUMA node the memory is to lie. Default: [`NodePolicy::Local`].
    pub node: NodePolicy,
    /// Whether to map every page when the memory is made, by several threads, so that no later access has to. Default:
    /// false.
    pub populate: bool,
}

impl PageOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets whether to ask for huge pages.
    #[must_use]
    pub fn huge(mut self, huge: HugePages) -> Self {
        self.huge = huge;
        self
    }

    /// Sets on which NUMA node the memory is to lie.
    #[must_use]
    pub fn node(mut self, node: NodePolicy) -> Self {
        self.node = node;
        self
    }

    /// Sets whether to map every page when the memory is made.
    #[must_use]
    pub fn populate(mut self, populate: bool) -> Self {
        self.populate = populate;
        self
    }
}
