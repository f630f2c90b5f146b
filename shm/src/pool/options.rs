/// How the workers of a pool are started.
///
/// ```
/// use numpush_shm::PoolOptions;
///
/// // Workers that a test harness would take for itself begin in the test that serves.
/// let options = PoolOptions::new().arguments(["--exact", "worker", "--nocapture"]);
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, Default)]
pub struct PoolOptions {
    /// Arguments of the program in a worker. Default: none.
    pub arguments: Vec<String>,
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
}
