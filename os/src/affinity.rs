//! Which processors a process runs on.

use std::io;
use std::sync::OnceLock;

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

/// How many processors this machine has at work, as it was when this was first asked; sysconf(3), `_SC_NPROCESSORS_ONLN`.
pub fn online_processors() -> usize {
    static COUNT: OnceLock<usize> = OnceLock::new();
    *COUNT.get_or_init(|| {
        // SAFETY: the call reads no memory of ours.
        let count = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
        usize::try_from(count).unwrap_or(1).max(1)
    })
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
