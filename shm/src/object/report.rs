//! What this process shares, for a person to read.

use std::path::Path;
use std::sync::Arc;

use numpush_shm_core::{Holder, RobustRwLock};

use crate::object::handle::{Handle, OwnerName};
use crate::object::protocol::{LockReport, ObjectReport, OwnerReport};
use crate::object::raw::{Value, find_value, numbers_after};

/// Most values of one page of a report.
const PAGE: usize = 256;

/// What this process shares, as the owner `name`, if it has one.
pub(super) fn of_this_process(name: Option<OwnerName>) -> OwnerReport {
    let (mut report, mut next) = page_of(name, 0);
    while let Some(after) = next {
        let (page, rest) = page_of(name, after);
        report.values.extend(page.values);
        next = rest;
    }
    report
}

/// The oldest values with numbers over `after`, and the number to ask for the rest after.
pub(super) fn page_of(name: Option<OwnerName>, after: u64) -> (OwnerReport, Option<u64>) {
    let pid = std::process::id();
    let numbers = numbers_after(after, PAGE);
    let next = numbers.last().filter(|_| numbers.len() == PAGE).copied();
    let values = numbers
        .into_iter()
        .filter_map(|number| of_value(number, name?));
    let report = OwnerReport {
        pid,
        command: command(pid),
        answers: true,
        values: values.collect(),
    };
    (report, next)
}

fn of_value(number: u64, owner: OwnerName) -> Option<ObjectReport> {
    let value = find_value(number)?;
    let mut report = without_pages(&value, owner)?;
    let runs = value.spans.runs();
    let runs: Vec<_> = runs
        .into_iter()
        .map(|(pages, range, _)| (Arc::clone(pages), range.clone()))
        .collect();
    // The look at every page takes a while, in which the owner may want to have the value alone.
    drop(value);
    let resident = runs
        .iter()
        .filter_map(|(pages, range)| pages.resident(range).ok());
    report.resident = resident.sum();
    Some(report)
}

fn without_pages(value: &Value, owner: OwnerName) -> Option<ObjectReport> {
    // A forked child has its parent's values in its register, and does not own them.
    let owned = value.owned("report it").ok()?;
    let handle = Handle {
        owner,
        number: owned.number,
    };
    Some(ObjectReport {
        handle: handle.to_string(),
        what: (owned.summary)(&value.description.bytes),
        bytes: value.spans.byte_len(),
        resident: 0,
        age: owned.created.elapsed(),
        open_in: owned.lessees.processes(),
        locks: value.spans.locks().into_iter().map(of_lock).collect(),
    })
}

fn of_lock(lock: &RobustRwLock) -> LockReport {
    let state = lock.state();
    let who = |holder: Holder| (holder.pid, holder.held_for);
    // A writer that is inside has made the epoch odd: that is poison only when no writer is inside.
    let inside = state.writer.is_some_and(|holder| is_alive(holder.pid));
    let poison = state.poison.filter(|_| !inside);
    let waiting = state.waiting.into_iter().filter(|&pid| is_alive(pid));
    LockReport {
        writer: state.writer.map(who),
        readers: state
            .readers
            .iter()
            .map(|holder| holder.pid)
            .filter(|&pid| is_alive(pid))
            .collect(),
        poison: poison.map(|poison| poison.to_string()),
        partitioned: state.partitioned,
        waiting: waiting.collect(),
        deaths: state.deaths,
    }
}

/// True if a process of this number exists.
fn is_alive(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

/// The command line of a process, as far as it can be read.
pub(super) fn command(pid: u32) -> String {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<_> = line
        .split(|&byte| byte == 0)
        .map(String::from_utf8_lossy)
        .collect();
    words.join(" ").trim().chars().take(200).collect()
}
