//! The side of the killer.

use std::io::Read;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ndarray::Ix1;
use numpush::shm::{Arena, DoubleBufferedArray, Error, LockOptions, SharedArray};

use crate::Mode;
use crate::outcome::{Inventory, Outcome};
use crate::random::Random;
use crate::victim::{Count, LOST, STUCK, TORN, VARIABLE};

/// Longest life of a victim after it has begun to work.
const LIFE_MICROS: u64 = 3000;
const PATIENCE: Duration = Duration::from_secs(30);

struct Victim {
    child: Child,
    output: ChildStdout,
}

enum Shared {
    InPlace(SharedArray<u64, Ix1>),
    Commit(DoubleBufferedArray<u64, Ix1>),
}

/// Kills `kills` processes, of which `victims` live at a time.
pub(crate) fn torture(
    kills: u64,
    victims: usize,
    kib: usize,
    mut random: Random,
    mode: Mode,
) -> Result<Outcome, Error> {
    let arena = Arena::new((kib << 11) + (8 << 20));
    let elements = kib << 7;
    let shared = if mode == Mode::Commit {
        Shared::Commit(DoubleBufferedArray::zeros(&arena, elements)?)
    } else {
        Shared::InPlace(SharedArray::zeros(&arena, elements)?)
    };
    let role = match &shared {
        Shared::InPlace(array) if mode == Mode::Readers => format!("readers {}", array.handle()?),
        Shared::InPlace(array) => format!("in-place {}", array.handle()?),
        Shared::Commit(array) => format!("commit {}", array.handle()?),
    };
    let failed = |source| Error::Io {
        operation: "start a victim",
        source,
    };
    let inventory = Inventory::take();
    let mut outcome = Outcome::default();
    let writer = Writer::start(&shared, mode);
    let mut living = Vec::new();
    let mut newest = 0;
    while outcome.kills < kills && outcome.torn + outcome.lost + outcome.stuck == 0 {
        while living.len() < victims {
            living.push(Victim::start(&role).map_err(failed)?);
        }
        let chosen = usize::try_from(random.below(victims as u64)).unwrap_or(0);
        let mut victim = living.swap_remove(chosen);
        // Its first report says that it works.
        let mut first = [0; Count::LEN];
        let _ = victim.output.read_exact(&mut first);
        pause(random.below(LIFE_MICROS));
        newest = newest.max(victim.kill(&mut outcome));
    }
    for victim in living {
        let _ = victim.end(&mut outcome);
    }
    writer.end(&mut outcome);
    check(shared, newest, &mut outcome)?;
    inventory.settle(&arena, &mut outcome);
    Ok(outcome)
}

/// A thread of the parent that writes while readers are killed.
struct Writer {
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<u64, Error>>>,
}

impl Writer {
    fn start(shared: &Shared, mode: Mode) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let thread = match shared {
            Shared::InPlace(array) if mode == Mode::Readers => {
                let (array, done) = (array.clone(), Arc::clone(&done));
                Some(std::thread::spawn(move || {
                    let options = LockOptions::new().timeout(PATIENCE);
                    let mut writes = 0;
                    while !done.load(Ordering::Relaxed) {
                        *array.write_with(options)? += 1;
                        writes += 1;
                    }
                    Ok(writes)
                }))
            }
            _ => None,
        };
        Self { done, thread }
    }

    fn end(self, outcome: &mut Outcome) {
        self.done.store(true, Ordering::Relaxed);
        match self.thread.map(JoinHandle::join) {
            None => {}
            Some(Ok(Ok(writes))) => outcome.writes += writes,
            Some(Ok(Err(error))) => outcome.fault = Some(format!("the writer: {error}")),
            Some(Err(_)) => outcome.fault = Some("the writer panicked".into()),
        }
    }
}

/// The array is whole and free when all victims are dead.
fn check(shared: Shared, newest: u64, outcome: &mut Outcome) -> Result<(), Error> {
    match shared {
        Shared::InPlace(array) => {
            let mut held = array.write_poisoned()?;
            held.clear_poison();
            drop(held);
            let options = LockOptions::new().timeout(PATIENCE);
            if array.write_with(options).is_err() {
                outcome.stuck += 1;
            }
        }
        Shared::Commit(array) => {
            let held = array.read()?;
            outcome.torn += u64::from(held.iter().any(|&value| value != held[0]));
            outcome.lost += u64::from(held[0] < newest);
            drop(held);
            array
                .replace_with(LockOptions::new().timeout(PATIENCE), |last, next| {
                    next.assign(last)
                })
                .map(drop)
                .unwrap_or_else(|_| outcome.stuck += 1);
        }
    }
    Ok(())
}

impl Victim {
    fn start(role: &str) -> std::io::Result<Self> {
        let mut command = Command::new("/proc/self/exe");
        let mut child = command
            .env(VARIABLE, role)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().ok_or(std::io::ErrorKind::BrokenPipe)?;
        Ok(Self { child, output })
    }

    /// Kills it and returns the last commit it has seen.
    fn kill(self, outcome: &mut Outcome) -> u64 {
        outcome.kills += 1;
        self.end(outcome)
    }

    fn end(mut self, outcome: &mut Outcome) -> u64 {
        let _ = self.child.kill();
        let mut said = Vec::new();
        let _ = self.output.read_to_end(&mut said);
        let whole = said.len() / Count::LEN * Count::LEN;
        let last = Count::parse(&said[whole.saturating_sub(Count::LEN)..whole]);
        outcome.reads += last.reads;
        outcome.writes += last.writes;
        outcome.poisoned += last.poisoned;
        outcome.dirty += last.dirty;
        match self
            .child
            .wait()
            .ok()
            .and_then(|status| status.code())
            .and_then(|code| u8::try_from(code).ok())
        {
            Some(TORN) => outcome.torn += 1,
            Some(LOST) => outcome.lost += 1,
            Some(STUCK) => outcome.stuck += 1,
            Some(code) => outcome.fault = Some(format!("a victim ended with code {code}")),
            None => {}
        }
        last.commits
    }
}

/// Microseconds are shorter than a sleep: waits in a loop, as a busy neighbour would.
fn pause(micros: u64) {
    let until = Instant::now() + Duration::from_micros(micros);
    while Instant::now() < until {
        std::thread::yield_now();
    }
}
