//! A shared value without regard to its kind, and the register of those that this process made.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Instant;

use numpush_shm_core::{Locked, MemoryRange, Owned, OwnedLock, RobustRwLock, forks};

use crate::arena::Reservation;
use crate::error::Error;
use crate::object::handle::Handle;
use crate::object::protocol::Description;
use crate::object::spans::Spans;

/// A shared value, in the process that made it or in one that opened it.
#[derive(Debug)]
pub(crate) struct RawObject {
    pub(super) description: Description,
    // Dropped in this order: claims end, then locks retire, then the memory is free for the next value.
    pub(crate) spans: Spans,
    pub(super) origin: Origin,
}

/// Who made a value.
#[derive(Debug)]
pub(super) enum Origin {
    Owned(OwnedState),
    Leased {
        handle: Handle,
        /// Dropped, it informs the owner.
        _lease: Box<dyn Lease>,
    },
}

/// Keeps a value alive in the process that owns it.
pub(super) trait Lease: fmt::Debug + Send + Sync {}

/// What the process that made a value keeps of it.
pub(super) struct OwnedState {
    /// Shared by versions of one frame or graph.
    pub(super) locks: Arc<Vec<OwnedLock>>,
    /// Where each span goes back to.
    pub(super) reservations: Vec<Arc<Reservation>>,
    pub(super) number: u64,
    pub(super) created: Instant,
    pub(super) summary: Summary,
    forks: u32,
}

/// Says in a few words what the bytes of a description describe.
pub(super) type Summary = fn(&[u8]) -> String;

impl RawObject {
    /// A value of this process, which others may open from now on.
    pub(super) fn register(
        description: Description,
        summary: Summary,
        spans: Spans,
        locks: Arc<Vec<OwnedLock>>,
        reservations: Vec<Arc<Reservation>>,
    ) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let owned = OwnedState {
            locks,
            reservations,
            number,
            created: Instant::now(),
            summary,
            forks: forks(),
        };
        let object = Self {
            description,
            spans,
            origin: Origin::Owned(owned),
        };
        object.into_shared()
    }

    fn into_shared(self) -> Arc<Self> {
        let object = Arc::new(self);
        if let Origin::Owned(owned) = &object.origin {
            registry(|objects| objects.insert(owned.number, Arc::downgrade(&object)));
        }
        object
    }

    /// Takes the bytes from their locks. Returns the value if another version of it has some of them.
    pub(super) fn into_claims(self) -> Result<Vec<MemoryRange<Owned>>, Arc<Self>> {
        let Self {
            description,
            spans,
            origin,
        } = self;
        let spans = match spans {
            Spans::Locked(spans) => match into_claimed(spans) {
                Ok(claims) => return Ok(claims),
                Err(spans) => Spans::Locked(spans),
            },
            pair => pair,
        };
        let object = Self {
            description,
            spans,
            origin,
        };
        Err(object.into_shared())
    }

    /// The kind of the value: see [`Describe::KIND`](super::Describe::KIND).
    pub(crate) fn kind(&self) -> &str {
        &self.description.kind
    }

    /// What its owner has of the value, in the process that made it; `what` is what only that process can do.
    pub(super) fn owned(&self, what: &'static str) -> Result<&OwnedState, Error> {
        match &self.origin {
            Origin::Owned(owned) if owned.forks == forks() => Ok(owned),
            _ => Err(Error::NotOwner { what }),
        }
    }

    /// Where each span goes back to.
    pub(crate) fn reservations(&self, what: &'static str) -> Result<&[Arc<Reservation>], Error> {
        self.owned(what).map(|owned| owned.reservations.as_slice())
    }

    /// The first lock.
    pub(crate) fn lock(&self) -> RobustRwLock {
        self.spans.lock()
    }
}

/// Takes every run of bytes from its lock, or none.
fn into_claimed(
    spans: Vec<MemoryRange<Locked>>,
) -> Result<Vec<MemoryRange<Owned>>, Vec<MemoryRange<Locked>>> {
    let mut claims: Vec<(MemoryRange<Owned>, RobustRwLock)> = Vec::with_capacity(spans.len());
    let mut rest = spans.into_iter();
    while let Some(span) = rest.next() {
        let lock = span.lock();
        match span.into_owned() {
            Ok(claim) => claims.push((claim, lock)),
            Err(span) => {
                let back = |(claim, lock): (MemoryRange<Owned>, _)| claim.into_locked(lock);
                let taken = claims.into_iter().map(back);
                return Err(taken.chain([span]).chain(rest).collect());
            }
        }
    }
    Ok(claims.into_iter().map(|(claim, _)| claim).collect())
}

impl Drop for OwnedState {
    fn drop(&mut self) {
        if self.forks == forks() {
            registry(|objects| objects.remove(&self.number));
        }
    }
}

impl fmt::Debug for OwnedState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OwnedState").field(&self.number).finish()
    }
}

type Registry = HashMap<u64, Weak<RawObject>>;

/// Every value that this process made, by its number.
fn registry<R>(with: impl FnOnce(&mut Registry) -> R) -> R {
    static REGISTRY: Mutex<Option<Registry>> = Mutex::new(None);
    let mut registry = numpush_os::lock(&REGISTRY);
    with(registry.get_or_insert_default())
}

/// The value of this process that has `number`.
pub(super) fn find_owned(number: u64) -> Option<Arc<RawObject>> {
    registry(|objects| objects.get(&number).and_then(Weak::upgrade))
}

/// Every value that this process made and still has, oldest first.
pub(crate) fn owned_objects() -> Vec<Arc<RawObject>> {
    let mut all: Vec<(u64, Arc<RawObject>)> = registry(|objects| {
        let alive = |(number, weak): (&u64, &Weak<RawObject>)| Some((*number, weak.upgrade()?));
        objects.iter().filter_map(alive).collect()
    });
    all.sort_unstable_by_key(|(number, _)| *number);
    all.into_iter().map(|(_, object)| object).collect()
}
