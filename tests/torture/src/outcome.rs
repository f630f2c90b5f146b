use std::fmt;
use std::time::{Duration, Instant};

use numpush::shm::Arena;

/// What a run found.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) kills: u64,
    pub(crate) reads: u64,
    pub(crate) writes: u64,
    /// Unfinished writes that were reported.
    pub(crate) poisoned: u64,
    /// Of these, those that had really left different elements.
    pub(crate) dirty: u64,
    /// Different elements in data that was said to be whole.
    pub(crate) torn: u64,
    /// Commits that were seen and later not.
    pub(crate) lost: u64,
    /// Waits that did not end.
    pub(crate) stuck: u64,
    pub(crate) leaked_descriptors: u64,
    pub(crate) leaked_bytes: u64,
    pub(crate) leaked_names: u64,
    pub(crate) fault: Option<String>,
}

impl Outcome {
    /// Adds what another thread found.
    pub(crate) fn add(&mut self, other: Self) {
        self.reads += other.reads;
        self.writes += other.writes;
        self.poisoned += other.poisoned;
        self.dirty += other.dirty;
        self.torn += other.torn;
        self.lost += other.lost;
        self.stuck += other.stuck;
        self.fault = self.fault.take().or(other.fault);
    }

    /// True while a run goes on.
    pub(crate) fn found_nothing(&self) -> bool {
        self.torn + self.lost + self.stuck == 0 && self.fault.is_none()
    }

    pub(crate) fn is_good(&self) -> bool {
        let leaks = self.leaked_descriptors + self.leaked_bytes + self.leaked_names;
        self.torn + self.lost + self.stuck + leaks == 0 && self.fault.is_none()
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kills,
            reads,
            writes,
            poisoned,
            dirty,
            torn,
            lost,
            stuck,
            ..
        } = self;
        let Self {
            leaked_descriptors,
            leaked_bytes,
            leaked_names,
            fault,
            ..
        } = self;
        write!(
            f,
            "{kills} kills, {reads} reads, {writes} writes, {poisoned} poisoned ({dirty} really torn): "
        )?;
        write!(
            f,
            "undetected torn {torn}, lost commits {lost}, stuck {stuck}, leaked descriptors "
        )?;
        write!(
            f,
            "{leaked_descriptors}, bytes {leaked_bytes}, names {leaked_names}"
        )?;
        if let Some(fault) = fault {
            write!(f, ", fault: {fault}")?;
        }
        Ok(())
    }
}

/// What this process has that could leak.
pub(crate) struct Inventory {
    descriptors: u64,
    names: u64,
}

impl Inventory {
    pub(crate) fn take() -> Self {
        let entries = |path: &str| std::fs::read_dir(path).into_iter().flatten().flatten();
        // Other programs come and go there too.
        let ours = format!("np.torture-{}-", std::process::id());
        let is_ours = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with(&ours);
        let names = entries("/dev/shm").filter(|entry| is_ours(&entry.file_name()));
        Self {
            descriptors: entries("/proc/self/fd").count() as u64,
            names: names.count() as u64,
        }
    }

    /// Notes what has been added since, when the threads that close the connections of the dead have done so.
    pub(crate) fn settle(&self, arena: &Arena, outcome: &mut Outcome) {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let now = Self::take();
            outcome.leaked_descriptors = now.descriptors.saturating_sub(self.descriptors);
            outcome.leaked_names = now.names.saturating_sub(self.names);
            outcome.leaked_bytes = arena.usage().used as u64;
            if outcome.leaked_descriptors + outcome.leaked_bytes == 0 || Instant::now() > until {
                return;
            }
            std::thread::yield_now();
        }
    }
}
