//! A small program that shares memory: an owner, a client and a pool with a worker. It ends well or with an error that has a
//! name, whatever system call fails and whichever of the three dies at it.
//!
//! `tests/long/syscalls` runs it under strace(1), which lets calls fail; the test `killpoints` kills its processes between
//! two calls. `NUMPUSH_KILL="ROLE N"` kills the owner, client or worker before its call N.
//!
//! Exit codes: 0 all went well, 1 an error with a name, 3 a fault: torn or lost data, or something that is left.

use std::error::Error;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use ndarray::{Axis, Ix1};
use numpush::shm::{
    Arena, DoubleBufferedArray, Handle, LockError, LockOptions, NamedMemory, Part, Pool,
    PoolOptions, SharedArray, TaskOptions, Tasks,
};

type Array = SharedArray<u64, Ix1>;
type Both = DoubleBufferedArray<u64, Ix1>;
type Outcome = Result<(), Box<dyn Error>>;

const LEN: usize = 1 << 12;
const ROUNDS: usize = 4;
const FAULT: u8 = 3;
/// Longer than any wait of a run in which nobody is stuck.
const PATIENCE: Duration = Duration::from_secs(20);

fn set(mut part: Part<Array>, value: u64) -> Result<(), numpush::shm::Error> {
    part.write_poisoned()?.fill(value);
    Ok(())
}

fn sum(array: Array, _: ()) -> Result<u64, numpush::shm::Error> {
    Ok(array.read_with(patient())?.sum())
}

fn patient() -> LockOptions {
    LockOptions::new().timeout(PATIENCE)
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let role = match words.first() {
        Some(word) if word == "client" => "client",
        _ if std::env::var_os("NUMPUSH_WORKER").is_some() => "worker",
        _ => "owner",
    };
    if let Ok(kill) = std::env::var("NUMPUSH_KILL")
        && let Some((victim, before)) = kill.split_once(' ')
        && victim == role
    {
        numpush_os::kill_nth(before.parse().unwrap_or(usize::MAX));
    }
    Tasks::new().with(set).with(sum).serve();
    let done = match words.as_slice() {
        [_, array, both] => client(array, both),
        _ => own(),
    };
    if role == "owner" {
        settle();
    }
    // A run without faults says how many points there are.
    if let Some(passed) = numpush_os::passed_points() {
        println!("{role} passed {passed} calls");
    }
    match done {
        Ok(()) => {
            println!("{role} went well");
            ExitCode::SUCCESS
        }
        Err(error) => {
            let mut text = error.to_string();
            let mut source = error.source();
            while let Some(cause) = source {
                text = format!("{text}: {cause}");
                source = cause.source();
            }
            println!("{role} error: {text}");
            ExitCode::from(if text.starts_with(TORN) { FAULT } else { 1 })
        }
    }
}

const TORN: &str = "FAULT";

fn fault(what: &str) -> Box<dyn Error> {
    format!("{TORN}: {what}").into()
}

/// Makes values, has a client and a worker change them, and looks at what became of them.
fn own() -> Outcome {
    let arena = Arena::new(8 << 20);
    let name = std::env::var("NUMPUSH_NAME");
    let name = name.unwrap_or_else(|_| format!("sharer-{}", std::process::id()));
    let done = share(&arena, &name);
    let until = Instant::now() + PATIENCE;
    while arena.usage().used > 0 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(1));
    }
    if arena.usage().used > 0 {
        return Err(fault("bytes of the arena are not free again"));
    }
    if std::path::Path::new(&format!("/dev/shm/np.{name}")).exists() {
        return Err(fault("a name is left"));
    }
    done
}

