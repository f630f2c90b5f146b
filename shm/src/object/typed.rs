//! A shared value of a known kind.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use numpush_shm_core::{Double, Locked, MemoryRange, Owned, OwnedLock};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::arena::Reservation;
use crate::error::Error;
use crate::object::client;
use crate::object::enclosed;
use crate::object::handle::Handle;
use crate::object::protocol::Description;
use crate::object::raw::{RawObject, alone};
use crate::object::server::{handle_of, recall};
use crate::object::spans::Spans;

/// A description of one kind of shared value: what its bytes mean.
pub(crate) trait Describe: Sized {
    /// The kind, for errors and reports, for example `array`.
    const KIND: &'static str;

    /// The description as processes send it to each other.
    type Sent: Serialize + DeserializeOwned;

    fn sent(&self) -> &Self::Sent;

    /// The description that was sent. Another process may have written it, so it is checked against the bytes that came
    /// with it.
    fn receive(sent: Self::Sent, spans: &Spans) -> Result<Self, Error>;

    /// What it describes, in a few words, for a report.
    fn summary(sent: &Self::Sent) -> String;
}

/// A shared value whose description is an `M`. Clones are the same value. It is sent as its handle.
pub(crate) struct Object<M> {
    // Dropped first: the description of a double-buffered array has a share in the spans.
    description: Arc<M>,
    raw: Arc<RawObject>,
}

/// The locks of a value: one for all its runs of bytes, or one for each.
pub(crate) type LockSet = Arc<Vec<OwnedLock>>;

/// A value that is shared no more: its description, its bytes, and where each run of them goes back to.
pub(crate) struct Released<M> {
    pub(crate) description: Arc<M>,
    pub(crate) claims: Vec<MemoryRange<Owned>>,
    pub(crate) reservations: Vec<Arc<Reservation>>,
}

impl<M: Describe> Object<M> {
    /// Makes a value of runs of bytes that have one owner.
    pub(crate) fn new(
        description: M,
        claims: Vec<MemoryRange<Owned>>,
        locks: LockSet,
        reservations: Vec<Arc<Reservation>>,
    ) -> Self {
        let guard = |(at, claim): (usize, MemoryRange<Owned>)| {
            let lock = &locks[at.min(locks.len() - 1)];
            claim.into_locked(lock.lock())
        };
        let spans = Spans::Locked(claims.into_iter().enumerate().map(guard).collect());
        Self::register(description, spans, locks, reservations)
    }

    /// Makes a value of two buffers in one run of bytes.
    pub(crate) fn new_pair(
        claim: MemoryRange<Owned>,
        locks: LockSet,
        reservation: Arc<Reservation>,
        describe: impl FnOnce(&Arc<MemoryRange<Double>>) -> M,
    ) -> Self {
        let pair = Arc::new(claim.into_double(locks[0].lock()));
        let description = describe(&pair);
        Self::register(description, Spans::Double(pair), locks, vec![reservation])
    }

    /// Makes a value of atomics of `width` bytes. The first lock is that of its bytes.
    pub(crate) fn new_atomic(
        description: M,
        claim: MemoryRange<Owned>,
        width: usize,
        locks: LockSet,
        reservation: Arc<Reservation>,
    ) -> Self {
        let cells = claim.into_atomic(locks[0].lock(), width);
        let all = locks.iter().map(|lock| lock.lock().clone()).collect();
        let spans = Spans::Atomic(cells, all);
        Self::register(description, spans, locks, vec![reservation])
    }

    /// Makes a version of the value with other runs of bytes under the same locks.
    pub(crate) fn version(
        &self,
        description: M,
        spans: Vec<MemoryRange<Locked>>,
        reservations: Vec<Arc<Reservation>>,
    ) -> Result<Self, Error> {
        let owned = self.raw.owned("change its columns")?;
        let locks = Arc::clone(&owned.locks);
        let spans = Spans::Locked(spans);
        Ok(Self::register(description, spans, locks, reservations))
    }

    fn register(
        description: M,
        spans: Spans,
        locks: LockSet,
        reservations: Vec<Arc<Reservation>>,
    ) -> Self {
        let sent = Description {
            kind: M::KIND.into(),
            // Plain data always encodes. Were it not to, processes that open the value would refuse it.
            bytes: rmp_serde::to_vec(description.sent()).unwrap_or_default(),
        };
        Self {
            description: Arc::new(description),
            raw: RawObject::register(sent, summary::<M>, spans, locks, reservations),
        }
    }

    /// Opens the value of a handle.
    pub(crate) fn open(handle: &Handle) -> Result<Self, Error> {
        Self::from_raw(client::open(handle)?)
    }

