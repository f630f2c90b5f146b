//! Forked children of a test.
#![expect(unsafe_code, reason = "fork(2), which the library itself never calls")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork};

use crate::PATIENCE;

/// What a program exits with that panics.
const PANICKED: i32 = 101;

/// A forked child of this process.
#[derive(Debug)]
pub struct Forked(Pid);

impl Forked {
    /// Forks. The child exits with 0 if `work` returns true, with 1 if false, and with 101 if it panics.
    pub fn start(work: impl FnOnce() -> bool) -> Self {
        // SAFETY: the child does what the test is about, and leaves by _exit: the harness is its parent's.
        match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                let code = match catch_unwind(AssertUnwindSafe(work)) {
                    Ok(is_good) => i32::from(!is_good),
                    Err(_) => PANICKED,
                };
                // SAFETY: it does not return.
                unsafe { libc::_exit(code) }
            }
            ForkResult::Parent { child } => Self(child),
        }
    }

    /// Its process id.
    pub fn id(&self) -> Pid {
        self.0
    }

    /// Its exit code; none if it had to be killed.
    pub fn exit_code(self) -> Option<i32> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            let status = waitpid(self.0, Some(WaitPidFlag::WNOHANG)).unwrap();
            match status {
                WaitStatus::Exited(_, code) => return Some(code),
                WaitStatus::Signaled(..) => return None,
                _ => std::thread::sleep(Duration::from_millis(1)),
            }
        }
        kill(self.0, Signal::SIGKILL).unwrap();
        waitpid(self.0, None).unwrap();
        None
    }
}
