use std::io;
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
    Ok(Usage { user: duration(usage.user_time()), system: duration(usage.system_time()) })
}

/// Largest resident memory of this process so far in bytes (`VmHWM` of proc_pid_status(5)), shared pages included.
///
/// # Errors
/// If /proc is not there or says nothing.
pub fn peak_memory() -> io::Result<u64> {
    kib_line("/proc/self/status", "VmHWM:")
}

/// Memory in bytes that can be had without swapping (`MemAvailable` of proc_meminfo(5)).
///
/// # Errors
/// If /proc is not there or says nothing.
pub fn available_memory() -> io::Result<u64> {
    kib_line("/proc/meminfo", "MemAvailable:")
}

/// The bytes on the line of `file` that begins with `name`.
fn kib_line(file: &str, name: &str) -> io::Result<u64> {
    let text = std::fs::read_to_string(file)?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let kib = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.map(|kib| kib * 1024).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
}

fn duration(time: TimeVal) -> Duration {
    let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
    let micros = u32::try_from(time.tv_usec()).unwrap_or(0);
    Duration::new(seconds, micros * 1000)
}

/// The user this process acts as; geteuid(2).
pub fn user() -> u32 {
    nix::unistd::geteuid().as_raw()
}
