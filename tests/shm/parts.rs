//! Values that are divided among processes: this program again, as a worker of a pool in the test `worker`, or as a
//! process that divides what another one owns, in the test `divider`.

use std::io::Read;

use ndarray::{Array2, Axis, Ix1, Ix2, s};
use numpush::shm::{
    Arena, DoubleBufferedArray, Error, Handle, LockError, LockOptions, Part, Pool, PoolOptions,
    SharedArray, TaskError, Tasks,
};
use numpush_tests::{PATIENCE, Peer, again, eventually, say};

const HANDLE: &str = "NUMPUSH_TEST_HANDLE";

type Plane = SharedArray<f64, Ix2>;
type Grid = DoubleBufferedArray<f64, Ix2>;

fn number(mut part: Part<Plane>, _: ()) -> Result<(), Error> {
    let number = part.number();
    part.write()?.fill(number as f64);
    Ok(())
}

/// As many steps of heat that spreads. The border of the grid stays as it is.
fn spread(mut part: Part<Grid>, steps: usize) -> Result<u64, Error> {
    let (own, seen) = (part.block(), part.halo(1));
    let mut step = part.step_with(LockOptions::new().timeout(PATIENCE))?;
    for _ in 0..steps {
        let (last, mut next) = step.halo(1);
        for ((row, column), to) in next.indexed_iter_mut() {
            let row = row + own[0].start - seen[0].start;
            let column = column + own[1].start - seen[1].start;
            let around = |row: usize, column: usize| last.get((row, column)).copied();
            let neighbours = [
                around(row.wrapping_sub(1), column),
                around(row + 1, column),
                around(row, column.wrapping_sub(1)),
                around(row, column + 1),
            ];
            let sum: Option<f64> = neighbours.into_iter().sum();
            *to = sum.map_or(last[[row, column]], |sum| sum / 4.0);
        }
        step.next_step()?;
    }
    Ok(step.commits())
}

/// One step of it, and no wait for the others.
fn spread_once(mut part: Part<Grid>, add: f64) -> Result<(), Error> {
    let block = part.block();
    let mut step = part.step()?;
    let (last, mut next) = step.views();
    let own = last.slice(s![block[0].clone(), block[1].clone()]);
    next.assign(&(&own + add));
    Ok(step.finish()?)
}

/// Works on its part, and dies in the step `victim` names by the number of the part.
fn die_in_step(mut part: Part<Grid>, victim: usize) -> Result<u64, Error> {
    let number = part.number();
    let mut step = part.step()?;
    for _ in 0..3 {
        let (_, mut next) = step.views();
        next.fill(number as f64);
        if number == victim && step.commits() == 2 {
            std::process::abort();
        }
        step.next_step()?;
    }
    Ok(step.commits())
}

/// Dies before it has taken its part.
fn die_early(mut part: Part<Grid>, victim: usize) -> Result<u64, Error> {
    if part.number() == victim {
        std::process::abort();
    }
    let mut step = part.step()?;
    step.views().1.fill(1.0);
    Ok(step.next_step()?)
}

fn give_up(mut part: Part<Grid>, victim: usize) -> Result<u64, Error> {
    let number = part.number();
    let mut step = part.step()?;
    step.views().1.fill(1.0);
    assert_ne!(number, victim, "it gives up");
    Ok(step.next_step()?)
}

#[test]
fn worker() {
    let tasks = Tasks::new().with(number).with(spread).with(spread_once);
    tasks
        .with(die_in_step)
        .with(die_early)
        .with(give_up)
        .serve();
}

fn pool(workers: usize) -> Pool {
    let arguments = ["--exact", "worker", "--nocapture"];
    Pool::with_options(workers, PoolOptions::new().arguments(arguments)).unwrap()
}

/// Divides the value of another process in halves, says the parts, and waits for a word or for its end.
#[test]
fn divider() {
    let Ok(handle) = std::env::var(HANDLE) else {
        return;
    };
    let handle: Handle = handle.parse().unwrap();
    let plane = Plane::open(&handle).unwrap();
    let halves = plane.partition(Axis(0), 2).unwrap();
    for part in &halves {
        say("part", serde_json::to_string(&part).unwrap());
    }
    let _ = std::io::stdin().read(&mut [0]);
    drop(halves);
    say("done", "");
}

