//! Workers of a pool that are killed in their parts.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use ndarray::{Axis, Ix1};
use numpush::shm::{
    Arena, Error, LockError, LockOptions, Part, Pool, SharedArray, TaskError, Tasks,
};

use crate::outcome::{Inventory, Outcome};
use crate::random::Random;

/// Sets every element of a part, each half in a thread of its own: a process is killed with several.
#[expect(
    clippy::expect_used,
    reason = "the panic of a task is a fault of the round"
)]
fn set(mut part: Part<SharedArray<u64, Ix1>>, target: u64) {
    // Nobody writes a part but its one task, so what was there does not matter.
    let mut held = part.write_poisoned().expect("the part is not locked");
    let all = held.as_slice_mut().expect("a part of one axis is a slice");
    let (left, right) = all.split_at_mut(all.len() / 2);
    std::thread::scope(|scope| {
        scope.spawn(|| left.fill(target));
        right.fill(target);
    });
}

/// Says that it has set a part, and leaves half of it: what the torture is to find.
#[expect(
    clippy::expect_used,
    reason = "the panic of a task is a fault of the round"
)]
fn set_half(mut part: Part<SharedArray<u64, Ix1>>, target: u64) {
    let mut held = part.write_poisoned().expect("the part is not locked");
    let len = held.len();
    held.iter_mut()
        .take(len / 2)
        .for_each(|value| *value = target);
}

/// How a worker sets a part.
#[derive(Clone, Copy)]
enum Setter {
    Honest,
    Lying,
}

/// Threads that run rounds on one pool, each on an array of its own.
const THREADS: usize = 3;

/// Catches the process if it is a worker.
pub(crate) fn serve() {
    Tasks::new().with(set).with(set_half).serve();
}

/// Runs rounds of tasks while another thread kills workers, until `kills` of them are dead.
pub(crate) fn torture(
    kills: u64,
    workers: usize,
    kib: usize,
    mut random: Random,
    plant: bool,
) -> Result<Outcome, Error> {
    let setter = if plant { Setter::Lying } else { Setter::Honest };
    let failed = |error: numpush::shm::PoolError| Error::Io {
        operation: "start a pool",
        source: std::io::Error::other(error),
    };
    let arena = Arena::new((kib << 10) * THREADS + (8 << 20));
    let arrays: Result<Vec<_>, Error> = (0..THREADS)
        .map(|_| SharedArray::<u64, Ix1>::zeros(&arena, kib << 7))
        .collect();
    let arrays = arrays?;
    // The thread that serves handles has descriptors of its own.
    for array in &arrays {
        array.handle()?;
    }
    let inventory = Inventory::take();
    let pool = Pool::new(workers).map_err(failed)?;
    let mut outcome = Outcome::default();
    let (done, killed) = (AtomicBool::new(false), AtomicU64::new(0));
    let go_on = || killed.load(Ordering::Relaxed) < kills && !done.load(Ordering::Relaxed);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while go_on() {
                std::thread::sleep(Duration::from_micros(random.below(1500)));
                // Those that run a task: one that starts has nothing to tear.
                let idle = pool.idle_workers();
                let mut workers = pool.worker_pids();
                workers.retain(|pid| !idle.contains(pid));
                let at = usize::try_from(random.below(workers.len() as u64)).unwrap_or(0);
                if workers.get(at).is_some_and(|&pid| pool.kill(pid)) {
                    killed.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        let (pool, go_on, done) = (&pool, &go_on, &done);
        let run = |shared| {
            move || {
                let mut found = Outcome::default();
                let result = rounds(pool, shared, workers, go_on, setter, &mut found);
                if result.is_err() || !found.is_good() {
                    done.store(true, Ordering::Relaxed);
                }
                result.map(|()| found)
            }
        };
        let threads: Vec<_> = arrays
            .iter()
            .map(|shared| scope.spawn(run(shared)))
            .collect();
        for thread in threads {
            match thread.join() {
                Ok(found) => outcome.add(found?),
                Err(_) => outcome.fault = Some("a thread of rounds panicked".into()),
            }
        }
        done.store(true, Ordering::Relaxed);
        Ok::<(), Error>(())
    })?;
    outcome.kills = killed.load(Ordering::Relaxed);
    drop(pool);
    drop(arrays);
    inventory.settle(&arena, &mut outcome);
    Ok(outcome)
}

