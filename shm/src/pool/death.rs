//! How a worker ended, and what it held.

use std::process::ExitStatus;

use std::os::unix::process::ExitStatusExt;

use crate::mutex::SharedMutex;
use crate::object::{Value, handle_of_owned, owned_values};
use crate::pool::error::{HeldLock, LockPurpose};

pub(super) fn describe(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("was killed by signal {signal}"),
        (None, code) => format!("exited with code {}", code.unwrap_or(0)),
    }
}

/// The locks of this process's values that `pid` held when it died.
pub(super) fn locks_held_by(pid: u32) -> Vec<HeldLock> {
    let mut held = Vec::new();
    for object in owned_values() {
        let Ok(handle) = handle_of_owned(&object) else {
            continue;
        };
        held.extend(purposes(&object, pid).map(|purpose| HeldLock {
            handle: handle.to_string(),
            purpose,
        }));
    }
    held
}

/// What `pid` held each lock of a value for.
fn purposes(object: &Value, pid: u32) -> impl Iterator<Item = LockPurpose> {
    let purpose = move |lock: &numpush_shm_core::RobustRwLock| {
        let state = lock.state();
        let poison = state.poison.filter(|poison| poison.pid == pid);
        if let Some(poison) = poison.filter(|_| !state.partitioned) {
            let end = poison.dirty.end.min(object.spans.byte_len());
            return Some(LockPurpose::Write(poison.dirty.start..end));
        }
        if state.writer.is_some_and(|holder| holder.pid == pid) {
            return Some(
                if object.kind() == SharedMutex::KIND || object.spans.atomic().is_some() {
                    LockPurpose::Exclude
                } else if object.spans.double().is_some() {
                    LockPurpose::Commit
                } else {
                    LockPurpose::Write(0..0)
                },
            );
        }
        let reads = state.readers.iter().any(|holder| holder.pid == pid);
        reads.then_some(LockPurpose::Read)
    };
    object.spans.locks().into_iter().filter_map(purpose)
}
