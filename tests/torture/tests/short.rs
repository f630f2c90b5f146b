//! A short run of each mode. The long ones: `cargo run --release -p numpush-torture -- --kills 100000 --mode in-place`.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::exit,
    reason = "a test fails by panicking"
)]

use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

fn survives(mode: &str, kills: &str) {
    let torture = env!("CARGO_BIN_EXE_numpush-torture");
    let output = Command::new(torture)
        .args(["--mode", mode, "--kills", kills])
        .output()
        .unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    println!("{out}");
    assert!(output.status.success(), "{}: {out}{err}", output.status);
    assert!(out.contains(&format!("{kills} kills, ")), "{out}");
}

#[test]
fn writers_in_place() {
    survives("in-place", "300");
}

#[test]
fn committers() {
    survives("commit", "300");
}

#[test]
fn readers() {
    survives("readers", "300");
}

#[test]
fn workers_of_a_pool() {
    survives("pool", "300");
}

#[test]
fn victims_with_forked_children() {
    survives("forks", "300");
}

#[test]
fn victims_that_are_stopped() {
    survives("stops", "300");
}

#[test]
fn owners() {
    survives("owners", "300");
}

/// A run that removes the names of the dead removes those that a planted fault leaves for another run to find.
fn alone_with_names() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn makers_of_names() {
    let _alone = alone_with_names();
    survives("names", "300");
}

/// A run whose victims lie fails, and says which count is wrong.
fn is_found(mode: &str, what: &str) {
    let torture = env!("CARGO_BIN_EXE_numpush-torture");
    let output = Command::new(torture)
        .args(["--mode", mode, "--kills", "300", "--plant"])
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success(), "{mode}: {out}");
    assert!(!out.contains(&format!("{what} 0")), "{mode}: {out}");
}

#[test]
fn a_fault_is_found_in_each_mode() {
    for mode in [
        "in-place", "commit", "readers", "pool", "forks", "stops", "owners",
    ] {
        is_found(mode, "undetected torn");
    }
    let _alone = alone_with_names();
    is_found("names", "names");
}
