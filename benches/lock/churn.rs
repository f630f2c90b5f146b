//! How long a writer waits among 64 threads that read in a loop, each for about a microsecond and with as much in between.
//!
//! With fewer processors than threads most of the wait is that of the scheduler, the same for every lock. A writer that has
//! waited two seconds gives up: a lock that prefers readers may never let it in.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use numpush_benches::quantile;
use numpush_shm_core::{LockOptions, OwnedLock};

use crate::pthread;

const READERS: usize = 64;
const TIME: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(2);

/// A lock for readers and writers. `write` returns false if the writer gave up.
struct Contender<R, W> {
    name: &'static str,
    read: R,
    write: W,
}

/// Prints a row for each lock.
pub(crate) fn report() {
    let title = format!("a writer among {READERS} readers");
    println!("\n{title:<34}  writes       median         most  gave up");
    let owned = OwnedLock::new().expect("memory for locks");
    let lock = owned.lock();
    let std = std::sync::RwLock::new(());
    let parked = parking_lot::RwLock::new(());
    let pthread = pthread::RwLock::new();
    Contender {
        name: "numpush",
        read: || {
            let _held = lock.read(LockOptions::new()).expect("nobody dies");
            work();
        },
        write: || lock.write(LockOptions::new().timeout(PATIENCE)).is_ok(),
    }
    .run();
    Contender {
        name: "std RwLock",
        read: || {
            let _held = std.read().expect("nobody panics");
            work();
        },
        write: || std.write().is_ok(),
    }
    .run();
    Contender {
        name: "parking_lot RwLock",
        read: || {
            let _held = parked.read();
            work();
        },
        write: || parked.try_write_for(PATIENCE).is_some(),
    }
    .run();
    Contender {
        name: "pthread rwlock between processes",
        read: || pthread.read(work),
        write: || pthread.write_within(PATIENCE),
    }
    .run();
}

impl<R: Fn() + Sync, W: Fn() -> bool + Sync> Contender<R, W> {
    fn run(&self) {
        let stop = AtomicBool::new(false);
        let (waits, gave_up) = thread::scope(|scope| {
            for _ in 0..READERS {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        (self.read)();
                        work();
                    }
                });
            }
            let measured = self.write_for(TIME);
            stop.store(true, Ordering::Relaxed);
            measured
        });
        let micros = |share| {
            let seconds = quantile(waits.iter().copied(), share);
            seconds.map_or_else(|| "-".into(), |seconds| format!("{:.0} us", seconds * 1e6))
        };
        let (name, writes) = (self.name, waits.len());
        let (median, most) = (micros(0.5), micros(1.0));
        println!("{name:<34} {writes:>7} {median:>12} {most:>12} {gave_up:>8}");
    }

    /// The seconds that each write has waited, and how many gave up.
    fn write_for(&self, time: Duration) -> (Vec<f64>, usize) {
        let (mut waits, mut gave_up) = (Vec::new(), 0);
        let began = Instant::now();
        while began.elapsed() < time {
            let asked = Instant::now();
            if (self.write)() {
                waits.push(asked.elapsed().as_secs_f64());
            } else {
                gave_up += 1;
            }
            thread::sleep(Duration::from_millis(1));
        }
        (waits, gave_up)
    }
}

/// About a microsecond.
fn work() {
    for turn in 0..1000 {
        black_box(turn);
    }
}
