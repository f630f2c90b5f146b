//! Worker processes.

mod error;
mod process;
mod running;
mod task;
mod worker;

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use error::{HeldLock, PoolError, TaskError};
pub use running::Unordered;
pub use task::{Task, Tasks};

use process::Worker;
use running::Running;
use task::name_of;

/// Worker processes of the same program, which run its functions over shared values.
///
/// A worker is started, not forked: it begins at `main`, where [`Tasks::serve`] catches it. It shares nothing with the
/// others but what its arguments name. One that dies takes only its task with it: the task has an error that says how
/// the worker died and which locks it held, and a new worker takes its place. Workers end with the pool, and with the
/// process of the pool, however that ends. Their standard output and error are those of the program.
///
/// ```no_run
/// use ndarray::{Axis, Ix1};
/// use numpush_shm::{Arena, Part, Pool, SharedArray, Tasks};
///
/// fn scale(mut part: Part<f64, Ix1>, factor: f64) {
///     *part.write().unwrap() *= factor;
/// }
///
/// Tasks::new().with(scale).serve();
/// let pool = Pool::new(8)?;
/// let shared = SharedArray::<f64, Ix1>::zeros(&Arena::shared(), 1 << 20)?;
/// pool.map(scale, shared.partition(Axis(0), 8)?, &2.0)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Pool {
    options: PoolOptions,
    crew: Mutex<Workers>,
    returned: Condvar,
    size: usize,
}

#[derive(Debug, Default)]
struct Workers {
    idle: Vec<Worker>,
    /// Processes of the workers that live, idle or not.
    alive: Vec<u32>,
}

/// How workers are started.
#[derive(Clone, Debug, Default)]
pub struct PoolOptions {
    /// Arguments of the program in a worker; none by default.
    pub arguments: Vec<String>,
}

impl Pool {
    /// Starts `workers` processes.
    ///
    /// # Errors
    /// [`PoolError`].
    pub fn new(workers: usize) -> Result<Self, PoolError> {
        Self::with(workers, PoolOptions::default())
    }

    /// Starts `workers` processes with options of the caller's.
    ///
    /// # Errors
    /// [`PoolError`].
    pub fn with(workers: usize, options: PoolOptions) -> Result<Self, PoolError> {
        if worker::is_unserved() {
            return Err(PoolError::Unserved);
        }
        if workers == 0 {
            return Err(PoolError::Empty);
        }
        let pool = Self {
            options,
            crew: Mutex::default(),
            returned: Condvar::new(),
            size: workers,
        };
        for number in 0..workers {
            let started = Worker::start(&pool.options);
            let started = started.map_err(|source| PoolError::Spawn {
                number,
                workers,
                source,
            })?;
            let mut crew = pool.crew();
            crew.alive.push(started.child.id());
            crew.idle.push(started);
        }
        for (number, worker) in pool.crew().idle.iter_mut().enumerate() {
            worker.greet(number)?;
        }
        Ok(pool)
    }

    /// Number of workers.
    pub fn len(&self) -> usize {
        self.size
    }

    /// True if there are none, which cannot be.
    pub fn is_empty(&self) -> bool {
        self.size == 0
    }

    /// Processes of the workers that are idle now.
    pub fn idle_workers(&self) -> Vec<u32> {
        self.crew()
            .idle
            .iter()
            .map(|worker| worker.child.id())
            .collect()
    }

    /// Processes of all workers, idle or not.
    pub fn worker_pids(&self) -> Vec<u32> {
        self.crew().alive.clone()
    }

    /// Ends the worker `pid` at once, whatever it does; false if the pool has none of that number. Another takes its
    /// place when the next task is given out.
    pub fn kill(&self, pid: u32) -> bool {
        // Under the lock, a number is not given up: a process is only waited for after it was taken from the list.
        let crew = self.crew();
        crew.alive.contains(&pid) && numpush_os::kill(pid).is_ok()
    }

    /// Runs `task` with `arguments`, a tuple, in one worker and waits for its result.
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

    /// Runs `task` with each of `items` and with `argument`, and waits for all results, which are in the order of the
    /// items. If some have none, the others are run nevertheless.
    ///
    /// # Errors
    /// The [`TaskError`] of the first item that has no result; [`Self::map_each`] gives every one.
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

    /// As [`Self::map`], but gives each result as soon as it is there, with the number of its item. Dropped early, it
    /// waits for the tasks that run, and runs no more.
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
        let running = Running::new(self, name_of::<F>(), calls);
        Unordered::new(running, items)
    }

    /// Runs `task` with each of `arguments`, which are tuples, and waits for all results, in their order.
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
        let running = Running::new(self, name_of::<F>(), calls);
        Unordered::<I::Item, F::Output>::new(running, items)
            .in_order()
            .into_iter()
            .collect()
    }

    fn crew(&self) -> MutexGuard<'_, Workers> {
        self.crew.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes up to `most` idle workers, at least one: waits for it if other threads have them all. None if none lives.
    fn take(&self, most: usize) -> Vec<Worker> {
        let mut crew = self.crew();
        while crew.idle.is_empty() && !crew.alive.is_empty() {
            crew = self
                .returned
                .wait(crew)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let rest = crew.idle.len().saturating_sub(most);
        crew.idle.split_off(rest)
    }

    fn give(&self, worker: Worker) {
        self.crew().idle.push(worker);
        self.returned.notify_one();
    }

    /// Takes a worker that has died, or is about to, from the list of the living. Its number is its own until then.
    fn bury(&self, pid: u32) {
        self.crew().alive.retain(|&other| other != pid);
    }

    /// Starts a worker in the place of one that was buried; without it the pool has one less.
    fn replace(&self) -> Option<Worker> {
        let started = Worker::start(&self.options).ok();
        let greeted = started.and_then(|mut worker| worker.greet(self.size).ok().map(|()| worker));
        match &greeted {
            Some(worker) => self.crew().alive.push(worker.child.id()),
            None => self.returned.notify_all(),
        }
        greeted
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let workers = std::mem::take(&mut self.crew().idle);
        // All sockets first, so that they end side by side.
        for worker in &workers {
            let _ = worker.channel.socket().shutdown(std::net::Shutdown::Both);
        }
        workers.into_iter().for_each(Worker::end);
    }
}
