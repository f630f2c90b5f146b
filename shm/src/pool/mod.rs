//! Worker processes.

mod attendant;
mod call;
mod chore;
mod death;
mod dispatcher;
mod encoded;
mod error;
mod frames;
mod function;
mod ongoing;
mod options;
mod protocol;
mod queue;
mod role;
mod serve;
mod task;
mod unordered;
mod wake;
mod worker;
mod workers;

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use error::{HeldLock, LockPurpose, PoolError, TaskError};
pub use function::{TaskFunction, Tasks};
pub use options::{PoolOptions, TaskOptions};
pub use task::Task;
pub use unordered::Unordered;

use dispatcher::Dispatcher;
use encoded::Encoded;
use function::name_of;
use ongoing::{Lifetime, Ongoing};

/// Worker processes of the same program, which run its functions over shared values.
///
/// A worker is started, not forked: it begins at `main`, where [`Tasks::serve`] keeps it. It shares nothing with the
/// others but what its arguments name. When one dies, only its task fails: the error reports how the worker died and
/// which locks it held, and a new worker takes its place. Their standard output and error are those of the program.
///
/// All calls of a pool share its workers, and take turns: threads may use one pool at the same time, and so may the body
/// of a loop over results. Whichever thread waits for a result does the work of the pool for all. Clones are the same
/// pool. Workers end with the last clone, [`Task`] and [`Unordered`] of it, and with the process of the pool, however that
/// ends.
///
/// A task may return shared values. They belong to the worker that made them: whoever has them open keeps them, but once
/// the worker has ended they can be sent to no other process.
///
/// ```
/// use ndarray::{Axis, Ix1};
/// use numpush_shm::{Arena, Part, Pool, SharedArray, Tasks};
///
/// fn scale(mut part: Part<SharedArray<f64, Ix1>>, factor: f64) {
///     *part.write().unwrap() *= factor;
/// }
///
/// Tasks::new().with(scale).serve();
/// let pool = Pool::new(2)?;
/// let shared = SharedArray::copy_of(&Arena::shared(), &ndarray::Array1::<f64>::ones(1000))?;
/// pool.map(scale, &shared.partition(Axis(0), 4)?, &2.0)?;
/// assert_eq!(shared.read()?.sum(), 2000.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Pool {
    workers: Arc<Lifetime>,
    options: TaskOptions,
}

impl Pool {
    /// Starts `workers` processes and waits until each serves.
    ///
    /// # Errors
    /// [`PoolError::Empty`] for no workers; [`PoolError::Spawn`]; [`PoolError::WorkerNotReady`] if the program does not
    /// call [`Tasks::serve`]; [`PoolError::PoolInWorker`] if it does so after it starts a pool.
    pub fn new(workers: usize) -> Result<Self, PoolError> {
        Self::with_options(workers, PoolOptions::default())
    }

    /// As [`Self::new`], with options.
    ///
    /// # Errors
    /// As [`Self::new`], and [`PoolError::Bind`] if a worker may not run on its processors.
    pub fn with_options(workers: usize, options: PoolOptions) -> Result<Self, PoolError> {
        if serve::is_unserved() {
            return Err(PoolError::PoolInWorker);
        }
        if workers == 0 {
            return Err(PoolError::Empty);
        }
        let dispatcher = Arc::new(Dispatcher::start(workers, options)?);
        Ok(Self {
            workers: Arc::new(Lifetime { dispatcher }),
            options: TaskOptions::default(),
        })
    }

    /// The same pool, whose calls run their tasks with these options.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// use numpush_shm::{Pool, TaskError, TaskOptions};
    ///
    /// # fn simulate(_: u64) {}
    /// # let pool = Pool::new(1)?;
    /// let patient = TaskOptions::new().timeout(Duration::from_secs(60));
    /// match pool.with_task_options(patient).apply(simulate, (7,)) {
    ///     Err(TaskError::TimedOut { held, .. }) => println!("killed, with {} locks held", held.len()),
    ///     other => other?,
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn with_task_options(&self, options: TaskOptions) -> Self {
        Self {
            workers: Arc::clone(&self.workers),
            options,
        }
    }

    /// Number of workers.
    pub fn size(&self) -> usize {
        self.dispatcher().size()
    }

    /// The processes of the workers that run nothing now.
    pub fn idle_workers(&self) -> Vec<u32> {
        self.dispatcher().state().workers.idle_pids()
    }

    /// The processes of all workers.
    pub fn worker_pids(&self) -> Vec<u32> {
        self.dispatcher().state().workers.pids()
    }

    /// Kills the worker `pid` at once, whatever it runs; returns false if the pool has no worker of that number. Another
    /// worker takes its place with the next call.
    pub fn kill(&self, pid: u32) -> bool {
        self.dispatcher().state().workers.kill(pid)
    }

