//! What every shared value consists of: guarded bytes, their locks, and where both come from.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use numpush_shm_core::{
    Double, LockAddress, Locked, MemoryRange, OwnedLock, RobustRwLock, SharedPages, forks,
};
use serde::{Deserialize, Serialize};

use crate::arena::Reservation;
use crate::client::Lease;
use crate::error::Error;
use crate::handle::Handle;
use crate::{array, frame, graph, host};

/// A shared value, in the process that made it or in one that opened it.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) meta: Descriptor,
    // Dropped in this order: claims end, then locks retire, then the memory is free for the next value.
    pub(crate) spans: Spans,
    pub(crate) origin: Origin,
}

/// The bytes of a value.
#[derive(Debug)]
pub(crate) enum Spans {
    /// Runs of bytes, each under its lock.
    Guarded(Vec<MemoryRange<Locked>>),
    /// Two buffers, one read and one written.
    Pair(MemoryRange<Double>),
}

/// Who made a value.
#[derive(Debug)]
pub(crate) enum Origin {
    Owned(Owned),
    Leased(Lease),
}

/// What the process that made a value keeps of it.
#[derive(Debug)]
pub(crate) struct Owned {
    /// Shared by versions of one frame.
    blocks: Arc<Vec<OwnedLock>>,
    homes: Vec<Arc<Reservation>>,
    number: u64,
    pub(crate) born: Instant,
    forks: u32,
}

/// What a value is, as it is told to a process that opens it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Descriptor {
    Array(array::Descriptor),
    Frame(frame::Descriptor),
    Graph(graph::Descriptor),
    Mutex,
}

impl Descriptor {
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Array(_) => "an array",
            Self::Frame(_) => "a frame",
            Self::Graph(_) => "a graph",
            Self::Mutex => "a mutex",
        }
    }
}