fn share(arena: &Arena, name: &str) -> Outcome {
    let array = Array::zeros(arena, LEN)?;
    array.write_with(patient())?.fill(1);
    let both = Both::zeros(arena, LEN)?;
    both.commit_with(patient(), |next| next.fill(1))?;
    let named = NamedMemory::create(name, 4096)?;
    if let Some(cells) = named.cells::<u64>() {
        cells[0].set(1);
    }
    let (handle, other) = (array.handle()?, both.handle()?);
    let mut client = Client(start_client(&handle, &other)?);
    let pool = Pool::with_options(1, PoolOptions::new())?;
    let pool = pool.with_task_options(TaskOptions::new().timeout(PATIENCE));
    let first = pool.worker_pids();
    for round in 0..ROUNDS as u64 {
        both.commit_with(patient(), |next| *next += 1)?;
        let parts = array.partition(Axis(0), 2);
        match parts {
            Ok(parts) => {
                for result in pool.map_each(set, &parts, &(round + 2)) {
                    result??;
                }
            }
            Err(numpush::shm::Error::Lock(LockError::Poisoned(_))) => repair(&array)?,
            Err(error) => return Err(error.into()),
        }
        pool.apply(sum, (array.clone(), ()))??;
    }
    if pool.worker_pids() == first {
        // It does not say so itself: it ends with the pool.
        println!("worker passed its calls");
    }
    client.ends()?;
    match array.read_with(patient()) {
        Ok(held) => whole(&held)?,
        Err(LockError::Poisoned(_)) => repair(&array)?,
        Err(error) => return Err(error.into()),
    }
    whole(&both.read_with(patient())?)
}

/// The client is a process of this owner: it ends with it, or is waited for.
struct Client(Child);

impl Client {
    fn ends(&mut self) -> Outcome {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.0.try_wait()? {
                Some(status) if status.code() == Some(FAULT.into()) => {
                    return Err(fault("the client found one"));
                }
                Some(_) => return Ok(()),
                None if Instant::now() > until => return Err(fault("the client is stuck")),
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start_client(array: &Handle, both: &Handle) -> std::io::Result<Child> {
    Command::new("/proc/self/exe")
        .args(["client", &array.to_string(), &both.to_string()])
        .stdin(Stdio::null())
        .spawn()
}

fn client(array: &str, both: &str) -> Outcome {
    let (array, both): (Handle, Handle) = (array.parse()?, both.parse()?);
    for _ in 0..ROUNDS {
        let array = Array::open(&array)?;
        match array.read_with(patient()) {
            Ok(held) => whole(&held)?,
            Err(LockError::Poisoned(_)) => repair(&array)?,
            Err(error) => return Err(error.into()),
        }
        match array.write_with(patient()) {
            Ok(mut held) => held.fill(7),
            Err(LockError::Poisoned(_)) => repair(&array)?,
            Err(error) => return Err(error.into()),
        }
        let both = Both::open(&both)?;
        whole(&both.read_with(patient())?)?;
        both.commit_with(patient(), |next| *next += 1)?;
    }
    Ok(())
}

fn repair(array: &Array) -> Outcome {
    let mut held = array.write_with(patient().accept_poison(true))?;
    held.fill(9);
    held.clear_poison();
    Ok(())
}

/// Each half is whole: a worker that dies before it locks its part leaves that part as it was, and no poison.
fn whole(elements: &ndarray::ArrayRef<u64, Ix1>) -> Outcome {
    let is_whole = |half: usize| {
        let mut half = elements.iter().skip(half * LEN / 2).take(LEN / 2);
        let first = half.next();
        half.all(|value| Some(value) == first)
    };
    if is_whole(0) && is_whole(1) {
        Ok(())
    } else {
        Err(fault("data that is said to be whole is torn"))
    }
}

/// Says what this process still has when nothing is shared any more. What serves it comes to rest first: `NUMPUSH_LEFT` is
/// the number of descriptors that a run without faults ends with.
fn settle() {
    let wanted = std::env::var("NUMPUSH_LEFT").ok();
    let wanted = wanted
        .and_then(|text| text.parse().ok())
        .unwrap_or(usize::MAX);
    let left = || {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
        (maps.matches("numpush-pages").count(), open_descriptors())
    };
    let until = Instant::now() + PATIENCE;
    let mut now = left();
    while (now.0 > 0 || now.1 > wanted) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(1));
        now = left();
    }
    println!("left: {} mappings, {} descriptors", now.0, now.1);
}

/// None if there is none left to count them by.
fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}
