//! Failures of system calls, and deaths between two of them, at a test's choice. Without the feature `failpoints` nothing of it is compiled.

use std::io;

/// The error with which a test lets the next system call fail, which is `call`.
///
/// Whoever makes a system call asks before. Normal builds have an empty function here.
///
/// # Errors
/// What the test chose.
#[inline(always)]
pub fn failpoint(call: &'static str) -> io::Result<()> {
    Ok(point(call)?)
}

/// As [`failpoint`], for calls that are made by nix.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub(crate) fn point(_call: &'static str) -> nix::Result<()> {
    Ok(())
}

#[cfg(feature = "failpoints")]
pub(crate) use armed::point;
#[cfg(feature = "failpoints")]
pub use armed::{Failed, fail_call, fail_nth, kill_nth, passed_points, stop_failing};

#[cfg(feature = "failpoints")]
mod armed {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};

    use nix::errno::Errno;

    use crate::sync::lock;

    /// Which call is to fail.
    enum Target {
        /// The one after so many others.
        After(usize),
        /// Every one of this name.
        Named(&'static str),
        /// The one after so many others is never made: the process dies before it.
        Death(usize),
    }

    struct Plan {
        target: Target,
        errno: i32,
        failed: Option<Failed>,
        /// Calls that were made since.
        passed: usize,
    }

    /// A system call that a test let fail.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[expect(clippy::exhaustive_structs, reason = "for tests of this workspace")]
    pub struct Failed {
        /// Its name.
        pub call: &'static str,
    }

    static PLAN: Mutex<Option<Plan>> = Mutex::new(None);
    /// There is a plan: most tests have none, and pay no lock.
    static ARMED: AtomicBool = AtomicBool::new(false);

    /// Lets the system call after `before` others fail with `errno`, in whichever thread it is.
    pub fn fail_nth(before: usize, errno: i32) {
        set(Target::After(before), errno);
    }

    /// Lets every system call of this name fail with `errno`.
    pub fn fail_call(call: &'static str, errno: i32) {
        set(Target::Named(call), errno);
    }

    /// Ends the process by SIGKILL before the system call after `before` others, in whichever thread it is.
    pub fn kill_nth(before: usize) {
        set(Target::Death(before), 0);
    }

    /// The number of system calls that were made since there is something to fail or to die at; none without.
    pub fn passed_points() -> Option<usize> {
        lock(&PLAN).as_ref().map(|plan| plan.passed)
    }

    fn set(target: Target, errno: i32) {
        *lock(&PLAN) = Some(Plan {
            target,
            errno,
            failed: None,
            passed: 0,
        });
        ARMED.store(true, Ordering::SeqCst);
    }

    /// Lets no more call fail. Returns the one that did, if there was one.
    pub fn stop_failing() -> Option<Failed> {
        ARMED.store(false, Ordering::SeqCst);
        lock(&PLAN).take().and_then(|plan| plan.failed)
    }

    /// As [`failpoint`](super::failpoint).
    pub(crate) fn point(call: &'static str) -> nix::Result<()> {
        if !ARMED.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut plan = lock(&PLAN);
        let Some(plan) = plan.as_mut() else {
            return Ok(());
        };
        let hit = match plan.target {
            Target::Named(name) => name == call,
            Target::After(before) => plan.failed.is_none() && plan.passed == before,
            Target::Death(before) if plan.passed == before => die(),
            Target::Death(_) => false,
        };
        plan.passed += 1;
        if !hit {
            return Ok(());
        }
        plan.failed = Some(Failed { call });
        Err(Errno::from_raw(plan.errno))
    }

    /// As a process that the kernel or a person kills: nothing of it runs any more, in no thread.
    fn die() -> ! {
        let _ = nix::sys::signal::kill(nix::unistd::getpid(), nix::sys::signal::Signal::SIGKILL);
        std::process::abort()
    }
}
