//! A process that becomes another program while it holds a lock: execve(2) lets go of it as death does.
//!
//! On the main thread only. On any other the kernel gives the thread a new number before it looks for its locks, and
//! leaves them held by a thread that is no more (seen on Linux 6.18); a wait with a timeout names it.

use std::os::unix::process::CommandExt;
use std::process::Command;

use ndarray::Ix1;
use numpush::shm::{Arena, LockError, LockOptions, SharedArray};
use numpush_tests::{PATIENCE, in_turn, tests};

const HANDLE: &str = "NUMPUSH_TEST_EXEC";

fn main() {
    if let Ok(handle) = std::env::var(HANDLE) {
        let array = SharedArray::<u64, Ix1>::open(&handle.parse().unwrap()).unwrap();
        let mut held = array.write().unwrap();
        held[0] = 99;
        let error = Command::new("true").exec();
        panic!("{error}");
    }
    in_turn(tests![execve_is_a_death_too]);
}

fn execve_is_a_death_too() {
    let array = SharedArray::<u64, Ix1>::zeros(&Arena::new(1 << 20), 8).unwrap();
    let mut peer = Command::new(std::env::current_exe().unwrap())
        .env(HANDLE, array.handle().unwrap().to_string())
        .spawn()
        .unwrap();
    assert!(peer.wait().unwrap().success());
    match array
        .read_with(LockOptions::new().timeout(PATIENCE))
        .map(|guard| guard.len())
    {
        Err(LockError::Poisoned(poison)) => assert_eq!(poison.pid, peer.id()),
        other => panic!("{other:?}"),
    }
}
