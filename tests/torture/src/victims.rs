//! The side of the killer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use ndarray::Ix1;
use nix::sys::signal::Signal;
use numpush::shm::{Arena, DoubleBufferedArray, Error, LockOptions, SharedArray};

use crate::Mode;
use crate::herd::{Victim, doomed, pause};
use crate::outcome::{Inventory, Outcome};
use crate::random::Random;
use crate::victim::{Count, LOST, STUCK, TORN};

const PATIENCE: Duration = Duration::from_secs(30);

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
    plant: bool,
) -> Result<Outcome, Error> {
    let arena = Arena::new((kib << 11) + (8 << 20));
    let elements = kib << 7;
    let shared = if mode == Mode::Commit {
        Shared::Commit(DoubleBufferedArray::zeros(&arena, elements)?)
    } else {
        Shared::InPlace(SharedArray::zeros(&arena, elements)?)
    };
    let handle = match &shared {
        Shared::InPlace(array) => array.handle()?,
        Shared::Commit(array) => array.handle()?,
    };
    let word = match mode {
        Mode::Readers => "readers",
        Mode::Commit => "commit",
        Mode::Forks => "forks",
        Mode::Stops => "stops",
        _ => "in-place",
    };
    let role = format!("{word} {handle}");
    let failed = |source| Error::Io {
        operation: "start a victim",
        source,
    };
    let inventory = Inventory::take();
    let mut outcome = Outcome::default();
    let writer = Writer::start(&shared, mode, plant);
    let mut living = Vec::new();
    let mut newest = 0;
    while outcome.kills < kills && outcome.found_nothing() {
        while living.len() < victims {
            living.push(Victim::start(&role, plant).map_err(failed)?);
        }
        for victim in &mut living {
            victim.hear(Count::LEN);
        }
        let dying = doomed(&mut living, &mut random, kills - outcome.kills);
        if mode == Mode::Stops {
            stop(living.iter().chain(&dying), &mut random);
        }
        pause(&mut random);
        for victim in &dying {
            victim.signal(Signal::SIGKILL, random.below(2) == 0);
        }
        if mode == Mode::Stops {
            living
                .iter()
                .for_each(|victim| victim.signal(Signal::SIGCONT, true));
        }
        for victim in dying {
            outcome.kills += 1;
            newest = newest.max(judge(victim, &mut outcome));
        }
    }
    for victim in living {
        victim.signal(Signal::SIGKILL, true);
        newest = newest.max(judge(victim, &mut outcome));
    }
    writer.end(&mut outcome);
    check(shared, newest, &mut outcome)?;
    inventory.settle(&arena, &mut outcome);
    Ok(outcome)
}

/// Stops a third of the victims, half of them for a moment only.
fn stop<'a>(victims: impl Iterator<Item = &'a Victim>, random: &mut Random) {
    for victim in victims {
        if random.below(3) == 0 {
            victim.signal(Signal::SIGSTOP, true);
            if random.below(2) == 0 {
                pause(random);
                victim.signal(Signal::SIGCONT, true);
            }
        }
    }
}

/// Notes what a victim that was killed had done and found. Returns the last commit that it has seen.
fn judge(victim: Victim, outcome: &mut Outcome) -> u64 {
    let (said, status) = victim.end();
    let mut last = Count::parse(&[]);
    for record in said.chunks_exact(Count::LEN) {
        match Count::parse(record).finding() {
            Some(code) => note(code, outcome),
            None => last = Count::parse(record),
        }
    }
    outcome.reads += last.reads;
    outcome.writes += last.writes;
    outcome.poisoned += last.poisoned;
    outcome.dirty += last.dirty;
    let code = status.and_then(|status| status.code());
    if let Some(code) = code.and_then(|code| u8::try_from(code).ok()) {
        note(code, outcome);
    }
    last.commits
}

/// Notes what a process ended with by itself.
fn note(code: u8, outcome: &mut Outcome) {
    match code {
        TORN => outcome.torn += 1,
        LOST => outcome.lost += 1,
        STUCK => outcome.stuck += 1,
        code => outcome.fault = Some(format!("a victim ended with code {code}")),
    }
}

/// A thread of the parent that writes while readers are killed.
struct Writer {
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<u64, Error>>>,
}

impl Writer {
    fn start(shared: &Shared, mode: Mode, plant: bool) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let thread = match shared {
            Shared::InPlace(array) if mode == Mode::Readers => {
                let (array, done) = (array.clone(), Arc::clone(&done));
                Some(std::thread::spawn(move || {
                    let options = LockOptions::new().timeout(PATIENCE);
                    let mut writes = 0;
                    while !done.load(Ordering::Relaxed) {
                        let mut held = array.write_with(options)?;
                        let len = held.len();
                        let whole = if plant { len / 2 } else { len };
                        held.iter_mut().take(whole).for_each(|value| *value += 1);
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
