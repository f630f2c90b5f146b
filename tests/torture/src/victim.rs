//! The side of the victim: reads and writes until it is killed.

use std::io::Write;
use std::os::unix::process::parent_id;
use std::process::ExitCode;
use std::sync::{Mutex, OnceLock, PoisonError, mpsc};
use std::time::Duration;

use ndarray::{ArrayRef, Ix1};
use numpush::shm::{DoubleBufferedArray, Error, Handle, LockError, LockOptions, SharedArray};

use crate::forks::is_child;
use crate::random::{Random, seed};

/// Holds the handle of the array and how it is written.
pub(crate) const VARIABLE: &str = "NUMPUSH_TORTURE_VICTIM";
/// Not empty if the victim is to do what the torture has to find.
pub(crate) const PLANT: &str = "NUMPUSH_TORTURE_PLANT";
/// Ends that are findings.
pub(crate) const TORN: u8 = 99;
pub(crate) const STUCK: u8 = 98;
pub(crate) const LOST: u8 = 97;
/// A victim that dies is found within a millisecond, a slow one within a slice of the scheduler: this is forever.
const PATIENCE: Duration = Duration::from_secs(30);
/// A wait that often ends while its holder is stopped.
const HURRY: Duration = Duration::from_micros(300);
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
        all.write();
    }

    fn write(&self) {
        let words = [
            self.reads,
            self.writes,
            self.poisoned,
            self.dirty,
            self.commits,
        ];
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

    /// A report of a process whose exit code nobody sees.
    fn of_finding(code: u8) -> Self {
        Self {
            reads: u64::MAX,
            writes: code.into(),
            ..Self::none()
        }
    }

    /// What a process found that has said so in a report.
    pub(crate) fn finding(&self) -> Option<u8> {
        (self.reads == u64::MAX).then(|| u8::try_from(self.writes).unwrap_or(0))
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
    #[expect(
        clippy::print_stderr,
        reason = "who holds the lock is what one wants to know"
    )]
    fn from(error: Error) -> Self {
        match error {
            Error::Lock(LockError::Timeout { .. }) => {
                eprintln!("victim {}: {error}", std::process::id());
                Self::Finding(STUCK)
            }
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
    if let Some(handle) = role.strip_prefix("forks ") {
        // The child has what its parent has open, and the threads of neither the library nor the parent.
        let Ok(array) = handle.parse().and_then(|handle| Array::open(&handle)) else {
            return ExitCode::FAILURE;
        };
        // Taken before: the parent may be dead when the child looks.
        let parent = std::process::id();
        if is_child().is_ok_and(|is_child| is_child) {
            return child(&array, parent);
        }
    }
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

/// The child of a victim, which ends after its parent. Its findings are reports: nobody waits for it.
fn child(array: &Array, parent: u32) -> ExitCode {
    let done = in_place(array, Role::Child { parent });
    match done {
        Err(End::Finding(code)) => Count::of_finding(code).write(),
        Err(End::Failed(_)) => Count::of_finding(1).write(),
        Ok(()) => {}
    }
    ExitCode::SUCCESS
}

/// Does what the role says, until it finds something.
fn work(role: &str) -> Result<(), End> {
    match role.split_once(' ') {
        Some(("commit", handle)) => commit(&handle.parse()?),
        Some((role, handle)) => {
            let array = Array::open(&handle.parse()?)?;
            let role = match role {
                "readers" => Role::Reader,
                "stops" => Role::Impatient,
                _ => Role::Writer,
            };
            in_place(&array, role)
        }
        None => Err(End::Finding(STUCK)),
    }
}

type Array = SharedArray<u64, Ix1>;

/// What a thread does with an array.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Reader,
    Writer,
    /// Writes, and gives up after a moment now and then: others are stopped.
    Impatient,
    /// Writes, and ends after this process.
    Child {
        parent: u32,
    },
}

fn in_place(array: &Array, role: Role) -> Result<(), End> {
    let mut random = Random::new(seed());
    let mut count = Count::none();
    let lies = lies();
    loop {
        if (count.reads + count.writes).is_multiple_of(REPORT) {
            match role {
                Role::Child { parent } if parent_id() != parent => return Ok(()),
                // Its numbers would be taken for those of its parent.
                Role::Child { .. } => {}
                _ if is_orphan() => return Ok(()),
                _ => count.say(),
            }
        }
        let in_a_hurry = role == Role::Impatient && random.below(8) == 0;
        let patience = if in_a_hurry { HURRY } else { PATIENCE };
        let options = LockOptions::new().timeout(patience);
        let outcome = if role != Role::Reader && random.below(4) == 0 {
            count.writes += 1;
            array.write_with(options).map(|mut held| {
                let next = held[0] + 1;
                let whole = if lies { held.len() / 2 } else { held.len() };
                held.iter_mut().take(whole).for_each(|value| *value = next);
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
            Err(LockError::Poisoned(_)) => repair(array, &mut count)?,
            Err(LockError::Timeout { .. }) if in_a_hurry => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// True if the killer has ended: so does its victim.
fn is_orphan() -> bool {
    static PARENT: OnceLock<u32> = OnceLock::new();
    *PARENT.get_or_init(parent_id) != parent_id()
}

/// True if this victim does what the torture has to find.
pub(crate) fn lies() -> bool {
    std::env::var_os(PLANT).is_some_and(|word| !word.is_empty())
}

/// Makes the array whole after a writer that died.
fn repair(array: &Array, count: &mut Count) -> Result<(), End> {
    count.poisoned += 1;
    let options = LockOptions::new().timeout(PATIENCE).accept_poison(true);
    let mut held = array.write_with(options)?;
    if held.poison().next().is_some() {
        count.dirty += u64::from(!is_whole(&held));
        let newest = held.iter().copied().max().unwrap_or(0);
        held.fill(newest);
        held.clear_poison();
    }
    Ok(())
}

fn commit(handle: &Handle) -> Result<(), End> {
    let array = DoubleBufferedArray::<u64, Ix1>::open(handle)?;
    let options = LockOptions::new().timeout(PATIENCE);
    let mut random = Random::new(seed());
    let mut count = Count::none();
    let lies = lies();
    loop {
        if (count.reads + count.writes).is_multiple_of(REPORT) {
            if is_orphan() {
                return Ok(());
            }
            count.say();
        }
        if random.below(4) == 0 {
            count.writes += 1;
            let mut whole = true;
            let number = array.replace_with(options, |last, next| {
                whole = is_whole(last);
                let len = if lies { next.len() / 2 } else { next.len() };
                next.iter_mut()
                    .take(len)
                    .for_each(|value| *value = last[0] + 1);
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
