use std::process::{Command, Stdio};

use crate::not_run;

/// The interpreter that has `modules`, a list as `import` takes it: the one of `NUMPUSH_PYTHON`, which `tests/run` sets
/// up, or else `python3`. Reports that a test did not run if that one lacks them.
///
/// # Panics
///
/// If `NUMPUSH_PYTHON` lacks them: whoever sets it wants the test to run.
pub fn python_with(modules: &str) -> Option<String> {
    let chosen = std::env::var("NUMPUSH_PYTHON");
    let python = chosen.clone().unwrap_or_else(|_| "python3".into());
    let imports = Command::new(&python)
        .args(["-c", &format!("import {modules}")])
        .stderr(Stdio::null())
        .status();
    if imports.is_ok_and(|status| status.success()) {
        return Some(python);
    }
    assert!(chosen.is_err(), "NUMPUSH_PYTHON has not all of {modules}");
    not_run(&format!(
        "{python} has not all of {modules}; tests/run sets up one that has"
    ));
    None
}
