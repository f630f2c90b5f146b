//! What the tests of this folder share.

use std::io::Write;

/// Says that a test did not run, past the harness, which hides what a test prints that does not fail.
pub(crate) fn not_run(why: &str) {
    let _ = writeln!(std::io::stderr(), "NOT RUN: {why}");
}