    /// Runs `task` with `arguments`, a tuple, in one worker, and waits for its result.
    ///
    /// # Errors
    /// [`TaskError`].
    pub fn apply<A, F>(&self, task: F, arguments: A) -> Result<F::Output, TaskError>
    where
        F: TaskFunction<A>,
        A: Serialize,
        F::Output: DeserializeOwned,
    {
        self.task(task, arguments).wait()
    }

    /// Runs `task` with `arguments`, a tuple, in one worker, and returns at once. The [`Task`] waits for the result.
    ///
    /// The task begins when a worker is free. A thread of the pool sees to that while tasks wait that were submitted: it
    /// ends when the last of them has begun.
    pub fn submit<A, F>(&self, task: F, arguments: A) -> Task<F::Output, A>
    where
        F: TaskFunction<A>,
        A: Serialize,
        F::Output: DeserializeOwned,
    {
        let task = self.task(task, arguments);
        attendant::attend(self.dispatcher());
        task
    }

    /// Runs `task` with each of `items` and with `argument`, and waits for all results, in the order of the items. A task
    /// that fails does not stop the others.
    ///
    /// # Errors
    /// The [`TaskError`] of the first item without a result; [`Self::map_each`] returns every one.
    pub fn map<I, A, F>(&self, task: F, items: I, argument: &A) -> Result<Vec<F::Output>, TaskError>
    where
        I: IntoIterator<Item: Serialize>,
        A: Serialize,
        F: TaskFunction<(I::Item, A)>,
        F::Output: DeserializeOwned,
    {
        self.map_each(task, items, argument).into_iter().collect()
    }

    /// As [`Self::map`], with the result or the error of every item.
    pub fn map_each<I, A, F>(
        &self,
        task: F,
        items: I,
        argument: &A,
    ) -> Vec<Result<F::Output, TaskError>>
    where
        I: IntoIterator<Item: Serialize>,
        A: Serialize,
        F: TaskFunction<(I::Item, A)>,
        F::Output: DeserializeOwned,
    {
        self.map_unordered(task, items, argument).in_order()
    }

    /// As [`Self::map`], but returns an iterator over the results as they come: the number of the item, and its
    /// `Result<F::Output, TaskError>`. The items may have no end.
    pub fn map_unordered<I, A, F>(
        &self,
        _task: F,
        items: I,
        argument: &A,
    ) -> Unordered<I::IntoIter, F::Output>
    where
        I: IntoIterator<Item: Serialize>,
        A: Serialize,
        F: TaskFunction<(I::Item, A)>,
        F::Output: DeserializeOwned,
    {
        let (argument, fault) = match Encoded::of(argument) {
            Ok(argument) => (Some(argument), None),
            Err(fault) => (None, Some(fault)),
        };
        let call = self.begin(name_of::<F>(), argument, []);
        Unordered::new(call, items.into_iter(), fault)
    }

    /// Runs `task` with each of `arguments`, which are tuples, and waits for all results, in the order of the arguments.
    ///
    /// # Errors
    /// As [`Self::map`].
    pub fn starmap<I, F>(&self, task: F, arguments: I) -> Result<Vec<F::Output>, TaskError>
    where
        I: IntoIterator<Item: Serialize>,
        F: TaskFunction<I::Item>,
        F::Output: DeserializeOwned,
    {
        self.starmap_each(task, arguments).into_iter().collect()
    }

    /// As [`Self::starmap`], with the result or the error of every tuple.
    pub fn starmap_each<I, F>(&self, _task: F, arguments: I) -> Vec<Result<F::Output, TaskError>>
    where
        I: IntoIterator<Item: Serialize>,
        F: TaskFunction<I::Item>,
        F::Output: DeserializeOwned,
    {
        let call = self.begin(name_of::<F>(), None, []);
        Unordered::<I::IntoIter, F::Output>::new(call, arguments.into_iter(), None).in_order()
    }

    fn task<A, F>(&self, _task: F, arguments: A) -> Task<F::Output, A>
    where
        F: TaskFunction<A>,
        A: Serialize,
        F::Output: DeserializeOwned,
    {
        let call = self.begin(name_of::<F>(), None, [(0, Encoded::of(&arguments))]);
        Task::new(call, arguments)
    }

    fn begin<const N: usize>(
        &self,
        task: &'static str,
        argument: Option<Encoded>,
        tasks: [(usize, Result<Encoded, String>); N],
    ) -> Ongoing {
        Ongoing::begin(&self.workers, task, argument, self.options, tasks)
    }

    fn dispatcher(&self) -> &Arc<Dispatcher> {
        &self.workers.dispatcher
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pool({} workers)", self.size())
    }
}
