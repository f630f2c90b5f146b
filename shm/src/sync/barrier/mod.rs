//! A place where threads of several processes meet.

mod error;
mod meeting;
mod member;
mod seats;

use std::sync::Arc;

use numpush_shm_core::{LockError, RobustRwLock};
use serde::{Deserialize, Serialize};

pub use error::BarrierError;
pub use member::BarrierMember;

use super::cells::{Cells, check, make_zeros};
use crate::arena::Arena;
use crate::error::Error;
use crate::object::{Describe, Handle, Object, RawObject, Spans};
use meeting::WORDS;
use seats::SEAT_WORDS;

/// A place where so many threads, of any processes, wait until all of them are there.
///
/// Each thread [joins](Self::join) once, and then waits as often as it likes. A wait that nobody is late for makes no system
/// call: a thread looks for a while, and sleeps after that.
///
/// Nobody waits forever for a process that is dead. When a member dies, or leaves, and others wait for it, all of them get
/// [`BarrierError::Broken`], which names it. The barrier is broken then until all members have left; those who join after
/// that find it whole.
///
/// Clones are the same barrier, and so is what another process gets when it is sent.
///
/// ```
/// use numpush_shm::{SharedBarrier, SharedCounter};
///
/// let (barrier, steps) = (SharedBarrier::new(4)?, SharedCounter::new(0)?);
/// std::thread::scope(|scope| {
///     for _ in 0..4 {
///         scope.spawn(|| {
///             let mut member = barrier.join().unwrap();
///             for step in 1..=10 {
///                 steps.add(1).unwrap();
///                 member.wait().unwrap();
///                 assert_eq!(steps.get(), Ok(4 * step));
///                 member.wait().unwrap();
///             }
///         });
///     }
/// });
/// # Ok::<(), numpush_shm::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SharedBarrier {
    object: Object<BarrierDescription>,
}

#[derive(Debug, Serialize, Deserialize)]
struct BarrierDescription {
    participants: usize,
}

/// Most participants of a barrier: as many threads use the locks of one owner.
const MOST: usize = 1024;

/// Locks beside those of the participants: that of the atomics, and that of joining.
const OTHER_LOCKS: usize = 2;

impl Describe for BarrierDescription {
    const KIND: &'static str = "a barrier";
    type Sent = Self;

    fn sent(&self) -> &Self {
        self
    }

    fn receive(sent: Self, spans: &Spans) -> Result<Self, Error> {
        let participants = sent.participants;
        if !(1..=MOST).contains(&participants) {
            return Err(BarrierError::Participants { participants }.into());
        }
        check::<u32>(spans, words(participants), participants + OTHER_LOCKS)?;
        Ok(sent)
    }

    fn summary(sent: &Self) -> String {
        format!("barrier of {}", sent.participants)
    }
}

fn words(participants: usize) -> usize {
    WORDS + participants * SEAT_WORDS
}

impl SharedBarrier {
    pub(crate) const KIND: &str = BarrierDescription::KIND;

    pub(crate) fn from_raw(raw: Arc<RawObject>) -> Result<Self, Error> {
        Object::from_raw(raw).map(|object| Self { object })
    }

    /// Makes a barrier of 1 to 1,024 participants. Each takes 384 bytes.
    ///
    /// # Errors
    /// [`Error::Barrier`] with [`BarrierError::Participants`] for another number; [`Error::NoRoom`] or [`Error::Io`] if
    /// there is no memory for it.
    pub fn new(participants: usize) -> Result<Self, Error> {
        if participants == 0 || participants > MOST {
            return Err(BarrierError::Participants { participants }.into());
        }
        let (len, locks) = (words(participants), participants + OTHER_LOCKS);
        let description = BarrierDescription { participants };
        let object = make_zeros::<_, u32>(&Arena::shared(), description, len, locks)?;
        Ok(Self { object })
    }

    /// Opens the barrier of a handle.
    ///
    /// # Errors
    /// As [`SharedMutex::open`](crate::SharedMutex::open).
    pub fn open(handle: &Handle) -> Result<Self, Error> {
        Object::open(handle).map(|object| Self { object })
    }

    /// The handle by which another process opens the barrier.
    ///
    /// # Errors
    /// As [`SharedArray::handle`](crate::SharedArray::handle).
    pub fn handle(&self) -> Result<Handle, Error> {
        self.object.handle()
    }

    /// How many participants meet here.
    pub fn participants(&self) -> usize {
        self.object.description().participants
    }

    /// Makes this thread a participant. It stays one until the member is dropped, or the thread or its process ends.
    ///
    /// # Errors
    /// [`BarrierError::Full`] if there are as many members as participants, counting those that have left until all have;
    /// [`BarrierError::Lock`] if the thread may take no more locks.
    pub fn join(&self) -> Result<BarrierMember<'_>, BarrierError> {
        BarrierMember::join(self)
    }

    fn cells(&self) -> Result<Cells<'_, u32>, LockError> {
        Cells::of(&self.object)
    }

    /// The lock of joining, and that of each participant, which it holds for as long as it is a member.
    fn locks(&self) -> (&RobustRwLock, &[RobustRwLock]) {
        match self.object.spans() {
            Spans::Atomic(_, locks) => (&locks[1], &locks[OTHER_LOCKS..]),
            _ => unreachable!("checked when it was made or opened"),
        }
    }
}
