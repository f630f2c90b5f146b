use std::fmt;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use crate::pool::call::Outcome;
use crate::pool::error::TaskError;
use crate::pool::ongoing::{Event, Ongoing};

/// A task that was [submitted](crate::Pool::submit), whose result is an `R`. It has the arguments `A`.
///
/// The task begins as soon as a worker is free, whatever its caller does. The result stays in the pool until it is taken.
///
/// Dropped, a task that has not begun is cancelled. One that runs goes on, and its result is forgotten; only arguments
/// that wait in their own drop, as the last [`Part`](crate::Part) of a partition does, make the drop wait.
///
/// ```
/// use numpush_shm::{Pool, Tasks};
///
/// fn half(number: u64) -> u64 {
///     number / 2
/// }
///
/// Tasks::new().with(half).serve();
/// let pool = Pool::new(2)?;
/// let (first, second) = (pool.submit(half, (84,)), pool.submit(half, (14,)));
/// assert_eq!(second.wait()? + first.wait()?, 49);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a task that has not begun is cancelled when it is dropped"]
pub struct Task<R, A> {
    // Dropped first: the drop of the arguments may wait for a task that runs.
    call: Ongoing,
    arguments: A,
    result: PhantomData<fn() -> R>,
}

impl<R: DeserializeOwned, A> Task<R, A> {
    pub(super) fn new(call: Ongoing, arguments: A) -> Self {
        Self {
            call,
            arguments,
            result: PhantomData,
        }
    }

    /// Waits for the result.
    ///
    /// # Errors
    /// [`TaskError`].
    pub fn wait(self) -> Result<R, TaskError> {
        match self.next(None) {
            Some(outcome) => self.call.decode(outcome),
            None => Err(self.call.lost()),
        }
    }

    /// Waits for the result, but not longer than `timeout`. The task goes on after that.
    ///
    /// # Errors
    /// The task itself, if it has not ended by then.
    pub fn wait_for(self, timeout: Duration) -> Result<Result<R, TaskError>, Self> {
        // A time that no clock shows is forever.
        match self.next(Instant::now().checked_add(timeout)) {
            Some(outcome) => Ok(self.call.decode(outcome)),
            None => Err(self),
        }
    }

    /// Takes the result, if it is there.
    ///
    /// # Errors
    /// The task itself, if it has not ended.
    pub fn try_take(self) -> Result<Result<R, TaskError>, Self> {
        self.wait_for(Duration::ZERO)
    }

    /// Cancels the task, if it has not begun, and returns its arguments.
    ///
    /// # Errors
    /// The task itself, if a worker has it or had it.
    pub fn cancel(self) -> Result<A, Self> {
        if self.call.cancel() {
            Ok(self.arguments)
        } else {
            Err(self)
        }
    }

    /// The arguments.
    pub fn arguments(&self) -> &A {
        &self.arguments
    }

    fn next(&self, until: Option<Instant>) -> Option<Outcome> {
        match self.call.next(false, until) {
            Some(Event::Ended(_, outcome)) => Some(outcome),
            Some(_) => Some(Err(self.call.lost())),
            None => None,
        }
    }
}

impl<R, A> fmt::Debug for Task<R, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Task({})", self.call.task)
    }
}