/// The value, and the process that has divided it, with its two parts.
fn divided() -> (Plane, Peer, [String; 2]) {
    let plane = Plane::zeros(&Arena::new(1 << 24), (8, 2)).unwrap();
    let handle = plane.handle().unwrap().to_string();
    let mut peer = Peer::start(again("divider").env(HANDLE, handle));
    let parts = [(); 2].map(|()| peer.hears("part"));
    (plane, peer, parts)
}

fn open(part: &str) -> Result<Part<Plane>, serde_json::Error> {
    serde_json::from_str(part)
}

#[test]
fn a_process_divides_what_another_one_owns() {
    let (plane, mut peer, parts) = divided();
    let soon = LockOptions::new().timeout(std::time::Duration::from_millis(1));
    assert!(matches!(
        plane.read_with(soon),
        Err(LockError::Timeout { .. })
    ));
    let [mut first, mut second] = parts.map(|part| open(&part).unwrap());
    first.write().unwrap().fill(1.0);
    // The owner's thread is a worker like others, and has one half at a time, or both.
    let (one, two) = (first.write().unwrap(), second.write().unwrap());
    assert_eq!((one.sum(), two.sum()), (8.0, 0.0));
    drop((one, two));
    peer.nod();
    peer.hears("done");
    assert_eq!(plane.read().unwrap().sum(), 8.0);
    assert!(matches!(first.write(), Err(LockError::Retired)));
    peer.ends_well();
}

#[test]
fn the_parts_of_a_dead_divider_are_refused_and_the_whole_is_poisoned() {
    let (plane, mut peer, parts) = divided();
    let [mut first, mut second] = parts.map(|part| open(&part).unwrap());
    let mut held = first.write().unwrap();
    peer.kill();
    // Whoever is inside may finish, but nobody comes any more, and nobody waits for the dead.
    assert!(matches!(
        std::thread::scope(|scope| scope.spawn(|| second.write().map(drop)).join().unwrap()),
        Err(LockError::Retired)
    ));
    held.fill(1.0);
    drop(held);
    assert!(matches!(first.write(), Err(LockError::Retired)));
    assert!(matches!(plane.read(), Err(LockError::Poisoned(_))));
    let mut repair = plane.write_poisoned().unwrap();
    assert_eq!(repair.sum(), 8.0);
    repair.clear_poison();
    drop(repair);
    assert!(plane.partition(Axis(0), 2).is_ok());
}

#[test]
fn a_part_of_a_dead_divider_cannot_be_opened() {
    let (plane, mut peer, [part, _]) = divided();
    peer.kill();
    let error = match open(&part) {
        Err(error) => error.to_string(),
        // Another test of this process maps the divider's locks.
        Ok(mut part) => part.write().map(drop).unwrap_err().to_string(),
    };
    assert!(
        error.contains("its owner has ended") || error.contains("is gone"),
        "{error}"
    );
    assert!(matches!(plane.read(), Err(LockError::Poisoned(_))));
}

#[test]
fn blocks_are_written_by_workers_at_the_same_time() {
    let plane = Plane::zeros(&Arena::new(1 << 24), (5, 7)).unwrap();
    let blocks = plane.partition_blocks([2, 3]).unwrap();
    assert_eq!(blocks.len(), 6);
    let results = pool(2).map(number, &blocks, &()).unwrap();
    assert!(results.iter().all(Result::is_ok));
    let expected: Vec<_> = blocks.iter().map(|part| part.block()).collect();
    drop(blocks);
    let written = plane.read().unwrap();
    for (number, block) in expected.into_iter().enumerate() {
        let [rows, columns] = <[_; 2]>::try_from(block).unwrap();
        let block = written.slice(s![rows, columns]);
        assert!(block.iter().all(|&value| value == number as f64));
    }
}

fn grid(rows: usize, columns: usize) -> Grid {
    let mut plane = Array2::zeros((rows, columns));
    plane.row_mut(0).fill(100.0);
    Grid::copy_of(&Arena::new(1 << 24), &plane).unwrap()
}

