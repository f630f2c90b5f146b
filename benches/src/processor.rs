//! Which processors the two ends of a measurement run on. A wake-up of another processor can cost more than all the rest
//! of a round trip, so round trips are measured with both ends on one, and with one each.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::case::Processors;
use crate::error::{BenchError, bench_error};

/// Calls `start`, which starts the other end, so that it and this thread run where `processors` says. Until the end of
/// the measurement: see [`release`].
pub(crate) fn apart<T>(
    processors: Processors,
    start: impl FnOnce() -> Result<T, BenchError>,
) -> Result<T, BenchError> {
    if processors == Processors::Any {
        return start();
    }
    let all = sched_getaffinity(Pid::from_raw(0)).map_err(bench_error)?;
    let is_set = |&at: &usize| all.is_set(at).unwrap_or(false);
    let mut allowed = (0..CpuSet::count()).filter(is_set);
    let too_few = || BenchError::Case("this needs two processors".into());
    let here = allowed.next().ok_or_else(too_few)?;
    let there = match processors {
        Processors::Two => allowed.next().ok_or_else(too_few)?,
        _ => here,
    };
    // Processes and threads inherit the processors of the thread that starts them.
    run_on(there)?;
    let started = start();
    run_on(here)?;
    started
}

/// Lets this thread run where `run` found it, when `run` has returned.
pub(crate) fn release<T>(run: impl FnOnce() -> T) -> Result<T, BenchError> {
    let this = Pid::from_raw(0);
    let all = sched_getaffinity(this).map_err(bench_error)?;
    let result = run();
    sched_setaffinity(this, &all).map_err(bench_error)?;
    Ok(result)
}

fn run_on(processor: usize) -> Result<(), BenchError> {
    let mut one = CpuSet::new();
    one.set(processor).map_err(bench_error)?;
    sched_setaffinity(Pid::from_raw(0), &one).map_err(bench_error)
}