/// All that a process needs to open a value, but for the descriptors of the memory it names.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct OpenReply {
    meta: Descriptor,
    spans: Vec<SpanOffer>,
    locks: Vec<LockOffer>,
    paired: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct SpanOffer {
    memory: u64,
    start: usize,
    len: usize,
    /// Index of its lock.
    lock: usize,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct LockOffer {
    pub(crate) memory: u64,
    index: u32,
    generation: u64,
}

impl LockOffer {
    pub(crate) fn new(block: &OwnedLock) -> Self {
        let LockAddress { index, generation } = block.place();
        Self {
            memory: block.memory(),
            index,
            generation,
        }
    }

    fn place(self) -> LockAddress {
        LockAddress {
            index: self.index,
            generation: self.generation,
        }
    }
}

impl Object {
    /// Makes a value of bytes that one owner has: under one lock for all, or under one for each of them.
    pub(crate) fn new(
        meta: Descriptor,
        claims: Vec<MemoryRange<numpush_shm_core::Owned>>,
        locks: Locks,
        homes: Vec<Arc<Reservation>>,
    ) -> Result<Arc<Self>, Error> {
        let count = if locks == Locks::Each {
            claims.len()
        } else {
            1
        };
        let blocks: Result<Vec<OwnedLock>, _> = (0..count).map(|_| OwnedLock::new()).collect();
        let blocks = Arc::new(blocks.map_err(Error::io("make a lock"))?);
        let lock = |at: usize| blocks[if locks == Locks::Each { at } else { 0 }].lock();
        let guard = |(at, claim): (usize, MemoryRange<numpush_shm_core::Owned>)| {
            claim.into_locked(lock(at))
        };
        let spans = Spans::Guarded(claims.into_iter().enumerate().map(guard).collect());
        Ok(Self::register(meta, spans, blocks, homes))
    }

    /// Makes a value of two buffers in one run of bytes.
    pub(crate) fn new_pair(
        meta: Descriptor,
        claim: MemoryRange<numpush_shm_core::Owned>,
        home: Arc<Reservation>,
    ) -> Result<Arc<Self>, Error> {
        let block = OwnedLock::new().map_err(Error::io("make a lock"))?;
        let spans = Spans::Pair(claim.into_double(block.lock()));
        Ok(Self::register(
            meta,
            spans,
            Arc::new(vec![block]),
            vec![home],
        ))
    }

    /// Makes a version of `self` with other bytes under the same locks.
    pub(crate) fn version(
        &self,
        meta: Descriptor,
        spans: Vec<MemoryRange<Locked>>,
        homes: Vec<Arc<Reservation>>,
    ) -> Result<Arc<Self>, Error> {
        let owned = self.owned("change its columns")?;
        Ok(Self::register(
            meta,
            Spans::Guarded(spans),
            Arc::clone(&owned.blocks),
            homes,
        ))
    }

    fn register(
        meta: Descriptor,
        spans: Spans,
        blocks: Arc<Vec<OwnedLock>>,
        homes: Vec<Arc<Reservation>>,
    ) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let owned = Owned {
            blocks,
            homes,
            number,
            born: Instant::now(),
            forks: forks(),
        };
        let value = Arc::new(Self {
            meta,
            spans,
            origin: Origin::Owned(owned),
        });
        registry().insert(number, Arc::downgrade(&value));
        value
    }

    /// The runs of bytes.
    pub(crate) fn guarded(&self) -> &[MemoryRange<Locked>] {
        match &self.spans {
            Spans::Guarded(spans) => spans,
            Spans::Pair(_) => &[],
        }
    }

    /// The lock of a value that has one.
    pub(crate) fn lock(&self) -> RobustRwLock {
        match &self.spans {
            Spans::Pair(pair) => pair.lock(),
            Spans::Guarded(spans) => spans[0].lock(),
        }
    }

    /// Every lock, once.
    pub(crate) fn locks(&self) -> Vec<RobustRwLock> {
        match &self.spans {
            Spans::Pair(pair) => vec![pair.lock()],
            Spans::Guarded(spans) => {
                let mut locks: Vec<RobustRwLock> =
                    spans.iter().map(MemoryRange::<Locked>::lock).collect();
                locks.dedup_by_key(|lock| lock.id());
                locks
            }
        }
    }

    /// Bytes of the value.
    pub(crate) fn len(&self) -> usize {
        match &self.spans {
            Spans::Guarded(spans) => spans.iter().map(|span| span.range().len()).sum(),
            Spans::Pair(pair) => pair.range().len(),
        }
    }

    /// The memory the bytes lie in, and where.
    pub(crate) fn ranges(&self) -> Vec<(Arc<SharedPages>, std::ops::Range<usize>)> {
        match &self.spans {
            Spans::Guarded(spans) => spans
                .iter()
                .map(|span| (Arc::clone(span.pages()), span.range().clone()))
                .collect(),
            Spans::Pair(pair) => vec![(Arc::clone(pair.pages()), pair.range().clone())],
        }
    }

    pub(crate) fn owned(&self, what: &'static str) -> Result<&Owned, Error> {
        match &self.origin {
            Origin::Owned(owned) if owned.forks == forks() => Ok(owned),
            _ => Err(Error::NotOwner { what }),
        }
    }

    /// Where span `at` goes back to.
    pub(crate) fn homes(&self, what: &'static str) -> Result<&[Arc<Reservation>], Error> {
        self.owned(what).map(|owned| owned.homes.as_slice())
    }

    /// Joins those who have `spans`, for another version of the value.
    pub(crate) fn joined(
        &self,
        spans: impl IntoIterator<Item = usize>,
    ) -> Result<Vec<MemoryRange<Locked>>, Error> {
        let join = |at: usize| {
            let span = &self.guarded()[at];
            let joined = span.pages().join_locked(span.range().clone(), span.lock());
            joined.map_err(|_| Error::InUse {
                what: "its bytes are claimed in this process",
            })
        };
        spans.into_iter().map(join).collect()
    }

    /// The name by which another process opens the value.
    pub(crate) fn handle(&self) -> Result<Handle, Error> {
        match &self.origin {
            Origin::Leased(lease) => Ok(lease.handle.clone()),
            Origin::Owned(_) => {
                let number = self.owned("hand it out")?.number;
                Ok(Handle {
                    owner: host::name()?,
                    number,
                })
            }
        }
    }

    pub(crate) fn offer(&self) -> Result<OpenReply, Error> {
        let owned = self.owned("offer it")?;
        let locks: Vec<LockOffer> = owned.blocks.iter().map(LockOffer::new).collect();
        let lock_of = |lock: RobustRwLock| {
            owned
                .blocks
                .iter()
                .position(|block| block.lock().id() == lock.id())
        };
        let span = |pages: &Arc<SharedPages>, range: &std::ops::Range<usize>, lock| SpanOffer {
            memory: pages.memory(),
            start: range.start,
            len: range.len(),
            lock: lock_of(lock).unwrap_or(usize::MAX),
        };
        let (spans, paired) = match &self.spans {
            Spans::Guarded(all) => (
                all.iter()
                    .map(|one| span(one.pages(), one.range(), one.lock()))
                    .collect(),
                false,
            ),
            Spans::Pair(pair) => (vec![span(pair.pages(), pair.range(), pair.lock())], true),
        };
        Ok(OpenReply {
            meta: self.meta.clone(),
            spans,
            locks,
            paired,
        })
    }

    /// Opens what was offered; `fetch` gets the descriptor of a memory that this process does not map.
    pub(crate) fn open(
        offer: OpenReply,
        mut fetch: impl FnMut(u64) -> Result<OwnedFd, Error>,
    ) -> Result<(Descriptor, Spans), Error> {
        let garbled = |what| Error::Protocol {
            peer: "the owner".into(),
            what,
        };
        let mut locks = Vec::with_capacity(offer.locks.len());
        for lock in offer.locks {
            locks.push(open_lock(lock, &mut fetch)?);
        }
        let mut pages_of = |memory| match SharedPages::find(memory) {
            Some(pages) => Ok(pages),
            None => {
                let descriptor = fetch(memory)?;
                SharedPages::attach(descriptor)
                    .map_err(Error::io("map the memory of a shared value"))
            }
        };
        let mut open_span = |span: &SpanOffer| {
            let pages = pages_of(span.memory)?;
            let end = span
                .start
                .checked_add(span.len)
                .filter(|&end| end <= pages.len());
            let range = span.start..end.ok_or_else(|| garbled("bytes outside the memory"))?;
            let lock = *locks
                .get(span.lock)
                .ok_or_else(|| garbled("a lock that is not there"))?;
            Ok::<_, Error>((pages, range, lock))
        };
        let in_use = |_| Error::InUse {
            what: "its bytes are claimed in this process",
        };
        let spans = if offer.paired {
            let (pages, range, lock) = open_span(
                offer
                    .spans
                    .first()
                    .ok_or_else(|| garbled("a value without bytes"))?,
            )?;
            Spans::Pair(pages.join_double(range, lock).map_err(in_use)?)
        } else {
            let open = |span| {
                let (pages, range, lock) = open_span(span)?;
                pages.join_locked(range, lock).map_err(in_use)
            };
            Spans::Guarded(offer.spans.iter().map(open).collect::<Result<_, _>>()?)
        };
        Ok((offer.meta, spans))
    }

    /// Takes the bytes from the locks, if nobody else has the value.
    pub(crate) fn into_claims(value: Arc<Self>) -> Result<Parts, Error> {
        value.owned("take it from its locks")?;
        let value = alone(value)?;
        let Self {
            meta,
            spans,
            origin,
        } = value;
        let (Spans::Guarded(spans), Origin::Owned(owned)) = (spans, origin) else {
            return Err(Error::InUse {
                what: "it has two buffers",
            });
        };
        let claims: Result<Vec<MemoryRange<numpush_shm_core::Owned>>, _> = spans
            .into_iter()
            .map(MemoryRange::<Locked>::into_owned)
            .collect();
        let claims = claims.map_err(|_| Error::InUse {
            what: "another version of it has the same bytes",
        })?;
        Ok((meta, claims, owned.homes.clone()))
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        if self.forks == forks() {
            registry().remove(&self.number);
        }
    }
}

