//! A shared value without regard to its kind.
//!
//! A [`Value`] is the bytes, their locks and what they mean. A [`RawObject`] is what handles of this process share: when
//! the last of them is dropped, this process does not need the value any more. The value itself may live on: at its owner
//! for clients that have it open, and at a client for a moment, because it may be opened again.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use numpush_os::GlobalMutex;
use numpush_shm_core::{Locked, MemoryRange, Owned, OwnedLock, RobustRwLock, forks};

use crate::arena::Reservation;
use crate::error::Error;
use crate::object::handle::Handle;
use crate::object::lessees::Lessees;
use crate::object::protocol::Description;
use crate::object::quarantine;
use crate::object::spans::Spans;

/// A shared value in a process.
#[derive(Debug)]
pub(crate) struct Value {
    pub(super) description: Description,
    // Dropped in this order: claims end, then locks retire, then the memory is free for the next value.
    pub(crate) spans: Spans,
    owned: Option<OwnedState>,
}

/// A shared value as the handles of this process have it.
#[derive(Debug)]
pub(crate) struct RawObject {
    value: Arc<Value>,
    pub(super) origin: Origin,
}

/// Who made a value.
#[derive(Debug)]
pub(super) enum Origin {
    Owned {
        _kept: Kept,
    },
    Leased {
        handle: Handle,
        /// Dropped, it lets go of the value.
        _lease: Box<dyn Lease>,
    },
}

/// Keeps a value alive in the process that owns it.
pub(super) trait Lease: fmt::Debug + Send + Sync {}

/// That handles of its owner have a value. Dropped, its clients learn that only they have it now.
#[derive(Debug)]
pub(super) struct Kept {
    number: u64,
    lessees: Arc<Lessees>,
    forks: u32,
}

/// What the process that made a value keeps of it.
pub(super) struct OwnedState {
    /// Shared by versions of one frame or graph.
    pub(super) locks: Arc<Vec<OwnedLock>>,
    /// Where each span goes back to.
    pub(super) reservations: Vec<Arc<Reservation>>,
    pub(super) number: u64,
    pub(super) created: Instant,
    pub(super) summary: Summary,
    /// The clients that have it open.
    pub(super) lessees: Arc<Lessees>,
    forks: u32,
}

/// Says in a few words what the bytes of a description describe.
pub(super) type Summary = fn(&[u8]) -> String;

impl Deref for RawObject {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.value
    }
}

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
        let owned = OwnedState {
            locks,
            reservations,
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            created: Instant::now(),
            summary,
            lessees: Arc::default(),
            forks: forks(),
        };
        let origin = Origin::owned(&owned);
        let value = Value {
            description,
            spans,
            owned: Some(owned),
        };
        Self::new(Arc::new(value), origin).into_registered()
    }

    /// A value that another process made.
    pub(super) fn leased(value: Arc<Value>, handle: Handle, lease: Box<dyn Lease>) -> Arc<Self> {
        let origin = Origin::Leased {
            handle,
            _lease: lease,
        };
        Arc::new(Self::new(value, origin))
    }

    /// The value `number` of this process: with the handles that have it, or else anew, if a client still has it open.
    pub(super) fn find_owned(number: u64) -> Option<Arc<Self>> {
        let (object, value) = register(|all| all.get(&number).map(Entry::upgrade))?;
        if let Some(object) = object {
            return Some(object);
        }
        let value = value?;
        let origin = Origin::owned(value.owned.as_ref()?);
        Some(Self::new(value, origin).into_registered())
    }

    fn new(value: Arc<Value>, origin: Origin) -> Self {
        Self { value, origin }
    }

    pub(super) fn into_registered(self) -> Arc<Self> {
        let number = self.value.owned.as_ref().map(|owned| owned.number);
        let object = Arc::new(self);
        if let Some(number) = number {
            let entry = Entry {
                object: Arc::downgrade(&object),
                value: Arc::downgrade(&object.value),
            };
            register(|all| all.insert(number, entry));
        }
        object
    }

    /// Takes the bytes from their locks. Returns the value if a client or another version of it has some of them.
    pub(super) fn into_claims(self) -> Result<Vec<MemoryRange<Owned>>, Arc<Self>> {
        let Self { value, origin } = self;
        let value = match alone(value) {
            Ok(value) => value,
            Err(value) => return Err(Self::new(value, origin).into_registered()),
        };
        let Value {
            description,
            spans,
            owned,
        } = value;
        let spans = match spans {
            Spans::Locked(spans) => match into_claimed(spans) {
                Ok(claims) => return Ok(claims),
                Err(spans) => Spans::Locked(spans),
            },
            other => other,
        };
        let value = Value {
            description,
            spans,
            owned,
        };
        Err(Self::new(Arc::new(value), origin).into_registered())
    }
}

impl Value {
    /// A value that another process made.
    pub(super) fn of_another(description: Description, spans: Spans) -> Self {
        Self {
            description,
            spans,
            owned: None,
        }
    }

