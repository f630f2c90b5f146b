use std::io;
use std::path::Path;
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

/// Processor time this process has used; getrusage(2).
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// In its own code.
    pub user: Duration,
    /// In the kernel on its behalf.
    pub system: Duration,
}

/// Processor time used so far.
///
/// # Errors
/// What getrusage(2) says.
pub fn usage() -> io::Result<Usage> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    Ok(Usage {
        user: duration(usage.user_time()),
        system: duration(usage.system_time()),
    })
}

/// Largest resident memory of this process so far in bytes (`VmHWM` of proc_pid_status(5)), shared pages included.
///
/// # Errors
/// If /proc is not there or says nothing.
pub fn peak_memory() -> io::Result<u64> {
    kib_line("/proc/self/status", "VmHWM:")
}

/// Memory in bytes that can be had without swapping (`MemAvailable` of proc_meminfo(5)), and within the limit of the
/// control group.
///
/// # Errors
/// If /proc is not there or says nothing.
pub fn available_memory() -> io::Result<u64> {
    let machine = kib_line("/proc/meminfo", "MemAvailable:")?;
    let group = memory_limit().map(|(limit, used)| limit.saturating_sub(used));
    Ok(group.map_or(machine, |group| group.min(machine)))
}

/// The tightest memory limit of this process's control group and those above it, and what is used of it, in bytes;
/// cgroups(7), version 2 or 1. `None` if there is none.
pub fn memory_limit() -> Option<(u64, u64)> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let limits = groups.lines().flat_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next().unwrap_or(""), fields.next().unwrap_or("/"));
        let (root, limit, used) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max", "memory.current"),
            _ if controllers.split(',').any(|name| name == "memory") => (
                "/sys/fs/cgroup/memory",
                "memory.limit_in_bytes",
                "memory.usage_in_bytes",
            ),
            _ => return Vec::new(),
        };
        let above = Path::new(path)
            .ancestors()
            .map(|path| path.strip_prefix("/").unwrap_or(path));
        let number = |file: &str, path: &Path| number_in(&Path::new(root).join(path).join(file));
        above
            .filter_map(|path| number(limit, path).zip(number(used, path)))
            .collect()
    });
    // Without a limit version 1 says the largest number of whole pages.
    limits
        .filter(|(limit, _)| *limit < u64::MAX >> 8)
        .min_by_key(|(limit, used)| limit.saturating_sub(*used))
}

/// Bytes of the file system at `path`, and how many of them are free; statvfs(3).
///
/// # Errors
/// What statvfs(3) says.
pub fn file_system_room(path: &Path) -> io::Result<(u64, u64)> {
    let room = nix::sys::statvfs::statvfs(path)?;
    let unit = room.fragment_size();
    Ok((
        room.blocks().saturating_mul(unit),
        room.blocks_available().saturating_mul(unit),
    ))
}

fn number_in(file: &Path) -> Option<u64> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// The bytes on the line of `file` that begins with `name`.
fn kib_line(file: &str, name: &str) -> io::Result<u64> {
    let text = std::fs::read_to_string(file)?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.map(|kib| kib * 1024)
        .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
}

fn duration(time: TimeVal) -> Duration {
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
    let micros = u32::try_from(time.tv_usec()).unwrap_or(0);
    Duration::new(seconds, micros * 1000)
}
