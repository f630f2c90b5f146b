//! What a process shares, for a person to read.

use std::time::Duration;

use numpush_shm_core::{Holder, RobustRwLock};
use serde::{Deserialize, Serialize};

use crate::client;
use crate::error::Error;
use crate::host::{self, PREFIX};
use crate::object::{Descriptor, Object, Origin, registry};

/// A process that shares values, and what they are.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OwnerReport {
    /// The process.
    pub pid: u32,
    /// Its command.
    pub command: String,
    /// False if it did not answer, because it is stopped, say; its values are not known then.
    pub answers: bool,
    /// Its values, oldest first.
    pub values: Vec<ObjectReport>,
}

/// A shared value.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ObjectReport {
    /// The name by which it is opened.
    pub handle: String,
    /// What it is, in a few words.
    pub what: String,
    /// Bytes of it.
    pub bytes: usize,
    /// Bytes of it that are in memory.
    pub resident: usize,
    /// How long ago it was made.
    pub age: Duration,
    /// Processes that have it open, beside its owner.
    pub open_in: Vec<u32>,
    /// Its locks.
    pub locks: Vec<LockReport>,
}

/// A lock.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct LockReport {
    /// Process that writes, or has handed out parts, and for how long.
    pub writer: Option<(u32, Duration)>,
    /// Processes that read, or work on parts, and for how long.
    pub readers: Vec<(u32, Duration)>,
    /// What an unfinished write left behind.
    pub poison: Option<String>,
    /// Parts are handed out.
    pub partitioned: bool,
    /// Processes that wait.
    pub waiting: Vec<u32>,
    /// Holders that died and were cleaned up after.
    pub deaths: u32,
}

impl OwnerReport {
    pub(crate) fn of_this_process() -> Self {
        let values = registry().all().into_iter();
        Self {
            pid: std::process::id(),
            command: command(std::process::id()),
            answers: true,
            values: values
                .filter_map(|(number, value)| ObjectReport::new(number, &value))
                .collect(),
        }
    }
}

impl ObjectReport {
    fn new(number: u64, value: &Object) -> Option<Self> {
        let Origin::Owned(owned) = &value.origin else {
            return None;
        };
        let resident = value
            .ranges()
            .iter()
            .filter_map(|(pages, range)| pages.resident(range).ok())
            .sum();
        Some(Self {
            handle: value.handle().ok()?.to_string(),
            what: describe(&value.meta),
            bytes: value.len(),
            resident,
            age: owned.born.elapsed(),
            open_in: host::openers(number),
            locks: value.locks().into_iter().map(LockReport::new).collect(),
        })
    }
}

impl LockReport {
    fn new(lock: RobustRwLock) -> Self {
        let state = lock.state();
        let who = |holder: Holder| (holder.pid, holder.held_for);
        // A writer that is inside has made the epoch odd; it is poison only when nobody is.
        let inside = state.writer.is_some_and(|holder| is_alive(holder.pid));
        Self {
            writer: state.writer.map(who),
            readers: state.readers.into_iter().map(who).collect(),
            poison: state
                .poison
                .filter(|_| !inside)
                .map(|poison| poison.to_string()),
            partitioned: state.partitioned,
            waiting: state
                .waiting
                .into_iter()
                .filter(|&pid| is_alive(pid))
                .collect(),
            deaths: state.deaths,
        }
    }
}

fn describe(meta: &Descriptor) -> String {
    match meta {
        Descriptor::Array(meta) => {
            let dtype = meta
                .dtype
                .parse()
                .map_or_else(|| "?".into(), |dtype| dtype.to_string());
            format!("array {dtype} {:?}", meta.shape)
        }
        Descriptor::Frame(meta) => {
            format!("frame {} rows, {} columns", meta.rows, meta.columns.len())
        }
        Descriptor::Graph(meta) => format!("graph {} nodes, {} edges", meta.nodes, meta.edges),
        Descriptor::Mutex => "mutex".into(),
    }
}

/// True if there is such a process.
fn is_alive(pid: u32) -> bool {
    std::path::Path::new("/proc").join(pid.to_string()).exists()
}

/// The command of a process, as far as it can be read.
fn command(pid: u32) -> String {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<_> = line
        .split(|&byte| byte == 0)
        .map(String::from_utf8_lossy)
        .collect();
    words.join(" ").trim().chars().take(200).collect()
}

/// Asks every process of this user, and of this network namespace, what it shares.
///
/// They are found by their abstract sockets in /proc/net/unix (proc_net(5)).
///
/// # Errors
/// [`Error::Io`] if that cannot be read. Processes of other users, and those that have just ended, are left out.
pub fn list_owners() -> Result<Vec<OwnerReport>, Error> {
    let text =
        std::fs::read_to_string("/proc/net/unix").map_err(Error::io("read /proc/net/unix"))?;
    let mut names: Vec<&str> = text
        .lines()
        .filter_map(|line| line.split_whitespace().last()?.strip_prefix('@'))
        .filter(|name| name.starts_with(PREFIX))
        .collect();
    names.sort_unstable();
    names.dedup();
    Ok(names.into_iter().filter_map(report).collect())
}

/// What the process at an abstract socket says.
fn report(name: &str) -> Option<OwnerReport> {
    if host::is_ours(name) {
        return Some(OwnerReport::of_this_process());
    }
    match client::report(name, PATIENCE) {
        Ok(report) => Some(report),
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::TimedOut => {
            let pid = name.strip_prefix(PREFIX)?.split('.').next()?.parse().ok()?;
            Some(OwnerReport {
                pid,
                command: command(pid),
                answers: false,
                values: Vec::new(),
            })
        }
        Err(_) => None,
    }
}

/// A person waits for the answer.
const PATIENCE: Duration = Duration::from_secs(1);
