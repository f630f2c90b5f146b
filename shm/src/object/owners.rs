//! The processes of this user that share values.

use std::os::unix::fs::MetadataExt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::object::client;
use crate::object::handle::OwnerName;
use crate::object::protocol::OwnerReport;
use crate::object::report::command;
use crate::object::server;

/// Asks every process of this user in this network namespace what it shares.
///
/// The processes are found by their abstract sockets in /proc/net/unix (proc_net(5)). They are asked at the same time,
/// and have one second to answer together. Those of other users, and those that have just ended, are left out.
///
/// # Errors
/// [`Error::Io`] if /proc/net/unix cannot be read.
pub fn list_owners() -> Result<Vec<OwnerReport>, Error> {
    let text =
        std::fs::read_to_string("/proc/net/unix").map_err(Error::io("read /proc/net/unix"))?;
    let mut names: Vec<OwnerName> = text
        .lines()
        .filter_map(|line| OwnerName::parse(line.split_whitespace().last()?.strip_prefix('@')?))
        .collect();
    names.sort_unstable();
    names.dedup();
    Ok(ask(&names, Instant::now() + PATIENCE))
}

/// Asks all of them at the same time.
fn ask(names: &[OwnerName], deadline: Instant) -> Vec<OwnerReport> {
    let next = AtomicUsize::new(0);
    let reports = Mutex::new(Vec::new());
    let work = || {
        while let Some(&name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Some(report) = report(name, deadline) {
                numpush_os::lock(&reports).push((name, report));
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..names.len().min(MOST_THREADS) {
            // Without a thread the others have more to do.
            let _ = std::thread::Builder::new().spawn_scoped(scope, work);
        }
        work();
    });
    let mut reports = reports
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    reports.sort_by_key(|(name, _)| *name);
    reports.into_iter().map(|(_, report)| report).collect()
}

fn report(name: OwnerName, deadline: Instant) -> Option<OwnerReport> {
    if server::is_this_process(name) {
        return Some(server::own_report());
    }
    let silent = |pid| OwnerReport {
        pid,
        command: command(pid),
        answers: false,
        values: Vec::new(),
    };
    match client::report(name, deadline).ok()? {
        client::Answer::Report(report) => Some(report),
        client::Answer::Silence(Some(pid)) => Some(silent(pid)),
        // Its queue is full: it may be stopped, or another user may have taken the name.
        client::Answer::Silence(None) => is_of_this_user(name.pid).then(|| silent(name.pid)),
    }
}

fn is_of_this_user(pid: u32) -> bool {
    let process = std::fs::metadata(format!("/proc/{pid}"));
    process.is_ok_and(|process| process.uid() == numpush_os::user())
}

/// How long all of them together have to answer: a person waits for it.
const PATIENCE: Duration = Duration::from_secs(1);
/// Most threads that ask. One that asks a process that does not answer waits until the end.
const MOST_THREADS: usize = 64;
