//! Pools of real processes: this program again, caught in the test `worker`.

use std::time::Duration;

use ndarray::{Axis, Ix1, Ix2};
use numpush::shm::{
    Arena, DoubleBufferedArray, Error, Handle, LockError, LockPurpose, Part, Pool, PoolError,
    PoolOptions, SharedArray, SharedMutex, TaskError, Tasks,
};
use numpush_tests::{Peer, eventually, say, under};

fn scale(mut part: Part<SharedArray<f64, Ix2>>, factor: f64) {
    *part.write().unwrap() *= factor;
}

fn square(number: u64, _: ()) -> u64 {
    number * number
}

fn add(left: u64, right: u64) -> u64 {
    left + right
}

fn pid(_: u64) -> u32 {
    std::process::id()
}

fn fail(text: String) {
    panic!("cannot do {text}");
}

fn die(array: SharedArray<f64, Ix2>, value: f64) {
    let mut held = array.write().unwrap();
    held[[0, 0]] = value;
    std::process::abort();
}

fn die_in_part(mut part: Part<SharedArray<f64, Ix2>>, victim: usize) {
    let first = part.range(Axis(0)).start;
    let mut held = part.write().unwrap();
    held.fill(1.0);
    if first == victim {
        std::process::abort();
    }
}

fn increment(array: SharedArray<f64, Ix2>, times: usize) {
    for _ in 0..times {
        *array.write().unwrap() += 1.0;
    }
}

fn commit(array: DoubleBufferedArray<u64, Ix1>, times: usize) {
    for _ in 0..times {
        array.commit(|next| *next += 1).unwrap();
    }
}

fn sleep(seconds: u64) {
    std::thread::sleep(Duration::from_secs(seconds));
}

fn unserved(_: u64) {}

fn die_with_mutex(mutex: SharedMutex) {
    let _held = mutex.lock().unwrap();
    std::process::abort();
}

fn sum(handle: Handle) -> Result<f64, Error> {
    Ok(SharedArray::<f64, Ix2>::open(&handle)?.read()?.sum())
}

#[test]
fn worker() {
    let tasks = Tasks::new()
        .with(scale)
        .with(square)
        .with(add)
        .with(pid)
        .with(fail)
        .with(die);
    tasks
        .with(die_in_part)
        .with(increment)
        .with(commit)
        .with(sleep)
        .with(swallow)
        .with(produce)
        .with(die_with_mutex)
        .with(sum)
        .serve();
}

fn pool(workers: usize) -> Pool {
    let arguments = ["--exact", "worker", "--nocapture"];
    Pool::with_options(workers, PoolOptions::new().arguments(arguments)).unwrap()
}

fn is_alive(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status
        .lines()
        .any(|line| line.starts_with("State:") && !line.contains('Z'))
}

#[test]
fn results_come_in_the_order_of_the_items() {
    let pool = pool(2);
    assert_eq!(
        pool.map(square, 0..100, &()).unwrap(),
        (0..100).map(|n| n * n).collect::<Vec<u64>>()
    );
    assert_eq!(pool.starmap(add, [(1, 2), (3, 4)]).unwrap(), [3, 7]);
    assert_eq!(pool.apply(add, (20, 22)).unwrap(), 42);
    assert_eq!(pool.map(square, [0; 0], &()).unwrap(), [0; 0]);
    let mut numbers: Vec<usize> = pool
        .map_unordered(square, 0..10, &())
        .map(|(number, _)| number)
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..10).collect::<Vec<_>>());
    assert_eq!(pool.idle_workers().len(), 2);
}

#[test]
fn parts_are_written_by_workers_at_the_same_time() {
    let pool = pool(2);
    let shared = SharedArray::copy_of(
        &Arena::new(1 << 24),
        &ndarray::Array2::<f64>::ones((100, 30)),
    )
    .unwrap();
    for (axis, parts) in [(0, 8), (1, 3)] {
        pool.map(scale, &shared.partition(Axis(axis), parts).unwrap(), &2.0)
            .unwrap();
    }
    assert!(shared.read().unwrap().iter().all(|&value| value == 4.0));
}

#[test]
fn writers_in_several_processes_lose_nothing() {
    let pool = pool(2);
    let arena = Arena::new(1 << 24);
    let shared = SharedArray::<f64, Ix2>::zeros(&arena, (16, 16)).unwrap();
    pool.map(
        increment,
        [shared.clone(), shared.clone(), shared.clone()],
        &200,
    )
    .unwrap_or_else(|error| panic!("{error}"));
    assert!(shared.read().unwrap().iter().all(|&value| value == 600.0));
    let committed = DoubleBufferedArray::<u64, Ix1>::zeros(&arena, 100).unwrap();
    pool.map(commit, [committed.clone(), committed.clone()], &300)
        .unwrap();
    assert_eq!(committed.commits().unwrap(), 600);
    assert!(committed.read().unwrap().iter().all(|&value| value == 600));
}

