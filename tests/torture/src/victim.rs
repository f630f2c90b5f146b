//! The side of the victim: reads and writes until it is killed.

use std::io::Write;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError, mpsc};
use std::time::Duration;

use ndarray::{ArrayRef, Ix1};
use numpush::shm::{DoubleBufferedArray, Error, Handle, LockError, LockOptions, SharedArray};

use crate::random::{Random, seed};

/// Holds the handle of the array and how it is written.
pub(crate) const VARIABLE: &str = "NUMPUSH_TORTURE_VICTIM";
/// Ends that are findings.
pub(crate) const TORN: u8 = 99;
pub(crate) const STUCK: u8 = 98;
pub(crate) const LOST: u8 = 97;
/// A victim that dies is found within a millisecond, a slow one within a slice of the scheduler: this is forever.
const PATIENCE: Duration = Duration::from_secs(30);
/// Rounds between two reports.
const REPORT: u64 = 64;

/// What a victim has done, as it is written to its standard output.
pub(crate) struct Count {
    pub(crate) reads: u64,
    pub(crate) writes: u64,
    pub(crate) poisoned: u64,
    pub(crate) dirty: u64,
    pub(crate) commits: u64,
}

impl Count {
    pub(crate) const LEN: usize = 40;

    /// Adds it to what the other threads of this process have done, and writes the sum.
    fn say(&mut self) {
        static ALL: Mutex<Count> = Mutex::new(Count::none());
        let mut all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
        all.reads += self.reads;
        all.writes += self.writes;
        all.poisoned += self.poisoned;
        all.dirty += self.dirty;
        all.commits = all.commits.max(self.commits);
        *self = Self {
            commits: self.commits,
            ..Self::none()
        };
        let words = [all.reads, all.writes, all.poisoned, all.dirty, all.commits];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(&bytes).and_then(|()| out.flush());
    }

    const fn none() -> Self {
        Self {
            reads: 0,
            writes: 0,
            poisoned: 0,
            dirty: 0,
            commits: 0,
        }
    }

    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let mut words = bytes
            .chunks_exact(8)
            .map(|word| word.try_into().map_or(0, u64::from_le_bytes));
        let mut next = || words.next().unwrap_or(0);
        Self {
            reads: next(),
            writes: next(),
            poisoned: next(),
            dirty: next(),
            commits: next(),
        }
    }
}

/// Why a victim ends by itself.
enum End {
    Finding(u8),
    Failed(Error),
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        match error {
            Error::Lock(LockError::Timeout { .. }) => Self::Finding(STUCK),
            error => Self::Failed(error),
        }
    }
}

impl From<LockError> for End {
    fn from(error: LockError) -> Self {
        Error::from(error).into()
    }
}

/// Threads of a victim that read and write. All die with it, wherever they are.
const THREADS: usize = 2;

#[expect(clippy::print_stderr, reason = "a victim that cannot work says so")]
pub(crate) fn run(role: &str) -> ExitCode {
    let (sender, ends) = mpsc::channel();
    for _ in 0..THREADS {
        let (role, sender) = (role.to_owned(), sender.clone());
        std::thread::spawn(move || sender.send(work(&role)));
    }
    drop(sender);
    // The first end is that of the process.
    match ends.recv() {
        Ok(Err(End::Finding(code))) => ExitCode::from(code),
        Ok(Err(End::Failed(error))) => {
            eprintln!("victim: {error}");
            ExitCode::FAILURE
        }
        Ok(Ok(())) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Does what the role says, until it finds something.
fn work(role: &str) -> Result<(), End> {
    match role.split_once(' ') {
        Some(("commit", handle)) => commit(&handle.parse()?),
        Some((role, handle)) => in_place(&handle.parse()?, role != "readers"),
        None => in_place(&role.parse()?, false),
    }
}

fn in_place(handle: &Handle, writes: bool) -> Result<(), End> {
    let array = SharedArray::<u64, Ix1>::open(handle)?;
    let options = LockOptions::new().timeout(PATIENCE);
    let mut random = Random::new(seed());
    let mut count = Count::none();
    loop {
        if (count.reads + count.writes).is_multiple_of(REPORT) {
            count.say();
        }
        let outcome = if writes && random.below(4) == 0 {
            count.writes += 1;
            array.write_with(options).map(|mut held| {
                let next = held[0] + 1;
                held.fill(next);
            })
        } else {
            count.reads += 1;
            match array.read_with(options).map(|held| is_whole(&held)) {
                Ok(false) => return Err(End::Finding(TORN)),
                other => other.map(drop),
            }
        };
        match outcome {
            Ok(()) => {}
            Err(LockError::Poisoned(_)) => repair(&array, &mut count)?,
            Err(error) => return Err(error.into()),
        }
    }
}

/// Makes the array whole after a writer that died.
fn repair(array: &SharedArray<u64, Ix1>, count: &mut Count) -> Result<(), End> {
    count.poisoned += 1;
    let mut held = array.write_poisoned()?;
    if held.poison().next().is_some() {
        count.dirty += u64::from(!is_whole(&held));
        let newest = held.iter().copied().max().unwrap_or(0);
        held.fill(newest);
        held.clear_poison();
    }
    drop(held);
    count.say();
    Ok(())
}

fn commit(handle: &Handle) -> Result<(), End> {
    let array = DoubleBufferedArray::<u64, Ix1>::open(handle)?;
    let options = LockOptions::new().timeout(PATIENCE);
    let mut random = Random::new(seed());
    let mut count = Count::none();
    loop {
        if (count.reads + count.writes).is_multiple_of(REPORT) {
            count.say();
        }
        if random.below(4) == 0 {
            count.writes += 1;
            let mut whole = true;
            let number = array.replace_with(options, |last, next| {
                whole = is_whole(last);
                next.fill(last[0] + 1);
            })?;
            if !whole {
                return Err(End::Finding(TORN));
            }
            if number <= count.commits {
                return Err(End::Finding(LOST));
            }
            count.commits = number;
        } else {
            count.reads += 1;
            let held = array.read()?;
            if !is_whole(&held) {
                return Err(End::Finding(TORN));
            }
            // The value of the array is the number of its commit.
            if held[0] < count.commits {
                return Err(End::Finding(LOST));
            }
            count.commits = held[0];
        }
    }
}

fn is_whole(array: &ArrayRef<u64, Ix1>) -> bool {
    let first = array[0];
    array.iter().all(|&value| value == first)
}
