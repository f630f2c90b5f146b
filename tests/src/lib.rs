//! What the tests of this folder share: messages, places, other processes, and waits that end.

mod fork;
mod harness;
mod message;
mod place;
mod process;
mod python;
mod trace;

use std::io::Write;
use std::time::{Duration, Instant};

pub use fork::Forked;
pub use harness::{Test, in_turn};
pub use message::{bytes, every_dtype, record};
pub use place::{TempPath, open_descriptors};
pub use process::{Peer, again, can_run, say, signal, under};
pub use python::python_with;
pub use trace::{Ended, Traced, Verdict, can_trace, name as call_name, trace_me};

/// Longest wait for anything in a test: long enough for a busy machine, short enough to find a hang.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `done` returns true.
///
/// # Panics
///
/// After [`PATIENCE`].
pub fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !done() {
        assert!(
            Instant::now() < until,
            "waited {PATIENCE:?} in vain for: {what}"
        );
        std::thread::yield_now();
    }
}

/// Reports that a test did not run, past the harness, which hides what a test prints that does not fail.
pub fn not_run(why: &str) {
    let _ = writeln!(std::io::stderr(), "NOT RUN: {why}");
}