    /// The value, if it is of this kind.
    pub(crate) fn from_raw(raw: Arc<RawObject>) -> Result<Self, Error> {
        let Description { kind, bytes } = &raw.description;
        if kind != M::KIND {
            return Err(Error::Kind {
                found: kind.clone(),
                wanted: M::KIND.into(),
            });
        }
        let sent = rmp_serde::from_slice(bytes).map_err(|_| malformed())?;
        let description = Arc::new(M::receive(sent, &raw.spans)?);
        Ok(Self { description, raw })
    }

    /// Takes the bytes from their locks, if nobody else has the value. Returns the value if somebody has.
    pub(crate) fn release(self) -> Result<Released<M>, (Self, Error)> {
        let refused = |description, raw, error| Err((Self { description, raw }, error));
        let Self { description, raw } = self;
        let owned = match raw.owned("take it from its locks") {
            Ok(owned) => owned,
            Err(error) => return refused(description, raw, error),
        };
        let reservations = owned.reservations.clone();
        if raw.spans.double().is_some() {
            return refused(description, raw, in_use("it has two buffers"));
        }
        if raw.spans.atomic().is_some() {
            return refused(description, raw, in_use("its bytes are atomics"));
        }
        if Arc::strong_count(&owned.locks) > 1 {
            return refused(description, raw, in_use(OTHER_VERSION));
        }
        let raw = match alone(raw) {
            Ok(raw) => raw,
            Err(raw) => return refused(description, raw, in_use(OTHER_USER)),
        };
        // A process that closed the value just now may have kept it, and lets go of it now.
        if !recall(&raw, Instant::now() + PATIENCE) {
            return refused(description, raw.into_registered(), in_use(OTHER_USER));
        }
        match raw.into_claims() {
            Ok(claims) => Ok(Released {
                description,
                claims,
                reservations,
            }),
            Err(raw) => refused(description, raw, in_use(OTHER_VERSION)),
        }
    }
}

impl<M> Object<M> {
    pub(crate) fn description(&self) -> &M {
        &self.description
    }

    pub(crate) fn raw(&self) -> &Arc<RawObject> {
        &self.raw
    }

    pub(crate) fn spans(&self) -> &Spans {
        &self.raw.spans
    }

    /// The handle by which another process opens the value.
    pub(crate) fn handle(&self) -> Result<Handle, Error> {
        handle_of(&self.raw)
    }

    /// The same value under another description of the same kind.
    pub(crate) fn described<N>(self, describe: impl FnOnce(&M) -> N) -> Object<N> {
        Object {
            description: Arc::new(describe(&self.description)),
            raw: self.raw,
        }
    }

    /// Bytes of the value.
    pub(crate) fn byte_len(&self) -> usize {
        self.raw.spans.byte_len()
    }

    /// Joins those who have the runs of bytes `numbers`, for another version of the value.
    pub(crate) fn join(
        &self,
        numbers: impl IntoIterator<Item = usize>,
    ) -> Result<Vec<MemoryRange<Locked>>, Error> {
        let join = |number: usize| {
            let span = &self.spans().locked()[number];
            let joined = span.pages().join_locked(span.range().clone(), span.lock());
            joined.map_err(|_| in_use("its bytes are claimed in this process"))
        };
        numbers.into_iter().map(join).collect()
    }
}

/// How long processes that have closed a value have to let go of it.
const PATIENCE: Duration = Duration::from_secs(1);
const OTHER_USER: &str = "another handle or process has it open";
const OTHER_VERSION: &str = "another version of it has the same bytes";

/// Makes the locks of a value, at least one.
pub(crate) fn make_locks(count: usize) -> Result<LockSet, Error> {
    let locks: Result<Vec<OwnedLock>, _> = (0..count).map(|_| OwnedLock::new()).collect();
    locks.map(Arc::new).map_err(Error::io("make a lock"))
}

fn summary<M: Describe>(bytes: &[u8]) -> String {
    match rmp_serde::from_slice(bytes) {
        Ok(sent) => M::summary(&sent),
        Err(_) => M::KIND.into(),
    }
}

fn malformed() -> Error {
    Error::Protocol {
        peer: "the owner".into(),
        what: "a malformed description of a shared value",
    }
}

fn in_use(what: &'static str) -> Error {
    Error::InUse { what }
}

impl<M> Clone for Object<M> {
    fn clone(&self) -> Self {
        Self {
            description: Arc::clone(&self.description),
            raw: Arc::clone(&self.raw),
        }
    }
}

impl<M> fmt::Debug for Object<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.raw.fmt(f)
    }
}

impl<M> Serialize for Object<M> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let handle = self.handle().map_err(serde::ser::Error::custom)?;
        enclosed::note(&self.raw);
        handle.serialize(serializer)
    }
}

impl<'de, M: Describe> Deserialize<'de> for Object<M> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let handle = Handle::deserialize(deserializer)?;
        Self::open(&handle).map_err(serde::de::Error::custom)
    }
}
