//! One pool used by several calls at a time: nested, from several threads, and beside tasks that never end.

use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use ndarray::Ix1;
use numpush::shm::{
    Arena, LockError, Pool, PoolError, PoolOptions, SharedArray, TaskError, TaskOptions, Tasks,
};
use numpush_tests::eventually;

/// How long a test waits for what should come at once.
const PATIENCE: Duration = Duration::from_secs(20);

fn square(number: u64, _: ()) -> u64 {
    number * number
}

/// Waits until the first element of `gate` is at least `wanted`; returns false if it never is.
fn wait_at(gate: SharedArray<u64, Ix1>, wanted: u64) -> bool {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        if gate.read().unwrap()[0] >= wanted {
            return true;
        }
        std::thread::yield_now();
    }
    false
}

/// Comes to `gate` and waits until `wanted` tasks have come.
fn meet(gate: SharedArray<u64, Ix1>, wanted: u64) -> bool {
    gate.write().unwrap()[0] += 1;
    wait_at(gate, wanted)
}

fn count_up(len: usize) -> SharedArray<u64, Ix1> {
    let elements = ndarray::Array1::from_iter(0..len as u64);
    SharedArray::copy_of(&Arena::shared(), &elements).unwrap()
}

/// Starts this program again, as a task may: it inherits the environment of the worker.
fn run_this_program(_: u64) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.args(["--exact", "program", "--nocapture"]).output();
    String::from_utf8_lossy(&output.unwrap().stdout).into_owned()
}

#[test]
fn worker() {
    tasks().serve();
}

fn tasks() -> Tasks {
    Tasks::new()
        .with(square)
        .with(wait_at)
        .with(meet)
        .with(count_up)
        .with(run_this_program)
        .with(count_up_many)
        .with(count_and_sleep)
        .with(count_or_die)
        .with(hold_and_sleep)
        .with(processors)
}

/// What `run_this_program` runs.
#[test]
fn program() {
    tasks().serve();
    println!("runs as usual");
}

fn pool(workers: usize) -> Pool {
    let arguments = ["--exact", "worker", "--nocapture"];
    Pool::with_options(workers, PoolOptions::new().arguments(arguments)).unwrap()
}

fn gate() -> SharedArray<u64, Ix1> {
    SharedArray::zeros(&Arena::shared(), 1).unwrap()
}

fn open(gate: &SharedArray<u64, Ix1>) {
    gate.write().unwrap()[0] = u64::MAX;
}

/// Fails if `body` waits forever.
fn ends(body: impl FnOnce() + Send + 'static) {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        body();
        sender.send(()).unwrap();
    });
    receiver.recv_timeout(PATIENCE).unwrap();
}

#[test]
fn a_loop_over_results_uses_the_same_pool() {
    ends(|| {
        let pool = pool(1);
        for (number, result) in pool.map_unordered(square, 0..8, &()) {
            assert_eq!(result.unwrap(), (number * number) as u64);
            assert_eq!(pool.apply(square, (3, ())).unwrap(), 9);
            assert_eq!(pool.map(square, [1, 2], &()).unwrap(), [1, 4]);
        }
    });
}

#[test]
fn a_worker_that_falls_free_takes_work_of_any_call() {
    ends(|| {
        let pool = pool(2);
        let (held, meeting) = (gate(), gate());
        std::thread::scope(|scope| {
            let holder = scope.spawn(|| pool.apply(wait_at, (held.clone(), 1)).unwrap());
            eventually("a worker is busy", || pool.idle_workers().len() == 1);
            let both = [meeting.clone(), meeting.clone()];
            let meeters = scope.spawn(|| pool.map(meet, both, &2).unwrap());
            eventually("the first has come", || meeting.read().unwrap()[0] == 1);
            open(&held);
            assert!(holder.join().unwrap());
            assert_eq!(meeters.join().unwrap(), [true, true]);
        });
    });
}

#[test]
fn a_task_returns_a_shared_value() {
    let pool = pool(1);
    let made = pool.apply(count_up, (100,)).unwrap();
    assert_eq!(made.read().unwrap().sum(), 4950);
    let many = pool.map_each(count_up_many, 1..20, &()).into_iter();
    for (number, made) in many.enumerate() {
        assert_eq!(made.unwrap().read().unwrap().len(), number + 1);
    }
}

fn count_up_many(len: usize, _: ()) -> SharedArray<u64, Ix1> {
    count_up(len)
}

#[test]
fn a_program_that_a_worker_starts_is_no_worker() {
    let pool = pool(1);
    let said = pool.apply(run_this_program, (0,)).unwrap();
    assert!(said.contains("runs as usual"), "{said}");
}