#[test]
fn workers_write_a_thousand_commits_together() {
    let pool = pool(4);
    let mut all = Vec::new();
    for blocks in [[1, 1], [4, 1], [2, 2]] {
        let grid = grid(13, 9);
        let partition = grid.partition_blocks(blocks).unwrap();
        let commits = pool.map(spread, &partition, &1000).unwrap();
        assert!(commits.iter().all(|commit| matches!(commit, Ok(1000))));
        assert_eq!(partition.finish(), Ok(1000));
        all.push(grid.read().unwrap().to_owned());
    }
    assert!(all[0][[1, 4]] > 0.0 && all[0][[11, 4]] > 0.0);
    assert!(all.iter().all(|one| *one == all[0]), "bit for bit");
}

#[test]
fn fewer_workers_than_parts_finish_a_step_in_turn() {
    let pool = pool(2);
    let grid = grid(8, 8);
    let partition = grid.partition(Axis(1), 8).unwrap();
    for step in 1..=5 {
        let results = pool.map(spread_once, &partition, &1.0).unwrap();
        assert!(
            results.iter().all(Result::is_ok),
            "step {step}: {results:?}"
        );
    }
    assert_eq!(partition.finish(), Ok(5));
    assert_eq!(grid.read().unwrap()[[0, 0]], 105.0);
    assert_eq!(grid.read().unwrap()[[7, 7]], 5.0);
}

#[test]
fn a_worker_that_dies_in_a_step_ends_the_division_and_the_last_commit_stays() {
    let pool = pool(4);
    let grid = grid(8, 8);
    let partition = grid.partition_blocks([2, 2]).unwrap();
    let results = pool.map_each(die_in_step, &partition, &2);
    for (number, result) in results.into_iter().enumerate() {
        match (number, result) {
            (2, result) => assert!(matches!(result, Err(TaskError::Died { .. })), "{result:?}"),
            (_, Ok(Err(Error::Lock(LockError::Unfinished { .. })))) => {}
            (_, result) => panic!("part {number}: {result:?}"),
        }
    }
    let unfinished = LockError::Unfinished { part: Some(2) };
    assert_eq!(partition.finish(), Err(unfinished));
    assert_eq!(grid.commits().unwrap(), 2);
    let last = grid.read().unwrap().to_owned();
    assert_eq!([last[[0, 0]], last[[0, 7]], last[[7, 0]]], [0.0, 1.0, 2.0]);
    // And another division goes on.
    let partition = grid.partition(Axis(0), 2).unwrap();
    assert!(
        pool.map(spread, &partition, &3)
            .unwrap()
            .iter()
            .all(Result::is_ok)
    );
    assert_eq!(partition.finish(), Ok(5));
}

#[test]
fn nobody_waits_for_a_worker_that_dies_before_it_has_its_part() {
    let pool = pool(2);
    let grid = grid(4, 4);
    let partition = grid.partition(Axis(0), 2).unwrap();
    let results = pool.map_each(die_early, &partition, &0);
    assert!(matches!(results[0], Err(TaskError::Died { .. })));
    let unfinished = LockError::Unfinished { part: Some(0) };
    match &results[1] {
        Ok(Err(Error::Lock(error))) => assert_eq!(*error, unfinished),
        result => panic!("{result:?}"),
    }
    assert_eq!(partition.finish(), Err(unfinished));
}

#[test]
fn nobody_waits_for_a_worker_that_panics_in_a_step() {
    let pool = pool(2);
    let grid = grid(4, 4);
    let partition = grid.partition(Axis(0), 2).unwrap();
    let results = pool.map_each(give_up, &partition, &1);
    assert!(matches!(results[1], Err(TaskError::Panicked { .. })));
    let unfinished = LockError::Unfinished { part: Some(1) };
    match &results[0] {
        Ok(Err(Error::Lock(error))) => assert_eq!(*error, unfinished),
        result => panic!("{result:?}"),
    }
    assert_eq!(partition.finish(), Err(unfinished));
    assert_eq!(grid.commits().unwrap(), 0);
}

