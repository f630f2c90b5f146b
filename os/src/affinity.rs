//! Which processors a process runs on.

use std::io;

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
