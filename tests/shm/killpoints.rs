//! A process dies before a system call of `os`: every call, and every one of the processes that share. Those who live end
//! well or with an error that has a name, none is stuck, and nothing is left of the dead.

use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use numpush_tests::{PATIENCE, TempPath};

/// What the processes of a run said, one line each, and whether the run was killed because it did not end.
struct Run {
    said: String,
    is_stuck: bool,
}

/// Runs the sharing program, one of whose processes dies before its call `before`. It is to end with no more than `left`
/// descriptors.
fn run(victim: &str, before: usize, left: usize) -> Run {
    let output = TempPath::new("killpoints");
    let file = std::fs::File::create(&output.0).unwrap();
    // The pipe closes with the last of its processes, which may outlive the first.
    let mut command = Command::new("timeout");
    command
        .args(["--signal=KILL", &PATIENCE.as_secs().to_string()])
        .arg(env!("CARGO_BIN_EXE_sharer"))
        .env("NUMPUSH_KILL", format!("{victim} {before}"))
        .env("NUMPUSH_LEFT", left.to_string())
        .stdin(Stdio::null())
        .stdout(file.try_clone().unwrap())
        .stderr(file);
    let mut child = command.spawn().unwrap();
    child.wait().unwrap();
    // A client or a worker whose owner died ends by itself.
    let until = std::time::Instant::now() + PATIENCE;
    let mut is_stuck = false;
    while has_open(&output.0) {
        is_stuck |= std::time::Instant::now() > until;
        if is_stuck {
            break;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    let said = std::fs::read_to_string(&output.0).unwrap();
    Run { said, is_stuck }
}

/// The descriptors that the owner ended with, if it came to its end, and no mapping is left.
fn descriptors_left(said: &str) -> Option<usize> {
    let (_, left) = said.split_once("left: 0 mappings, ")?;
    left.split_once(' ')?.0.parse().ok()
}

/// True while a process of ours has the file at `path` open.
fn has_open(path: &std::path::Path) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let mut pids = processes.filter(|entry| {
        let name = entry.file_name();
        name.to_string_lossy()
            .parse::<u32>()
            .is_ok_and(|pid| pid != std::process::id())
    });
    pids.any(|entry| std::fs::read_link(entry.path().join("fd/1")).is_ok_and(|to| to == path))
}

/// Kills `victim` before each of its calls, one run each, until a run has no such call.
fn every_call(victim: &str) {
    let _alone = alone();
    let most = descriptors_left(&run("nobody", 0, usize::MAX).said).unwrap();
    let mut kills = 0;
    for before in 0.. {
        let Run { said, is_stuck } = run(victim, before, most);
        assert!(!is_stuck, "{victim} {before}: a process is stuck\n{said}");
        for bad in ["panicked", "FAULT", "SIGBUS", "SIGSEGV"] {
            assert!(!said.contains(bad), "{victim} {before}\n{said}");
        }
        for role in ["owner", "client"] {
            let ended = said.contains(&format!("{role} went well"))
                || said.contains(&format!("{role} error: "));
            // An owner that dies or fails early has started no client, and one that ends kills it.
            assert!(
                ended || role == victim || role == "client",
                "{victim} {before}: {role} ended without a word\n{said}"
            );
        }
        if victim != "owner" {
            let left = descriptors_left(&said).unwrap();
            assert!(
                left <= most,
                "{victim} {before}: {left} descriptors of {most}\n{said}"
            );
        }
        if said.contains(&format!("{victim} passed ")) {
            break;
        }
        kills += 1;
    }
    // A killed owner leaves a name at most, which can be reaped.
    numpush::shm::reap().unwrap();
    let names = std::fs::read_dir("/dev/shm").unwrap().flatten();
    let left: Vec<_> = names
        .map(|entry| entry.file_name())
        .filter(|name| name.to_string_lossy().starts_with("np.sharer-"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(kills > 20, "only {kills} deaths");
    println!("{victim}: {kills} deaths");
}

/// The tests look at the names that are left.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn an_owner_dies_before_every_call() {
    every_call("owner");
}

#[test]
fn a_client_dies_before_every_call() {
    every_call("client");
}

#[test]
fn a_worker_dies_before_every_call() {
    every_call("worker");
}