/// Counts itself in the first element, and then runs for as long as it is left alone.
fn count_and_sleep(counter: SharedArray<u64, Ix1>) {
    counter.write().unwrap()[0] += 1;
    std::thread::sleep(Duration::from_secs(600));
}

/// Counts itself, and dies if it is the `victim`th.
fn count_or_die(number: u64, (counter, victim): (SharedArray<u64, Ix1>, u64)) -> u64 {
    counter.write().unwrap()[0] += 1;
    if number == victim {
        std::process::abort();
    }
    number
}

fn hold_and_sleep(array: SharedArray<u64, Ix1>, _: ()) {
    let mut held = array.write().unwrap();
    held[0] = 7;
    std::thread::sleep(Duration::from_secs(600));
}

/// The processors that this process may run on, as Linux lists them.
fn processors(_: u64) -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("Cpus_allowed_list:"));
    line.unwrap().split_whitespace().nth(1).unwrap().to_owned()
}

#[test]
fn threads_and_clones_share_a_pool() {
    let pool = pool(2);
    std::thread::scope(|scope| {
        for thread in 0..8_u64 {
            let pool = pool.clone();
            scope.spawn(move || {
                for round in 0..50 {
                    let items = thread * round..thread * round + 5;
                    let squares: Vec<u64> = items.clone().map(|item| item * item).collect();
                    assert_eq!(pool.map(square, items, &()).unwrap(), squares);
                    let submitted = pool.submit(square, (round, ()));
                    assert_eq!(pool.apply(square, (thread, ())).unwrap(), thread * thread);
                    assert_eq!(submitted.wait().unwrap(), round * round);
                }
            });
        }
    });
    assert_eq!(pool.idle_workers().len(), 2);
}

#[test]
fn a_map_takes_its_items_from_another() {
    let pool = pool(2);
    let squares = pool.map_unordered(square, 0..100, &());
    let fourths = pool.map_unordered(square, squares.map(|(_, square)| square.unwrap()), &());
    let sum: u64 = fourths.map(|(_, fourth)| fourth.unwrap()).sum();
    assert_eq!(sum, (0..100).map(|n: u64| n.pow(4)).sum());
}

#[test]
fn items_without_an_end_are_taken_as_they_are_needed() {
    let pool = pool(2);
    let results = pool.map_unordered(square, 0.., &());
    assert_eq!(results.take(1000).count(), 1000);
    assert_eq!(
        pool.apply(square, (7, ())).unwrap(),
        49,
        "the rest was cancelled"
    );
}

#[test]
fn submitted_tasks_run_while_their_caller_does_something_else() {
    let (pool, counter) = (pool(1), gate());
    let tasks: Vec<_> = (0..5)
        .map(|_| pool.submit(meet, (counter.clone(), 0)))
        .collect();
    eventually("all tasks have run", || counter.read().unwrap()[0] == 5);
    assert!(tasks.into_iter().all(|task| task.wait().unwrap()));
}

#[test]
fn a_result_is_waited_for_as_long_as_one_likes() {
    let (pool, held) = (pool(1), gate());
    let task = pool.submit(wait_at, (held.clone(), 1));
    let task = task.try_take().unwrap_err();
    let task = task.wait_for(Duration::from_millis(5)).unwrap_err();
    open(&held);
    assert!(task.wait_for(Duration::MAX).unwrap().unwrap());
    let mut task = pool.submit(square, (4, ()));
    let taken = loop {
        match task.try_take() {
            Ok(result) => break result,
            Err(again) => task = again,
        }
    };
    assert_eq!(taken.unwrap(), 16);
}

#[test]
fn a_task_that_has_not_begun_is_cancelled() {
    let (pool, held, counter) = (pool(1), gate(), gate());
    let first = pool.submit(wait_at, (held.clone(), 1));
    let second = pool.submit(meet, (counter.clone(), 0));
    let dropped = pool.submit(meet, (counter.clone(), 0));
    let (returned, _) = second.cancel().unwrap();
    assert_eq!(returned.handle().unwrap(), counter.handle().unwrap());
    drop(dropped);
    let first = first.cancel().unwrap_err();
    open(&held);
    assert!(first.wait().unwrap());
    assert_eq!(pool.apply(square, (1, ())).unwrap(), 1);
    assert_eq!(counter.read().unwrap()[0], 0);
}

