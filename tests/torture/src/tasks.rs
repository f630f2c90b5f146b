//! Workers of a pool that are killed in their parts.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use ndarray::{Axis, Ix1};
use numpush::shm::{
    Arena, Error, LockError, LockOptions, Part, Pool, SharedArray, TaskError, Tasks,
};

use crate::outcome::{Inventory, Outcome};
use crate::random::Random;

/// Sets every element of a part.
fn set(mut part: Part<SharedArray<u64, Ix1>>, target: u64) {
    // Nobody writes a part but its one task, so what was there does not matter.
    if let Ok(mut held) = part.write_poisoned() {
        held.fill(target);
    }
}

/// Catches the process if it is a worker.
pub(crate) fn serve() {
    Tasks::new().with(set).serve();
}

/// Runs rounds of tasks while another thread kills workers, until `kills` of them are dead.
pub(crate) fn torture(
    kills: u64,
    workers: usize,
    kib: usize,
    mut random: Random,
) -> Result<Outcome, Error> {
    let failed = |error: numpush::shm::PoolError| Error::Io {
        operation: "start a pool",
        source: std::io::Error::other(error),
    };
    let arena = Arena::new((kib << 10) + (8 << 20));
    let shared = SharedArray::<u64, Ix1>::zeros(&arena, kib << 7)?;
    // The thread that serves handles has a descriptor of its own.
    shared.handle()?;
    let inventory = Inventory::take();
    let pool = Pool::new(workers).map_err(failed)?;
    let mut outcome = Outcome::default();
    let (done, killed) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) && killed.load(Ordering::Relaxed) < kills {
                std::thread::sleep(Duration::from_micros(random.below(1500)));
                let workers = pool.worker_pids();
                let at = usize::try_from(random.below(workers.len() as u64)).unwrap_or(0);
                if workers.get(at).is_some_and(|&pid| pool.kill(pid)) {
                    killed.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        let result = rounds(
            &pool,
            &shared,
            workers,
            || killed.load(Ordering::Relaxed) < kills,
            &mut outcome,
        );
        done.store(true, Ordering::Relaxed);
        result
    })?;
    outcome.kills = killed.load(Ordering::Relaxed);
    drop(pool);
    drop(shared);
    inventory.settle(&arena, &mut outcome);
    Ok(outcome)
}

/// Each round sets every element to its number. Afterwards either all have it, or the array says that it is poisoned.
fn rounds(
    pool: &Pool,
    shared: &SharedArray<u64, Ix1>,
    workers: usize,
    go_on: impl Fn() -> bool,
    outcome: &mut Outcome,
) -> Result<(), Error> {
    let mut round = 0;
    while go_on() {
        round += 1;
        let results = pool.map_each(set, shared.partition(Axis(0), workers * 2)?, &round);
        outcome.writes += results.len() as u64;
        let died = results
            .iter()
            .filter(|result| matches!(result, Err(TaskError::Died { .. })))
            .count();
        if let Some(Err(error)) = results
            .iter()
            .find(|result| !matches!(result, Ok(()) | Err(TaskError::Died { .. })))
        {
            outcome.fault = Some(error.to_string());
            return Ok(());
        }
        outcome.reads += 1;
        match shared.read_with(LockOptions::new().timeout(Duration::from_secs(30))) {
            Ok(held) => {
                let missing = held.iter().any(|&value| value != round);
                // A worker killed before it began leaves a part as it was, and says so.
                outcome.torn += u64::from(missing && died == 0);
                if !missing {
                    continue;
                }
            }
            Err(LockError::Poisoned(_)) => {
                outcome.poisoned += 1;
            }
            Err(LockError::Timeout { .. }) => {
                outcome.stuck += 1;
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
        let mut held = shared.write_poisoned()?;
        outcome.dirty += u64::from(held.iter().any(|&value| value != round));
        held.fill(round);
        held.clear_poison();
    }
    Ok(())
}
