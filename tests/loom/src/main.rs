//! The lock's own code under loom: a few threads, every order of their steps within a number of preemptions, and every
//! value that the memory model lets a load return. What the lock guards are relaxed atomics, so that a missing
//! ordering shows as an old value.
//!
//! The model in `shm/core` has a death at every step, and steps of sequential consistency; this has the real orderings,
//! and deaths only while the lock is held.

#[expect(
    dead_code,
    unreachable_pub,
    reason = "the lock's files, of which only a part is called here"
)]
#[expect(
    clippy::modulo_one,
    clippy::reversed_empty_ranges,
    reason = "their sizes are small here: one hold a thread, and no second look before a sleep"
)]
mod lock;

use std::mem::ManuallyDrop;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use loom::sync::atomic::Ordering;
use loom::thread;

use lock::atomic::AtomicU64;
use lock::division::Division;
use lock::error::LockError;
use lock::identity::become_process;
use lock::options::LockOptions;
use lock::robust::die;
use lock::rwlock::RobustRwLock;

/// A name, the most preemptions in one execution, and what the threads do. Each more takes ten times as long.
type Case = (&'static str, usize, fn());

const CASES: &[Case] = &[
    ("readers see whole writes", 3, readers_see_whole_writes),
    ("writers lose nothing", 4, writers_lose_nothing),
    ("a dead writer is reported", 4, a_dead_writer_is_reported),
    (
        "a dead reader lets a writer in",
        4,
        a_dead_reader_lets_a_writer_in,
    ),
    (
        "bits of readers come and go",
        4,
        bits_of_readers_come_and_go,
    ),
    ("parts exclude readers", 4, parts_exclude_readers),
    ("commits spare readers", 4, commits_spare_readers),
];

#[expect(clippy::print_stdout, reason = "the report is what it is run for")]
fn main() -> ExitCode {
    for (name, preemptions, case) in CASES {
        let began = Instant::now();
        let executions = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&executions);
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(*preemptions);
        builder.check(move || {
            count.fetch_add(1, Ordering::Relaxed);
            case();
        });
        let executions = executions.load(Ordering::Relaxed);
        println!(
            "{name}: {executions} executions in {:.1} s",
            began.elapsed().as_secs_f64()
        );
    }
    ExitCode::SUCCESS
}

/// Two words that are equal whenever nobody is between the writes to them.
#[derive(Debug, Default)]
struct Words([AtomicU64; 2]);

impl Words {
    fn new() -> &'static Self {
        Box::leak(Box::default())
    }

    fn add(&self) {
        for word in &self.0 {
            word.store(word.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
    }

    fn assert_whole(&self) {
        let [first, second] = [0, 1].map(|index| self.0[index].load(Ordering::Relaxed));
        assert_eq!(first, second, "a reader sees an unfinished write");
    }
}

fn halves() -> Division {
    Division::new([(0, 2)], 1).unwrap_or_else(|| unreachable!("two blocks of one axis"))
}

fn wait() -> LockOptions {
    LockOptions::default()
}

fn spawn(number: u32, body: impl FnOnce() + 'static) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        become_process(number);
        body();
    })
}

fn join(threads: impl IntoIterator<Item = thread::JoinHandle<()>>) {
    for thread in threads {
        assert!(thread.join().is_ok());
    }
}

fn write(lock: RobustRwLock, words: &Words) {
    let held = lock.write(wait());
    assert!(held.is_ok(), "{held:?}");
    words.add();
}

fn read(lock: RobustRwLock, words: &Words) {
    let held = lock.read(wait());
    assert!(held.is_ok(), "{held:?}");
    words.assert_whole();
}

fn readers_see_whole_writes() {
    let (lock, words) = (RobustRwLock::new(), Words::new());
    let writer = spawn(1, move || write(lock, words));
    let reader = spawn(2, move || read(lock, words));
    read(lock, words);
    join([writer, reader]);
}

fn writers_lose_nothing() {
    let (lock, words) = (RobustRwLock::new(), Words::new());
    let other = spawn(2, move || write(lock, words));
    write(lock, words);
    join([other]);
    assert_eq!(words.0[0].load(Ordering::Relaxed), 2);
    words.assert_whole();
}

fn a_dead_writer_is_reported() {
    let (lock, words) = (RobustRwLock::new(), Words::new());
    let writer = spawn(2, move || {
        // It never lets go, as a process that is killed does not.
        let _held = ManuallyDrop::new(lock.write(wait()));
        words.0[0].store(1, Ordering::Relaxed);
        die();
    });
    match lock.read(wait()) {
        Ok(_held) => words.assert_whole(),
        Err(error) => assert!(matches!(error, LockError::Poisoned(_)), "{error:?}"),
    }
    join([writer]);
    assert!(matches!(lock.read(wait()), Err(LockError::Poisoned(_))));
}

fn a_dead_reader_lets_a_writer_in() {
    let (lock, words) = (RobustRwLock::new(), Words::new());
    let reader = spawn(2, move || {
        let _held = ManuallyDrop::new(lock.read(wait()));
        words.assert_whole();
        die();
    });
    write(lock, words);
    join([reader]);
}

/// A reader whose bit is set from before comes while one writer clears the bit, and the next looks at it.
fn bits_of_readers_come_and_go() {
    let (lock, words) = (RobustRwLock::new(), Words::new());
    let reader = spawn(2, move || {
        read(lock, words);
        read(lock, words);
    });
    write(lock, words);
    write(lock, words);
    join([reader]);
}

fn parts_exclude_readers() {
    let (lock, words) = (RobustRwLock::new(), Words::new());
    let reader = spawn(3, move || read(lock, words));
    let Ok(mut held) = lock.write(wait()) else {
        unreachable!("nobody dies")
    };
    let epoch = held.hand_out_parts(halves());
    let worker = spawn(2, move || {
        // The parts may be taken back before it comes.
        if let Ok(_joined) = lock.join_parts(epoch, halves(), 0) {
            words.add();
        }
    });
    assert!(held.take_back_parts(None).is_ok());
    words.assert_whole();
    drop(held);
    join([worker, reader]);
}

/// The buffers of three commits, two of which share a place.
fn commits_spare_readers() {
    let lock = RobustRwLock::new();
    let buffers: &'static [Words; 2] = Box::leak(Box::default());
    let place = |commit: u64| usize::from(commit & 1 == 1);
    let reader = spawn(2, move || {
        let held = lock.read(wait());
        assert!(held.is_ok(), "{held:?}");
        if let Ok(held) = held {
            let buffer = &buffers[place(held.commits())];
            let before = buffer.0[0].load(Ordering::Relaxed);
            buffer.assert_whole();
            let after = buffer.0[0].load(Ordering::Relaxed);
            assert_eq!(before, after, "a commit is written while it is read");
        }
    });
    for _ in 0..2 {
        let held = lock.commit(wait());
        assert!(held.is_ok(), "{held:?}");
        if let Ok(held) = held {
            buffers[place(held.commits() + 1)].add();
            held.publish();
        }
    }
    join([reader]);
}
