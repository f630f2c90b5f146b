//! A short run of each mode. The long ones: `cargo run --release -p numpush-torture -- --kills 100000 --mode in-place`.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::exit,
    reason = "a test fails by panicking"
)]

use std::process::Command;

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
fn a_task_that_lies_is_found() {
    let torture = env!("CARGO_BIN_EXE_numpush-torture");
    let output = Command::new(torture)
        .args(["--mode", "pool", "--kills", "300", "--plant"])
        .output()
        .unwrap();
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success(), "{out}");
    assert!(!out.contains("undetected torn 0,"), "{out}");
}