#[test]
fn a_panic_comes_back_with_message_and_place() {
    let pool = pool(1);
    let before = pool.idle_workers();
    let error = pool.apply(fail, ("sums".to_owned(),)).unwrap_err();
    let TaskError::Panicked {
        message, location, ..
    } = &error
    else {
        panic!("{error}")
    };
    assert_eq!(message, "cannot do sums");
    assert!(location.contains("tests/shm/pool.rs:"), "{location}");
    assert_eq!(pool.idle_workers(), before, "the worker goes on");
}

#[test]
fn a_worker_that_dies_is_replaced_and_its_lock_reported() {
    let pool = pool(2);
    let shared = SharedArray::<f64, Ix2>::zeros(&Arena::new(1 << 24), (4, 4)).unwrap();
    let error = pool.apply(die, (shared.clone(), 7.0)).unwrap_err();
    let TaskError::Died { held, how, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(how, "was killed by signal 6");
    assert_eq!(held.len(), 1, "{error}");
    assert_eq!(
        (held[0].handle.clone(), held[0].purpose.clone()),
        (
            shared.handle().unwrap().to_string(),
            LockPurpose::Write(0..128)
        )
    );
    assert!(matches!(shared.read(), Err(LockError::Poisoned(_))));
    let mut repair = shared.write_poisoned().unwrap();
    assert_eq!(
        repair[[0, 0]],
        7.0,
        "what the dead worker wrote is there to see"
    );
    repair.fill(0.0);
    repair.clear_poison();
    drop(repair);
    pool.map(increment, [shared.clone(), shared.clone()], &10)
        .unwrap();
    assert_eq!(shared.read().unwrap()[[3, 3]], 20.0);
    assert_eq!(pool.idle_workers().len(), 2);
}

#[test]
fn a_worker_that_dies_in_its_part_poisons_that_part() {
    let pool = pool(2);
    let shared = SharedArray::<f64, Ix2>::zeros(&Arena::new(1 << 24), (8, 2)).unwrap();
    let results = pool.map_each(die_in_part, &shared.partition(Axis(0), 4).unwrap(), &4);
    let died: Vec<bool> = results.iter().map(Result::is_err).collect();
    assert_eq!(died, [false, false, true, false], "the others go on");
    let Err(LockError::Poisoned(poison)) = shared.read() else {
        panic!("not poisoned")
    };
    assert_eq!(poison.dirty, 4 * 16..6 * 16);
}

#[test]
fn a_worker_that_dies_idle_takes_no_task_with_it() {
    let pool = pool(1);
    let before = pool.apply(pid, (0,)).unwrap();
    numpush_os::kill(before).unwrap();
    // Its first thread may be a zombie while another still has the socket open.
    let threads = || std::fs::read_dir(format!("/proc/{before}/task")).map_or(0, Iterator::count);
    while is_alive(before) || threads() > 1 {
        std::thread::yield_now();
    }
    assert_ne!(pool.apply(pid, (0,)).unwrap(), before);
}

#[test]
fn workers_end_with_their_pool_even_in_a_task() {
    let pool = pool(2);
    let workers = pool.idle_workers();
    let running = std::thread::scope(|scope| {
        let task = scope.spawn(|| pool.apply(sleep, (600,)));
        while pool.idle_workers().len() == 2 {
            std::thread::yield_now();
        }
        numpush_os::kill(
            *workers
                .iter()
                .find(|pid| !pool.idle_workers().contains(pid))
                .unwrap(),
        )
        .unwrap();
        task.join().unwrap()
    });
    assert!(matches!(running, Err(TaskError::Died { .. })));
    let now = pool.idle_workers();
    drop(pool);
    assert!(now.iter().chain(&workers).all(|&pid| !is_alive(pid)));
}

#[test]
fn what_cannot_be_run_is_an_error() {
    let pool = pool(1);
    let error = pool.apply(unserved, (1,)).unwrap_err();
    assert!(matches!(error, TaskError::Unknown { .. }), "{error}");
    let stale = SharedArray::<f64, Ix2>::zeros(&Arena::new(1 << 20), (2, 2)).unwrap();
    let handle = stale.handle().unwrap();
    drop(stale);
    let error = pool
        .apply(increment_by_handle, (handle, 1_usize))
        .unwrap_err();
    assert!(error.to_string().contains("not among the tasks"), "{error}");
    assert!(matches!(Pool::new(0), Err(PoolError::Empty)));
}

#[test]
fn what_is_too_long_is_an_error_and_the_worker_goes_on() {
    let pool = pool(1);
    let before = pool.worker_pids();
    let error = pool.apply(swallow, ("x".repeat(65 << 20),)).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("over the limit of 67108864 bytes"),
        "{error}"
    );
    let error = pool.apply(produce, (65 << 20,)).unwrap_err();
    assert!(
        error.to_string().contains("results are over the limit"),
        "{error}"
    );
    assert_eq!(pool.apply(produce, (3,)).unwrap(), "xxx");
    assert_eq!(pool.worker_pids(), before);
}

