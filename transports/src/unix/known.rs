//! Descriptors of the user's own memory that the peer has mapped.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};

use numpush_message::Backing;
use numpush_os as os;

/// The user's descriptors, by address. None of them is kept open for the peer alone.
#[derive(Default)]
pub(super) struct Known {
    by_address: HashMap<usize, Entry>,
    uses: u64,
}

struct Entry {
    segment: u32,
    /// It keeps the address from being another's, and not the descriptor.
    descriptor: Weak<OwnedFd>,
    /// Bytes of the memory.
    len: u64,
    last_use: u64,
    /// Messages that lend of it.
    lent: u32,
    /// The peer has it.
    announced: bool,
}

impl Known {
    /// True if the memory has a number.
    pub(super) fn contains_memory(&self, backing: &Backing) -> bool {
        self.by_address.contains_key(&address(backing))
    }

    /// Gives memory a number, if the peer may map it. The peer checks that too, and hangs up if it may not.
    pub(super) fn add(&mut self, backing: &Backing, segment: u32) {
        let Ok(len) = os::lent_len(&*backing.file) else {
            return;
        };
        let entry = Entry {
            segment,
            descriptor: Arc::downgrade(&backing.file),
            len: len as u64,
            last_use: 0,
            lent: 0,
            announced: false,
        };
        self.by_address.insert(address(backing), entry);
    }

    /// The number of the memory in which `len` bytes of `backing` lie, if it has one.
    pub(super) fn segment(&mut self, backing: &Backing, len: usize) -> Option<u32> {
        let end = backing.offset.checked_add(len as u64)?;
        let entry = self.by_address.get_mut(&address(backing))?;
        self.uses += 1;
        entry.last_use = self.uses;
        (end <= entry.len).then_some(entry.segment)
    }

    /// Removes what the user has closed, and what the peer was not told of. Returns the numbers that the peer knows.
    pub(super) fn sweep(&mut self) -> Vec<u32> {
        let goes = |entry: &Entry| entry.descriptor.strong_count() == 0 || !entry.announced;
        let gone = self.by_address.extract_if(|_, entry| goes(entry));
        let known = gone.filter(|(_, entry)| entry.announced);
        known.map(|(_, entry)| entry.segment).collect()
    }

    /// Removes the `count` entries that were not used for longest, of those that the peer may forget. Returns their numbers.
    pub(super) fn evict(&mut self, count: usize, keep: &[u32]) -> Vec<u32> {
        let mut oldest: Vec<_> = self.idle(keep).collect();
        oldest.sort_unstable_by_key(|entry| entry.last_use);
        let evicted: Vec<u32> = oldest
            .iter()
            .take(count)
            .map(|entry| entry.segment)
            .collect();
        self.by_address
            .retain(|_, entry| !evicted.contains(&entry.segment));
        evicted
    }

    /// How many entries have to go so that the others have at most `budget` bytes in all.
    pub(super) fn over(&self, budget: u64, keep: &[u32]) -> usize {
        let mut bytes: u64 = self.by_address.values().map(|entry| entry.len).sum();
        let mut oldest: Vec<_> = self.idle(keep).collect();
        if bytes <= budget {
            return 0;
        }
        oldest.sort_unstable_by_key(|entry| entry.last_use);
        let needed = oldest.iter().take_while(|entry| {
            let goes = bytes > budget;
            bytes -= entry.len;
            goes
        });
        needed.count()
    }

    /// Number of the entries that the peer may forget: it has them, and no message lends of them.
    pub(super) fn count_idle(&self, keep: &[u32]) -> usize {
        self.idle(keep).count()
    }

    fn idle(&self, keep: &[u32]) -> impl Iterator<Item = &Entry> {
        let idle = |entry: &&Entry| entry.announced && entry.lent == 0;
        let kept = move |entry: &&Entry| !keep.contains(&entry.segment);
        self.by_address.values().filter(idle).filter(kept)
    }

    /// Number of the entries that the peer has.
    pub(super) fn announced(&self) -> usize {
        let announced = self.by_address.values().filter(|entry| entry.announced);
        announced.count()
    }

    /// The peer has the segment, if it is one of these.
    pub(super) fn set_announced(&mut self, segment: u32) {
        if let Some(entry) = self.find(segment) {
            entry.announced = true;
        }
    }

    /// The descriptor of a segment that the peer does not have.
    pub(super) fn unannounced(&self, segment: u32) -> Option<Arc<OwnedFd>> {
        let mut entries = self.by_address.values();
        let entry = entries.find(|entry| entry.segment == segment && !entry.announced)?;
        entry.descriptor.upgrade()
    }

    /// A message lends of the segment.
    pub(super) fn lend(&mut self, segment: u32) {
        if let Some(entry) = self.find(segment) {
            entry.lent += 1;
        }
    }

    /// A message does not lend of the segment any more.
    pub(super) fn release(&mut self, segment: u32) {
        if let Some(entry) = self.find(segment) {
            entry.lent -= 1;
        }
    }

    pub(super) fn contains(&self, segment: u32) -> bool {
        let mut entries = self.by_address.values();
        entries.any(|entry| entry.segment == segment)
    }

    fn find(&mut self, segment: u32) -> Option<&mut Entry> {
        let mut entries = self.by_address.values_mut();
        entries.find(|entry| entry.segment == segment)
    }
}

fn address(backing: &Backing) -> usize {
    Arc::as_ptr(&backing.file).addr()
}
