//! Worker processes.

mod error;
mod options;
mod protocol;
mod serve;
mod task;
mod unordered;
mod worker;
mod workers;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use error::{HeldLock, LockPurpose, PoolError, TaskError};
pub use options::PoolOptions;
pub use task::{Task, Tasks};
pub use unordered::Unordered;

use task::name_of;
use unordered::Running;
use workers::Workers;

/// Worker processes of the same program, which run its functions over shared values.
///
/// A worker is started, not forked: it begins at `main`, where [`Tasks::serve`] keeps it. It shares nothing with the
/// others but what its arguments name. When one dies, only its task fails: the error reports how the worker died and
/// which locks it held, and a new worker takes its place. Workers end with the pool, and with the process of the pool,
/// however that ends. Their standard output and error are those of the program.
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
/// pool.map(scale, shared.partition(Axis(0), 4)?, &2.0)?;
/// assert_eq!(shared.read()?.sum(), 2000.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Pool {
    workers: Workers,
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
    /// As [`Self::new`].
    pub fn with_options(workers: usize, options: PoolOptions) -> Result<Self, PoolError> {
        if serve::is_unserved() {
            return Err(PoolError::PoolInWorker);
        }
        if workers == 0 {
            return Err(PoolError::Empty);
        }
        let workers = Workers::start(workers, options)?;
        Ok(Self { workers })
    }

    /// Number of workers.
    pub fn size(&self) -> usize {
        self.workers.size()
    }

    /// The processes of the workers that run nothing now.
    pub fn idle_workers(&self) -> Vec<u32> {
        self.workers.idle_pids()
    }

    /// The processes of all workers.
    pub fn worker_pids(&self) -> Vec<u32> {
        self.workers.pids()
    }

    /// Kills the worker `pid` at once, whatever it runs; returns false if the pool has no worker of that number. Another
    /// worker takes its place with the next task.
    pub fn kill(&self, pid: u32) -> bool {
        self.workers.kill(pid)
    }

    /// Runs `task` with `arguments`, a tuple, in one worker, and waits for its result.
    ///
    /// # Errors
    /// [`TaskError`].
    pub fn apply<A, F>(&self, task: F, arguments: A) -> Result<F::Output, TaskError>
    where
        F: Task<A>,
        A: Serialize,
        F::Output: DeserializeOwned,
    {
        let mut results = self.starmap(task, [arguments])?;
        results.pop().ok_or_else(|| TaskError::NoWorker {
            task: name_of::<F>().into(),
        })
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
        F: Task<(I::Item, A)>,
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
        F: Task<(I::Item, A)>,
        F::Output: DeserializeOwned,
    {
        self.map_unordered(task, items, argument).in_order()
    }

    /// As [`Self::map`], but returns an iterator over the results as they come: the number of the item, and its
    /// `Result<F::Output, TaskError>`. If the iterator is dropped early, it waits for the tasks that run, and runs no
    /// more.
    pub fn map_unordered<'p, I, A, F>(
        &'p self,
        _task: F,
        items: I,
        argument: &A,
    ) -> Unordered<'p, I::Item, F::Output>
    where
        I: IntoIterator<Item: Serialize>,
        A: Serialize,
        F: Task<(I::Item, A)>,
        F::Output: DeserializeOwned,
    {
        let items: Vec<I::Item> = items.into_iter().collect();
        let calls = items
            .iter()
            .map(|item| rmp_serde::to_vec(&(item, argument)));
        let running = Running::new(&self.workers, name_of::<F>(), calls);
        Unordered::new(running, items)
    }

    /// Runs `task` with each of `arguments`, which are tuples, and waits for all results, in the order of the arguments.
    ///
    /// # Errors
    /// As [`Self::map`].
    pub fn starmap<I, F>(&self, _task: F, arguments: I) -> Result<Vec<F::Output>, TaskError>
    where
        I: IntoIterator<Item: Serialize>,
        F: Task<I::Item>,
        F::Output: DeserializeOwned,
    {
        let items: Vec<I::Item> = arguments.into_iter().collect();
        let calls = items.iter().map(rmp_serde::to_vec);
        let running = Running::new(&self.workers, name_of::<F>(), calls);
        Unordered::<I::Item, F::Output>::new(running, items)
            .in_order()
            .into_iter()
            .collect()
    }
}