fn swallow(text: String) -> usize {
    text.len()
}

fn produce(len: usize) -> String {
    "x".repeat(len)
}

fn increment_by_handle(_: Handle, _: usize) {}

/// Owns a pool until it is killed; the test below runs it in a process of its own.
#[test]
fn owner() {
    if std::env::var("NUMPUSH_TEST_POOL_OWNER").is_ok() {
        let pool = pool(2);
        let workers: Vec<String> = pool.worker_pids().iter().map(u32::to_string).collect();
        say("workers", workers.join(" "));
        let _ = pool.apply(sleep, (600,));
    }
}

#[test]
fn workers_end_with_the_process_of_their_pool() {
    for signal in ["-INT", "-KILL"] {
        // Whoever runs the tests in the background may have them ignore Ctrl-C, and their children too.
        let mut command = under(&["env", "--default-signal=INT"], "owner");
        let mut owner = Peer::start(command.env("NUMPUSH_TEST_POOL_OWNER", "1"));
        let said = owner.hears("workers");
        let workers: Vec<u32> = said.split(' ').map(|pid| pid.parse().unwrap()).collect();
        assert!(workers.iter().all(|&pid| is_alive(pid)));
        owner.signal(signal);
        let ended = || !workers.iter().any(|&pid| is_alive(pid));
        eventually(&format!("workers end with a pool ended by {signal}"), ended);
    }
}

#[test]
fn idle_workers_use_no_processor() {
    let (idle, busy) = (pool(2), pool(1));
    idle.map(square, 0..10, &()).unwrap();
    // How often its threads have left a processor, proc_pid_status(5), or `None` while one of them runs.
    let switches = |pid: u32| -> Option<u64> {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        let of = |task: std::io::Result<std::fs::DirEntry>| {
            let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
            let field = |name| {
                let line = status.lines().find(|line| line.starts_with(name)).unwrap();
                line.split_whitespace().nth(1).unwrap().to_owned()
            };
            let count = |name| field(name).parse::<u64>().unwrap();
            let sum = count("voluntary_ctxt") + count("nonvoluntary_ctxt");
            (field("State:") == "S").then_some(sum)
        };
        tasks.map(of).sum()
    };
    let all = || -> Option<u64> { idle.worker_pids().into_iter().map(switches).sum() };
    // A worker looks for its next task for a moment before it sleeps.
    let mut asleep = None;
    eventually("the workers sleep", || {
        asleep = all();
        asleep.is_some()
    });
    // Time passes for the others: a thousand tasks of it.
    busy.map(square, 0..1000, &()).unwrap();
    assert_eq!(all(), asleep, "an idle worker woke up");
}

#[test]
fn a_program_that_does_not_serve_is_named_with_how_it_ended() {
    // A worker of the harness that finds no test of this name ends.
    let options = PoolOptions::new().arguments(["--exact", "no test of this name"]);
    let error = Pool::with_options(2, options).unwrap_err();
    let PoolError::WorkerNotReady { number, ended, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!((*number, ended.as_deref()), (0, Some("exited with code 0")));
    let text = error.to_string();
    assert!(
        text.starts_with("worker 0 exited with code 0 after "),
        "{text}"
    );
}

#[test]
fn a_mutex_that_a_dead_worker_held_is_called_a_mutex() {
    let pool = pool(1);
    let mutex = SharedMutex::new().unwrap();
    let error = pool.apply(die_with_mutex, (mutex.clone(),)).unwrap_err();
    let held = format!("; it held the mutex {}", mutex.handle().unwrap());
    assert!(error.to_string().ends_with(&held), "{error}");
    assert!(mutex.lock().unwrap().owner_died());
}

#[test]
fn a_task_returns_the_errors_of_shared_values() {
    let pool = pool(1);
    let shared = SharedArray::<f64, Ix2>::zeros(&Arena::new(1 << 20), (2, 2)).unwrap();
    let handle = shared.handle().unwrap();
    assert_eq!(pool.apply(sum, (handle.clone(),)).unwrap().unwrap(), 0.0);
    assert!(pool.apply(die, (shared.clone(), 7.0)).is_err());
    let error = pool.apply(sum, (handle.clone(),)).unwrap().unwrap_err();
    assert!(
        matches!(error, Error::Lock(LockError::Poisoned(_))),
        "{error}"
    );
    drop(shared);
    // The worker has just closed it, and keeps it until it hears that the owner let go.
    let gone = format!("stale handle {handle}: its value is gone");
    eventually("the worker hears that the value is gone", || {
        let error = pool.apply(sum, (handle.clone(),)).unwrap().unwrap_err();
        error.to_string() == gone
    });
}
