//! What this process shares, for a person to read.

use std::path::Path;

use numpush_shm_core::{Holder, RobustRwLock};

use crate::object::handle::Handle;
use crate::object::protocol::{LockReport, ObjectReport, OwnerReport};
use crate::object::raw::{RawObject, owned_objects};

/// What this process shares under the name `owner`; `openers` returns the processes that have a value open.
pub(super) fn of_this_process(owner: &str, openers: impl Fn(u64) -> Vec<u32>) -> OwnerReport {
    let pid = std::process::id();
    let values = owned_objects();
    let values = values
        .iter()
        .filter_map(|object| of_object(object, owner, &openers));
    OwnerReport {
        pid,
        command: command(pid),
        answers: true,
        values: values.collect(),
    }
}

fn of_object(
    object: &RawObject,
    owner: &str,
    openers: impl Fn(u64) -> Vec<u32>,
) -> Option<ObjectReport> {
    // A forked child has its parent's values in its register, and does not own them.
    let owned = object.owned("report it").ok()?;
    let handle = Handle {
        owner: owner.into(),
        number: owned.number,
    };
    let runs = object.spans.runs();
    let resident = runs
        .iter()
        .filter_map(|(pages, range, _)| pages.resident(range).ok());
    Some(ObjectReport {
        handle: handle.to_string(),
        what: (owned.summary)(&object.description.bytes),
        bytes: object.spans.byte_len(),
        resident: resident.sum(),
        age: owned.created.elapsed(),
        open_in: openers(owned.number),
        locks: object.spans.locks().into_iter().map(of_lock).collect(),
    })
}

fn of_lock(lock: RobustRwLock) -> LockReport {
    let state = lock.state();
    let who = |holder: Holder| (holder.pid, holder.held_for);
    // A writer that is inside has made the epoch odd: that is poison only when no writer is inside.
    let inside = state.writer.is_some_and(|holder| is_alive(holder.pid));
    let poison = state.poison.filter(|_| !inside);
    let waiting = state.waiting.into_iter().filter(|&pid| is_alive(pid));
    LockReport {
        writer: state.writer.map(who),
        readers: state.readers.into_iter().map(who).collect(),
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
