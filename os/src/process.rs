use std::io;
use std::path::Path;
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

use crate::group::{GroupMemory, memory_groups};

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
/// What getrusage(2) reports.
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
/// If /proc is not mounted or lacks the line.
pub fn peak_memory() -> io::Result<u64> {
    kib_line("/proc/self/status", "VmHWM:")
}

/// Memory in bytes that can be had without swapping (`MemAvailable` of proc_meminfo(5)), and within the limits of the
/// control groups.
///
/// # Errors
/// If /proc is not mounted or lacks the line.
pub fn available_memory() -> io::Result<u64> {
    let machine = kib_line("/proc/meminfo", "MemAvailable:")?;
    let groups = memory_groups().into_iter().map(GroupMemory::left);
    Ok(groups.fold(machine, u64::min))
}

/// Memory in bytes that the machine has (`MemTotal` of proc_meminfo(5)), or the limit of a control group if that is lower.
/// It does not depend on what is used at the moment.
///
/// # Errors
/// If /proc is not mounted or lacks the line.
pub fn total_memory() -> io::Result<u64> {
    let machine = kib_line("/proc/meminfo", "MemTotal:")?;
    let groups = memory_groups().into_iter().map(|group| group.limit);
    Ok(groups.fold(machine, u64::min))
}

/// The control group with the least memory left, of this process's and those above it. `None` if none has a limit.
pub fn memory_limit() -> Option<GroupMemory> {
    memory_groups().into_iter().min_by_key(|group| group.left())
}

/// Bytes of the file system at `path`, and how many of them are free; statvfs(3).
///
/// # Errors
/// What statvfs(3) reports.
pub fn file_system_room(path: &Path) -> io::Result<(u64, u64)> {
    let room = nix::sys::statvfs::statvfs(path)?;
    let unit = room.fragment_size();
    Ok((
        room.blocks().saturating_mul(unit),
        room.blocks_available().saturating_mul(unit),
    ))
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
