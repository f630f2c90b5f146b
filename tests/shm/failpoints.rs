//! Every system call of `os` and of the memory in `shm/core` fails once, in turn. What uses it succeeds nevertheless or
//! returns an error that names the cause, and nothing stays open or mapped.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ndarray::{Axis, Ix1};
use numpush::Message;
use numpush::model::{BufferAllocator as _, Element as _};
use numpush::shm::{
    Arena, ArenaOptions, DoubleBufferedArray, Error, Handle, HugePages, NamedMemory, NodePolicy,
    PageOptions, Pool, PoolOptions, SharedArray, Tasks,
};
use numpush_os::{fail_call, fail_nth, stop_failing};
use numpush_tests::{Peer, again, eventually, open_descriptors, say};

const ROLE: &str = "NUMPUSH_TEST_FAILPOINTS";

/// The failures are the process's: one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The owner of a value that the sweep opens.
#[test]
fn role() {
    if std::env::var(ROLE).is_err() {
        return;
    }
    let shared = SharedArray::<u64, Ix1>::zeros(&Arena::new(1 << 20), 1 << 10).unwrap();
    shared.write().unwrap().fill(3);
    say("handle", shared.handle().unwrap());
    let _ = std::io::stdin().read(&mut [0]);
}

struct Owner {
    handle: Handle,
    _process: Peer,
}

impl Owner {
    fn start() -> Self {
        let mut process = Peer::start(again("role").env(ROLE, "own"));
        let handle = process.hears("handle").parse().unwrap();
        let _process = process;
        Self { handle, _process }
    }
}

/// What a user does with memory.
fn life_of_a_value(number: usize) -> Result<(), Error> {
    let arena = Arena::new(64 << 20);
    let array = SharedArray::<u64, Ix1>::zeros(&arena, 1 << 16)?;
    array.write()?.fill(1);
    let large = SharedArray::<u64, Ix1>::zeros(&arena, 1 << 18)?;
    drop(large);
    let both = DoubleBufferedArray::<u64, Ix1>::zeros(&arena, 1 << 10)?;
    both.commit(|next| next.fill(2))?;
    let mut region = arena.clone().allocate(8 << 10)?;
    region.as_mut_slice().fill(1);
    let landed = numpush::Array::new(u64::SCALAR, &[1 << 10], region.freeze())?;
    let landed = SharedArray::<u64, Ix1>::from_message(Message::from(landed))?;
    assert_eq!(landed.read()?.len(), 1 << 10);
    drop(landed.into_message());
    let parts = array.partition(Axis(0), 2)?;
    drop(parts);
    let pages = PageOptions::new()
        .huge(HugePages::Advise)
        .node(NodePolicy::Node(0))
        .populate(true);
    let shaped = Arena::with_options(ArenaOptions::new().budget(8 << 20).pages(pages));
    let populated = SharedArray::<u64, Ix1>::zeros(&shaped, 1 << 12)?;
    assert_eq!(populated.read()?.sum(), 0);
    drop(populated);
    shaped.trim();
    let name = format!("test-failpoints-{}-{number}", std::process::id());
    let named = NamedMemory::create(&name, 4096)?;
    if let Some(cells) = named.cells::<u64>() {
        cells[0].set(1);
    }
    drop(named);
    drop((array, both));
    arena.trim();
    Ok(())
}

fn opening(handle: &Handle) -> Result<(), Error> {
    let opened = SharedArray::<u64, Ix1>::open(handle)?;
    assert_eq!(opened.read()?.sum(), 3 << 10);
    Ok(())
}

/// The error and what caused it, in words.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn mapped_memories() -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines()
        .filter(|line| line.contains("memfd:numpush-pages") || line.contains("/dev/shm/"))
        .count()
}