    /// The kind of the value: see [`Describe::KIND`](super::Describe::KIND).
    pub(crate) fn kind(&self) -> &str {
        &self.description.kind
    }

    /// What its owner has of the value, in the process that made it; `what` is what only that process can do.
    pub(super) fn owned(&self, what: &'static str) -> Result<&OwnedState, Error> {
        match &self.owned {
            Some(owned) if owned.forks == forks() => Ok(owned),
            _ => Err(Error::NotOwner { what }),
        }
    }

    /// Where each span goes back to.
    pub(crate) fn reservations(&self, what: &'static str) -> Result<&[Arc<Reservation>], Error> {
        self.owned(what).map(|owned| owned.reservations.as_slice())
    }

    /// The first lock.
    pub(crate) fn lock(&self) -> &RobustRwLock {
        self.spans.lock()
    }
}

impl Origin {
    fn owned(owned: &OwnedState) -> Self {
        let _kept = Kept {
            number: owned.number,
            lessees: Arc::clone(&owned.lessees),
            forks: owned.forks,
        };
        Self::Owned { _kept }
    }
}

/// What only `shared` has, if nobody else does within a moment. The thread that serves clients, and one that reports on
/// values, have each of them for a moment.
pub(super) fn alone<T>(mut shared: Arc<T>) -> Result<T, Arc<T>> {
    let until = Instant::now() + Duration::from_millis(20);
    loop {
        shared = match Arc::try_unwrap(shared) {
            Ok(alone) => return Ok(alone),
            Err(shared) if Instant::now() > until => return Err(shared),
            Err(shared) => shared,
        };
        std::thread::yield_now();
    }
}

/// Takes every run of bytes from its lock, or none.
fn into_claimed(
    spans: Vec<MemoryRange<Locked>>,
) -> Result<Vec<MemoryRange<Owned>>, Vec<MemoryRange<Locked>>> {
    let mut claims: Vec<(MemoryRange<Owned>, RobustRwLock)> = Vec::with_capacity(spans.len());
    let mut rest = spans.into_iter();
    while let Some(span) = rest.next() {
        let lock = span.lock().clone();
        match span.into_owned() {
            Ok(claim) => claims.push((claim, lock)),
            Err(span) => {
                let back =
                    |(claim, lock): (MemoryRange<Owned>, RobustRwLock)| claim.into_locked(&lock);
                let taken = claims.into_iter().map(back);
                return Err(taken.chain([span]).chain(rest).collect());
            }
        }
    }
    Ok(claims.into_iter().map(|(claim, _)| claim).collect())
}

impl Drop for Kept {
    fn drop(&mut self) {
        if self.forks == forks() {
            self.lessees.owner_lets_go(self.number);
        }
    }
}

impl Drop for OwnedState {
    fn drop(&mut self) {
        if self.forks != forks() {
            return;
        }
        register(|all| all.remove(&self.number));
        if let Some(locks) = Arc::get_mut(&mut self.locks) {
            quarantine::retire(locks, &mut self.reservations);
        }
    }
}

impl fmt::Debug for OwnedState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OwnedState").field(&self.number).finish()
    }
}

/// A value that this process made and that is still somewhere.
struct Entry {
    object: Weak<RawObject>,
    value: Weak<Value>,
}

impl Entry {
    fn upgrade(&self) -> (Option<Arc<RawObject>>, Option<Arc<Value>>) {
        (self.object.upgrade(), self.value.upgrade())
    }
}

/// Every value that this process made, by its number.
fn register<R>(with: impl FnOnce(&mut BTreeMap<u64, Entry>) -> R) -> R {
    static REGISTER: GlobalMutex<BTreeMap<u64, Entry>> = GlobalMutex::new(BTreeMap::new());
    with(&mut REGISTER.lock())
}

/// The value of this process that has `number`, whoever still has it.
pub(crate) fn find_value(number: u64) -> Option<Arc<Value>> {
    register(|all| all.get(&number)?.value.upgrade())
}

/// True if handles of this process have the value `number`, and not only its clients.
pub(super) fn is_kept(number: u64) -> bool {
    register(|all| {
        let entry = all.get(&number);
        entry.is_some_and(|entry| entry.object.strong_count() > 0)
    })
}

/// The oldest values of this process with numbers over `after`, at most `most`.
pub(super) fn numbers_after(after: u64, most: usize) -> Vec<u64> {
    let Some(first) = after.checked_add(1) else {
        return Vec::new();
    };
    register(|all| {
        all.range(first..)
            .take(most)
            .map(|(number, _)| *number)
            .collect()
    })
}

/// Every value that this process made and that is still somewhere, oldest first.
pub(crate) fn owned_values() -> Vec<Arc<Value>> {
    register(|all| {
        all.values()
            .filter_map(|entry| entry.value.upgrade())
            .collect()
    })
}
