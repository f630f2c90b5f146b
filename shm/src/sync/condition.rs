use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use numpush_os::{sleep_while, wake};
use numpush_shm_core::{LockError, LockOptions};
use serde::{Deserialize, Serialize};

use super::cells::{Cells, check, make_zeros};
use crate::arena::Arena;
use crate::error::Error;
use crate::mutex::SharedMutexGuard;
use crate::object::{Describe, Handle, Object, RawObject, Spans};

/// What processes wait for while they let others have a [`SharedMutex`](crate::SharedMutex).
///
/// It is used as a [`std::sync::Condvar`] is: what is waited for is looked at while the mutex is held, and looked at again
/// after each wait, which may end for no reason. [`Self::wait_while`] does that.
///
/// A waiter that dies takes at most one wake-up with it, and a notifier that dies at most its own. Other waiters miss
/// neither: all of them look within 100 ms whether there was a notification.
///
/// ```
/// use numpush_shm::{SharedCondition, SharedCounter, SharedMutex};
///
/// let (mutex, changed) = (SharedMutex::new()?, SharedCondition::new()?);
/// let jobs = SharedCounter::new(0)?;
/// std::thread::scope(|scope| {
///     scope.spawn(|| {
///         let _held = mutex.lock().unwrap();
///         jobs.add(1).unwrap();
///         changed.notify_one().unwrap();
///     });
///     let held = mutex.lock().unwrap();
///     let _held = changed.wait_while(held, || jobs.get() == Ok(0)).unwrap();
///     assert_eq!(jobs.get(), Ok(1));
/// });
/// # Ok::<(), numpush_shm::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SharedCondition {
    object: Object<ConditionDescription>,
}

/// A condition has one word: the number of notifications.
#[derive(Debug, Serialize, Deserialize)]
struct ConditionDescription;

/// Longest time until a waiter looks whether the wake-up it was meant to have has gone to a process that died.
const LOOK: Duration = Duration::from_millis(100);

impl Describe for ConditionDescription {
    const KIND: &'static str = "a condition";
    type Sent = Self;

    fn sent(&self) -> &Self {
        self
    }

    fn receive(sent: Self, spans: &Spans) -> Result<Self, Error> {
        check::<u32>(spans, 1, 1)?;
        Ok(sent)
    }

    fn summary(_sent: &Self) -> String {
        "condition".into()
    }
}

impl SharedCondition {
    pub(crate) const KIND: &str = ConditionDescription::KIND;

    pub(crate) fn from_raw(raw: Arc<RawObject>) -> Result<Self, Error> {
        Object::from_raw(raw).map(|object| Self { object })
    }

    /// Makes a condition that nobody waits for.
    ///
    /// # Errors
    /// [`Error::NoRoom`] or [`Error::Io`] if there is no memory for it.
    pub fn new() -> Result<Self, Error> {
        let object = make_zeros::<_, u32>(&Arena::shared(), ConditionDescription, 1, 1)?;
        Ok(Self { object })
    }

    /// Opens the condition of a handle.
    ///
    /// # Errors
    /// As [`SharedMutex::open`](crate::SharedMutex::open).
    pub fn open(handle: &Handle) -> Result<Self, Error> {
        Object::open(handle).map(|object| Self { object })
    }

    /// The handle by which another process opens the condition.
    ///
    /// # Errors
    /// As [`SharedArray::handle`](crate::SharedArray::handle).
    pub fn handle(&self) -> Result<Handle, Error> {
        self.object.handle()
    }

    /// Unlocks the mutex, waits for a notification, and locks the mutex again. May return without a notification.
    ///
    /// # Errors
    /// As [`SharedMutex::lock`](crate::SharedMutex::lock). The mutex is not held then.
    pub fn wait<'a>(&self, held: SharedMutexGuard<'a>) -> Result<SharedMutexGuard<'a>, LockError> {
        self.sleep(held, None).map(|(held, _)| held)
    }

    /// As [`Self::wait`], for at most `timeout`. Also returns whether there was a notification meanwhile. The time until the
    /// mutex is locked again does not count.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub fn wait_timeout<'a>(
        &self,
        held: SharedMutexGuard<'a>,
        timeout: Duration,
    ) -> Result<(SharedMutexGuard<'a>, bool), LockError> {
        self.sleep(held, Instant::now().checked_add(timeout))
    }

    /// Waits as long as `condition` is true. It is called while the mutex is held.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub fn wait_while<'a>(
        &self,
        mut held: SharedMutexGuard<'a>,
        mut condition: impl FnMut() -> bool,
    ) -> Result<SharedMutexGuard<'a>, LockError> {
        while condition() {
            held = self.wait(held)?;
        }
        Ok(held)
    }

    /// Wakes one that waits, if anybody does.
    ///
    /// # Errors
    /// As [`SharedAtomicArray::cells`](crate::SharedAtomicArray::cells).
    pub fn notify_one(&self) -> Result<(), LockError> {
        self.notify(1)
    }

    /// Wakes everybody who waits.
    ///
    /// # Errors
    /// As [`Self::notify_one`].
    pub fn notify_all(&self) -> Result<(), LockError> {
        self.notify(u32::MAX)
    }

    fn notify(&self, most: u32) -> Result<(), LockError> {
        let cells = Cells::<u32>::of(&self.object)?;
        cells[0].fetch_add(1, Ordering::SeqCst);
        wake(&cells[0], most);
        Ok(())
    }

    fn sleep<'a>(
        &self,
        held: SharedMutexGuard<'a>,
        deadline: Option<Instant>,
    ) -> Result<(SharedMutexGuard<'a>, bool), LockError> {
        let cells = Cells::<u32>::of(&self.object)?;
        let word = &cells[0];
        // Read while the mutex is held: a notification after this moment is not missed.
        let before = word.load(Ordering::SeqCst);
        let mutex = held.unlock();
        let mut left = LOOK;
        while word.load(Ordering::SeqCst) == before && !left.is_zero() {
            let until = |end: Instant| end.saturating_duration_since(Instant::now());
            left = deadline.map_or(LOOK, until).min(LOOK);
            sleep_while(word, before, left);
        }
        let notified = word.load(Ordering::SeqCst) != before;
        drop(cells);
        let held = mutex.lock_with(LockOptions::default())?;
        Ok((held, notified))
    }
}