/// Lets each call that `life` makes fail with each error. Between two failures `life` has to go well.
fn sweep(mut life: impl FnMut(Arming) -> Result<(), Error>) {
    let mut seen: BTreeMap<(&str, i32, String), usize> = BTreeMap::new();
    for errno in [libc::ENOMEM, libc::EMFILE, libc::EINTR, libc::EAGAIN] {
        for nth in 0.. {
            let result = life(Arming(Some((nth, errno))));
            let Some(failed) = stop_failing() else {
                result.unwrap();
                break;
            };
            let text = result.map_or_else(|error| chain(&error), |()| "went on".into());
            assert!(names_its_cause(&text, errno), "{}: {text:?}", failed.call);
            *seen.entry((failed.call, errno, text)).or_default() += 1;
            life(Arming(None)).unwrap();
        }
    }
    for ((call, errno, text), count) in &seen {
        println!("{count:3} x {call}, errno {errno}: {text}");
    }
    assert!(seen.len() > 20, "only {} calls were reached", seen.len());
}

/// When the failure is to be armed, if at all.
struct Arming(Option<(usize, i32)>);

impl Arming {
    fn arm(self) {
        if let Some((nth, errno)) = self.0 {
            fail_nth(nth, errno);
        }
    }
}

/// True for success, and for words that hold those of the error, or of what it means to the caller.
fn names_its_cause(text: &str, errno: i32) -> bool {
    let words = std::io::Error::from_raw_os_error(errno).to_string();
    let means: &[&str] = match errno {
        libc::ENOMEM => &["no memory for"],
        libc::EAGAIN => &["timed out"],
        _ => &[],
    };
    text == "went on" || text.contains(&words) || means.iter().any(|means| text.contains(means))
}

#[test]
fn every_call_of_a_value_s_life_fails_in_turn() {
    let _alone = alone();
    // Locks stay mapped forever: they exist after the first life.
    let mut number = 0;
    let mut life = |arming: Arming| {
        arming.arm();
        number += 1;
        life_of_a_value(number)
    };
    life(Arming(None)).unwrap();
    let before = (open_descriptors(), mapped_memories());
    sweep(life);
    assert_eq!((open_descriptors(), mapped_memories()), before);
}

#[test]
fn every_call_of_an_opening_fails_in_turn() {
    let _alone = alone();
    let open = |arming: Arming| {
        let owner = Owner::start();
        arming.arm();
        opening(&owner.handle)
    };
    open(Arming(None)).unwrap();
    sweep(open);
    eventually("nothing of the owners is mapped", || mapped_memories() == 0);
}

/// As on Linux before 5.14.
#[test]
fn memory_is_populated_where_the_kernel_cannot() {
    let _alone = alone();
    let options = ArenaOptions::new().budget(16 << 20);
    let arena = Arena::with_options(options.pages(PageOptions::new().populate(true)));
    fail_call("madvise", libc::EINVAL);
    let made = SharedArray::<u64, Ix1>::zeros(&arena, 1 << 18);
    assert_eq!(stop_failing().unwrap().call, "madvise");
    let array = made.unwrap();
    array.write().unwrap().fill(1);
    assert_eq!(array.read().unwrap().sum(), 1 << 18);
}

/// As on a kernel without NUMA, and with no descriptor left: no lack of memory.
#[test]
fn a_refusal_keeps_its_name() {
    let _alone = alone();
    let on_a_node = PageOptions::new().node(NodePolicy::Node(0));
    for (call, errno, pages) in [
        ("mbind", libc::ENOSYS, on_a_node),
        ("memfd_create", libc::EMFILE, PageOptions::new()),
    ] {
        let arena = Arena::with_options(ArenaOptions::new().budget(1 << 20).pages(pages));
        fail_call(call, errno);
        let refused = SharedArray::<u64, Ix1>::zeros(&arena, 8).unwrap_err();
        stop_failing();
        let text = std::io::Error::from_raw_os_error(errno).to_string();
        assert!(chain(&refused).contains(&text), "{refused}");
    }
}

fn double(number: u64, _: ()) -> u64 {
    2 * number
}

/// A worker whose kernel has no memory to say who made its standard input.
#[test]
fn worker() {
    if std::env::var_os("NUMPUSH_WORKER").is_none() {
        return;
    }
    fail_call("getsockopt", libc::ENOMEM);
    Tasks::new().with(double).serve();
    panic!("the worker takes itself for a program");
}

#[test]
fn a_worker_without_memory_is_no_program() {
    let _alone = alone();
    let options = PoolOptions::new().arguments(["--exact", "worker", "--nocapture"]);
    let pool = Pool::with_options(1, options).unwrap();
    assert_eq!(pool.apply(double, (4, ())).unwrap(), 8);
}
