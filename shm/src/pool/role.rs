//! Whether this process is a worker.

use std::io;
use std::os::unix::process::parent_id;
use std::time::Duration;

use numpush_os::{is_hung_up, peer_credentials};

use crate::pool::protocol::VARIABLE;

/// How long the pool and a worker look for a frame before they sleep. A wake-up costs 20 to 40 us on a virtual machine:
/// `benches/sharing.rs`.
pub(super) const LOOK: Duration = Duration::from_micros(50);

/// What this process is to a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// A pool started it.
    Worker,
    /// A pool started it and has ended since.
    Orphan,
    /// No pool started it.
    Program,
}

/// A worker has the number of its pool's process in its environment, that process for a parent, and a socket that it made
/// for standard input. The environment alone says nothing: whatever a task starts inherits it.
pub(super) fn role() -> Role {
    let value = std::env::var(VARIABLE).ok();
    let Some(pool) = value.and_then(|value| value.parse::<u32>().ok()) else {
        return Role::Program;
    };
    let input = io::stdin();
    match peer_credentials(&input).map(|made_by| made_by.pid.unsigned_abs()) {
        Ok(made_by) if made_by == pool => {}
        // The kernel cannot say. A worker that took itself for a program would do the work of the program.
        Err(error) if is_a_shortage(&error) && parent_id() == pool => return Role::Worker,
        _ => return Role::Program,
    }
    if parent_id() == pool {
        Role::Worker
    } else if is_hung_up(&input) {
        Role::Orphan
    } else {
        // A worker started it before it served, and it inherited standard input as well.
        Role::Program
    }
}

fn is_a_shortage(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::OutOfMemory | io::ErrorKind::Interrupted
    )
}