#[test]
fn readers_go_on_beside_the_steps_and_committers_wait() {
    let grid = grid(4, 4);
    let partition = grid.partition(Axis(0), 2).unwrap();
    std::thread::scope(|scope| {
        for part in &partition {
            scope.spawn(move || spread(part, 200).unwrap());
        }
        let committer = scope.spawn(|| grid.commit(|next| next.fill(7.0)));
        scope.spawn(|| {
            let mut commits = 0;
            while commits < 200 {
                let read = grid.read().unwrap();
                let value = read[[0, 0]];
                // Asked for after the value: the committer may come in between.
                commits = grid.commits().unwrap();
                assert!(value == 100.0 || commits > 200, "{value} {commits}");
            }
        });
        eventually("all steps are done", || {
            let done = scope.spawn(|| grid.commits()).join().unwrap();
            done.unwrap() == 200
        });
        assert!(!committer.is_finished());
        assert_eq!(partition.finish(), Ok(200));
        assert_eq!(committer.join().unwrap(), Ok(201));
    });
}

#[test]
fn a_part_goes_to_a_thread_and_back() {
    let line = SharedArray::<u64, Ix1>::zeros(&Arena::new(1 << 20), 100).unwrap();
    let partition = line.partition(Axis(0), 10).unwrap();
    let parts: Vec<Part<SharedArray<u64, Ix1>>> = partition.iter().collect();
    std::thread::scope(|scope| {
        for chunk in parts.chunks(3) {
            scope.spawn(move || {
                let mut own = Vec::from(chunk);
                // A thread that works on a part may begin another one meanwhile, as a pool of threads does.
                let held: Result<Vec<_>, LockError> =
                    own.iter_mut().map(|part| part.write()).collect();
                held.unwrap().iter_mut().for_each(|part| part.fill(2));
                let again = own[0].clone().write().map(drop);
                assert_eq!(again, Ok(()));
            });
        }
    });
    drop(partition);
    assert_eq!(line.read().unwrap().sum(), 200);
    let mut stale = parts[0].clone();
    assert!(matches!(stale.write(), Err(LockError::Retired)));
    // Nor is it a part of the next division.
    let _next = line.partition(Axis(0), 10).unwrap();
    assert!(matches!(stale.write(), Err(LockError::Retired)));
}

#[test]
fn a_guard_of_the_dividing_thread_outlives_its_partition() {
    let line = SharedArray::<u64, Ix1>::zeros(&Arena::new(1 << 20), 8).unwrap();
    let partition = line.partition(Axis(0), 2).unwrap();
    let [mut first, mut second] = [0, 1].map(|number| partition.part(number).unwrap());
    let (mut one, two) = (first.write().unwrap(), second.write().unwrap());
    drop((partition, two));
    one.fill(3);
    assert!(matches!(line.read(), Err(LockError::WouldDeadlock)));
    drop(one);
    assert_eq!(line.read().unwrap().sum(), 12);
    assert!(matches!(second.write(), Err(LockError::Retired)));
}

#[test]
fn a_forged_block_is_refused() {
    let plane = Plane::zeros(&Arena::new(1 << 20), (8, 8)).unwrap();
    let partition = plane.partition_blocks([2, 2]).unwrap();
    let honest = serde_json::to_value(partition.part(1).unwrap()).unwrap();
    let forged = |name: &str, to: serde_json::Value| {
        let mut json = honest.clone();
        json[name] = to;
        let part = serde_json::from_value::<Part<Plane>>(json);
        std::thread::scope(|scope| {
            let write = || Some(part.ok()?.write().map(drop));
            scope.spawn(write).join().unwrap()
        })
    };
    let other = Some(Err(LockError::OtherPart));
    assert_eq!(forged("number", 2.into()), other);
    assert_eq!(forged("blocks", serde_json::json!([[0, 4]])), other);
    assert_eq!(forged("blocks", serde_json::json!([[0, 2], [1, 3]])), other);
    assert_eq!(forged("epoch", 1.into()), Some(Err(LockError::Retired)));
    // These are no parts of such an array at all.
    assert_eq!(forged("number", 4.into()), None);
    assert_eq!(forged("grain", 0.into()), None);
    assert_eq!(forged("blocks", serde_json::json!([[2, 4]])), None);
    assert_eq!(forged("blocks", serde_json::json!([[0, 2], [0, 2]])), None);
    assert_eq!(forged("number", 1.into()), Some(Ok(())));
}
