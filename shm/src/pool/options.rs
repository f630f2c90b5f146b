use std::time::Duration;

/// How the workers of a pool are started.
///
/// ```
/// use numpush_shm::PoolOptions;
///
/// // Workers that a test harness would take for itself begin in the test that serves.
/// let options = PoolOptions::new().arguments(["--exact", "worker", "--nocapture"]);
/// // Two workers, each on two processors of its own.
/// let options = options.processors([[0, 1], [2, 3]]);
/// # drop(options);
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, Default)]
pub struct PoolOptions {
    /// Arguments of the program in a worker. Default: none.
    pub arguments: Vec<String>,
    /// The processors of each worker, by their numbers in Linux: worker `n` runs on `processors[n % len]`. Default: none,
    /// and workers run where this process may.
    pub processors: Vec<Vec<usize>>,
}

impl PoolOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the arguments of the program in a worker.
    #[must_use]
    pub fn arguments(mut self, arguments: impl IntoIterator<Item: Into<String>>) -> Self {
        self.arguments = arguments.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the processors of each worker.
    #[must_use]
    pub fn processors(
        mut self,
        processors: impl IntoIterator<Item: IntoIterator<Item = usize>>,
    ) -> Self {
        let sets = processors.into_iter();
        self.processors = sets.map(|set| set.into_iter().collect()).collect();
        self
    }
}

/// How the tasks of a call are run.
///
/// ```
/// use std::time::Duration;
///
/// use numpush_shm::TaskOptions;
///
/// let options = TaskOptions::new().timeout(Duration::from_secs(10)).chunk(1);
/// # let _ = options;
/// ```
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default)]
pub struct TaskOptions {
    /// How long a task may run. After that its worker is killed, and the task ends with
    /// [`TaskError::TimedOut`](crate::TaskError::TimedOut). Default: forever.
    pub timeout: Option<Duration>,
    /// Number of tasks that are sent to a worker at a time; it still runs and answers one after the other. Default: one,
    /// and more of tasks that turn out to be shorter than 0.1 ms.
    pub chunk: Option<usize>,
}

impl TaskOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how long a task may run.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets the number of tasks that are sent to a worker at a time, at least one.
    #[must_use]
    pub fn chunk(mut self, chunk: usize) -> Self {
        self.chunk = Some(chunk.max(1));
        self
    }
}
