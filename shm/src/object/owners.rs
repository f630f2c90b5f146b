//! The processes of this user that share values.

use std::time::Duration;

use crate::error::Error;
use crate::object::client;
use crate::object::protocol::OwnerReport;
use crate::object::report::command;
use crate::object::server::{self, PREFIX};

/// Asks every process of this user in this network namespace what it shares.
///
/// The processes are found by their abstract sockets in /proc/net/unix (proc_net(5)). Those of other users, and those
/// that have just ended, are left out. A process has one second to answer.
///
/// # Errors
/// [`Error::Io`] if /proc/net/unix cannot be read.
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

/// The report of the process at an abstract socket.
fn report(name: &str) -> Option<OwnerReport> {
    if server::is_this_process(name) {
        return Some(server::own_report());
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

/// How long a process has to answer: a person waits for it.
const PATIENCE: Duration = Duration::from_secs(1);