/// Each round sets every element to its number. Every part is judged by the result of its own task.
fn rounds(
    pool: &Pool,
    shared: &SharedArray<u64, Ix1>,
    workers: usize,
    go_on: impl Fn() -> bool,
    setter: Setter,
    outcome: &mut Outcome,
) -> Result<(), Error> {
    let options = LockOptions::new().timeout(Duration::from_secs(30));
    let mut round = 0;
    while go_on() {
        round += 1;
        let parts = shared.partition(Axis(0), workers * 2)?;
        let ranges: Vec<Range<usize>> = parts.iter().map(|part| part.range(Axis(0))).collect();
        let results = match setter {
            Setter::Honest => pool.map_each(set, &parts, &round),
            Setter::Lying => pool.map_each(set_half, &parts, &round),
        };
        drop(parts);
        outcome.writes += results.len() as u64;
        let mut judged = Vec::with_capacity(results.len());
        for (range, result) in ranges.into_iter().zip(results) {
            match result {
                Ok(()) => judged.push((range, Task::Done)),
                Err(TaskError::Died { .. }) => judged.push((range, Task::Died)),
                Err(error) => {
                    outcome.fault = Some(error.to_string());
                    return Ok(());
                }
            }
        }
        outcome.reads += 1;
        let poisoned = match shared.read_with(options) {
            Ok(_) => false,
            Err(LockError::Poisoned(_)) => true,
            Err(LockError::Timeout { .. }) => {
                outcome.stuck += 1;
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        outcome.poisoned += u64::from(poisoned);
        let mut held = shared.write_poisoned()?;
        let elements = held.as_slice().unwrap_or(&[]);
        outcome.torn += torn(elements, &judged, round, poisoned);
        if outcome.torn > 0 {
            return Ok(());
        }
        let whole = elements.iter().all(|&value| value == round);
        outcome.dirty += u64::from(poisoned && !whole);
        if poisoned || !whole {
            held.fill(round);
            held.clear_poison();
        }
    }
    Ok(())
}

/// What became of the task of a part.
#[derive(Clone, Copy)]
enum Task {
    Done,
    Died,
}

/// Number of parts that are not as their task says: a task that was done has set all of its part; one that died has set
/// all of it or nothing, or the array is poisoned. Before the round every element was `round - 1`.
fn torn(elements: &[u64], parts: &[(Range<usize>, Task)], round: u64, poisoned: bool) -> u64 {
    let is_torn = |(range, task): &&(Range<usize>, Task)| {
        let all = |wanted| elements[range.clone()].iter().all(|&value| value == wanted);
        match task {
            Task::Done => !all(round),
            Task::Died => !poisoned && !all(round) && !all(round - 1),
        }
    };
    parts.iter().filter(is_torn).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_is_judged_by_its_own_task() {
        let parts = |first, second| [(0..2, first), (2..4, second)];
        let done = parts(Task::Done, Task::Done);
        let died = parts(Task::Done, Task::Died);
        assert_eq!(torn(&[7, 7, 7, 7], &done, 7, false), 0);
        // A death elsewhere excuses nothing.
        assert_eq!(torn(&[6, 7, 6, 6], &died, 7, false), 1);
        assert_eq!(torn(&[6, 7, 6, 6], &died, 7, true), 1);
        // A task that died leaves all old, all new, or poison.
        assert_eq!(torn(&[7, 7, 6, 6], &died, 7, false), 0);
        assert_eq!(torn(&[7, 7, 7, 7], &died, 7, false), 0);
        assert_eq!(torn(&[7, 7, 7, 6], &died, 7, false), 1);
        assert_eq!(torn(&[7, 7, 7, 6], &died, 7, true), 0);
    }
}
