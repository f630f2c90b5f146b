//! Which processors a process runs on.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::errno::Errno;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The processors that this thread may run on, in order; sched_getaffinity(2).
///
/// # Errors
/// What sched_getaffinity(2) says.
pub fn processors() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(Pid::from_raw(0))?;
    let all = 0..CpuSet::count();
    Ok(all
        .filter(|&number| set.is_set(number) == Ok(true))
        .collect())
}

/// How many of the machine's processors are at work and may run this thread, as it was when this was first asked; sysconf(3),
/// `_SC_NPROCESSORS_ONLN`, and sched_getaffinity(2).
pub fn online_processors() -> usize {
    // Not a `Once`: a child of a fork would wait for a thread that it has not.
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    match COUNT.load(Ordering::Relaxed) {
        0 => {
            // SAFETY: the call reads no memory of ours.
            let online = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
            let online = usize::try_from(online).unwrap_or(1);
            let ours = processors().map_or(online, |ours| ours.len());
            let count = online.min(ours).max(1);
            COUNT.store(count, Ordering::Relaxed);
            count
        }
        count => count,
    }
}

/// Binds the main thread of process `pid`, and the threads that it starts from now on, to `processors`;
/// sched_setaffinity(2).
///
/// # Errors
/// EINVAL if the process may run on none of them, ESRCH if there is no such process.
pub fn bind_to_processors(pid: u32, processors: &[usize]) -> io::Result<()> {
    let mut set = CpuSet::new();
    for &number in processors {
        set.set(number)?;
    }
    let pid = i32::try_from(pid).map_err(|_| Errno::ESRCH)?;
    Ok(sched_setaffinity(Pid::from_raw(pid), &set)?)
}