#[test]
fn a_task_that_runs_goes_on_without_its_handle() {
    let (pool, held, counter) = (pool(2), gate(), gate());
    drop(pool.submit(wait_at, (held.clone(), 1)));
    eventually("it runs", || pool.idle_workers().len() == 1);
    let mut some = pool.map_unordered(meet, [counter.clone(), counter], &2);
    assert!(some.size_hint().1.is_none());
    open(&held);
    assert!(some.next().unwrap().1.unwrap());
}

#[test]
fn a_task_that_takes_too_long_ends_with_its_worker() {
    let (pool, counter) = (pool(2), gate());
    let before = pool.worker_pids();
    let hasty = pool.with_task_options(TaskOptions::new().timeout(Duration::from_millis(50)));
    let array = gate();
    let error = hasty
        .apply(hold_and_sleep, (array.clone(), ()))
        .unwrap_err();
    let TaskError::TimedOut {
        pid, held, limit, ..
    } = &error
    else {
        panic!("{error}")
    };
    assert!(before.contains(pid) && !pool.worker_pids().contains(pid));
    assert_eq!(
        (*limit, held.len()),
        (Duration::from_millis(50), 1),
        "{error}"
    );
    assert!(matches!(array.read(), Err(LockError::Poisoned(_))));
    // Without anybody who waits, too; and the others have their time from their own beginning.
    let submitted: Vec<_> = (0..3)
        .map(|_| hasty.submit(count_and_sleep, (counter.clone(),)))
        .collect();
    eventually("three workers were killed", || {
        counter.read().is_ok_and(|counter| counter[0] == 3)
    });
    for task in submitted {
        assert!(matches!(task.wait(), Err(TaskError::TimedOut { .. })));
    }
    assert_eq!(hasty.map(square, 0..100, &()).unwrap().len(), 100);
}

#[test]
fn a_death_costs_one_task_of_a_chunk() {
    let (pool, counter) = (pool(2), gate());
    let chunks = pool.with_task_options(TaskOptions::new().chunk(16));
    let results = chunks.map_each(count_or_die, 0..64, &(counter.clone(), 20));
    for (number, result) in results.into_iter().enumerate() {
        match result {
            Ok(done) => assert_eq!(done, number as u64),
            Err(error) => {
                assert!(matches!(error, TaskError::Died { .. }), "{error}");
                assert_eq!(number, 20);
            }
        }
    }
    assert_eq!(counter.read().unwrap()[0], 64, "each ran once");
}

#[test]
fn a_death_takes_nothing_from_others() {
    let (pool, held, counter) = (pool(2), gate(), gate());
    let waits = pool.submit(wait_at, (held.clone(), 1));
    eventually("it runs", || pool.idle_workers().len() == 1);
    let results = pool.map_each(count_or_die, 0..10, &(counter, 3));
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 9);
    open(&held);
    assert!(waits.wait().unwrap());
}

#[test]
fn a_result_outlives_the_worker_that_made_it() {
    let pool = pool(1);
    let task = pool.submit(count_up, (1000,));
    // It comes after the task, whose result is in the pool then.
    assert_eq!(pool.apply(square, (1, ())).unwrap(), 1);
    let worker = pool.worker_pids()[0];
    assert!(pool.kill(worker));
    assert_eq!(pool.apply(square, (2, ())).unwrap(), 4);
    assert_eq!(task.wait().unwrap().read().unwrap().sum(), 499_500);
}

#[test]
fn a_pool_that_is_dropped_runs_what_was_submitted() {
    let (mine, held) = (pool(1), gate());
    let task = mine.submit(wait_at, (held.clone(), 1));
    let last = mine.submit(square, (5, ()));
    drop(mine);
    open(&held);
    assert!(task.wait().unwrap());
    assert_eq!(last.wait().unwrap(), 25);
}

#[test]
fn workers_run_on_their_processors() {
    let all = numpush_os::processors().unwrap();
    let sets: Vec<[usize; 1]> = all.iter().map(|&number| [number]).collect();
    let arguments = ["--exact", "worker", "--nocapture"];
    let options = PoolOptions::new().arguments(arguments).processors(sets);
    let pool = Pool::with_options(1, options.clone()).unwrap();
    assert_eq!(pool.apply(processors, (0,)).unwrap(), all[0].to_string());
    pool.kill(pool.worker_pids()[0]);
    eventually("the worker was replaced", || {
        pool.apply(processors, (0,))
            .is_ok_and(|list| list == all[0].to_string())
    });
    let nowhere = options.processors([[1023]]);
    let error = Pool::with_options(1, nowhere).unwrap_err();
    assert!(
        matches!(error, PoolError::Bind { number: 0, .. }),
        "{error}"
    );
}