/// The value, if nobody else has it. Somebody who only reports on it lets go within a moment.
fn alone(value: Arc<Object>) -> Result<Object, Error> {
    let until = Instant::now() + Duration::from_millis(20);
    let mut value = value;
    loop {
        value = match Arc::try_unwrap(value) {
            Ok(value) => return Ok(value),
            Err(value) => value,
        };
        if Instant::now() > until {
            return Err(Error::InUse {
                what: "another handle or process has it open",
            });
        }
        std::thread::yield_now();
    }
}

/// A value taken apart: what it was, its bytes, and where they go back to.
pub(crate) type Parts = (
    Descriptor,
    Vec<MemoryRange<numpush_shm_core::Owned>>,
    Vec<Arc<Reservation>>,
);

/// Whether a value's runs of bytes share a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Locks {
    One,
    Each,
}

/// Opens a lock of another process.
pub(crate) fn open_lock(
    lock: LockOffer,
    fetch: &mut impl FnMut(u64) -> Result<OwnedFd, Error>,
) -> Result<RobustRwLock, Error> {
    match RobustRwLock::find(lock.memory, lock.place()) {
        Some(lock) => Ok(lock),
        None => RobustRwLock::attach(fetch(lock.memory)?, lock.place())
            .map_err(Error::io("map the locks of a shared value")),
    }
}

pub(crate) type Registry = HashMap<u64, Weak<Object>>;

/// Every value this process has made, by number.
pub(crate) fn registry() -> Registered {
    static REGISTRY: Mutex<Option<Registry>> = Mutex::new(None);
    Registered(REGISTRY.lock().unwrap_or_else(PoisonError::into_inner))
}

pub(crate) struct Registered(MutexGuard<'static, Option<Registry>>);

impl Registered {
    pub(crate) fn find(&self, number: u64) -> Option<Arc<Object>> {
        self.0
            .as_ref()
            .and_then(|map| map.get(&number))
            .and_then(Weak::upgrade)
    }

    pub(crate) fn all(&self) -> Vec<(u64, Arc<Object>)> {
        let map = self.0.iter().flatten();
        let mut all: Vec<_> = map
            .filter_map(|(number, weak)| Some((*number, weak.upgrade()?)))
            .collect();
        all.sort_by_key(|(number, _)| *number);
        all
    }

    fn insert(&mut self, number: u64, value: Weak<Object>) {
        self.0.get_or_insert_default().insert(number, value);
    }

    fn remove(&mut self, number: &u64) {
        if let Some(map) = &mut *self.0 {
            map.remove(number);
        }
    }
}
