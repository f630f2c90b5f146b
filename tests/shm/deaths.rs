//! Processes that die, stop or fork while they hold a lock: this program again, in the test `role`.
#![expect(unsafe_code, reason = "memory with a name is opened on trust")]

use std::io::{Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::time::Duration;

use ndarray::Ix1;
use numpush::shm::{
    Arena, Error, Handle, LockError, LockOptions, NamedError, NamedMemory, SharedArray,
    SharedMutex, list_owners, reap,
};
use numpush_tests::{PATIENCE, Peer, can_run, eventually, say, under};

fn open(name: &str) -> Result<NamedMemory, NamedError> {
    // SAFETY: nobody truncates it.
    unsafe { NamedMemory::open(name) }
}

const ROLE: &str = "NUMPUSH_TEST_ROLE";
const HANDLE: &str = "NUMPUSH_TEST_HANDLE";

fn wait_for_a_word() {
    let _ = std::io::stdin().read(&mut [0]);
}

#[test]
fn role() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let handle = || std::env::var(HANDLE).unwrap().parse::<Handle>().unwrap();
    let array = || SharedArray::<u64, Ix1>::open(&handle()).unwrap();
    match role.as_str() {
        "write" | "exit" => {
            let array = array();
            let mut held = array.write().unwrap();
            held[0] = 99;
            say("held", "");
            wait_for_a_word();
            if role == "exit" {
                std::process::exit(0);
            }
        }
        "read" => {
            let array = array();
            let _held = array.read().unwrap();
            say("held", "");
            wait_for_a_word();
        }
        "mutex" => {
            let mutex = SharedMutex::open(&handle()).unwrap();
            let _held = mutex.lock().unwrap();
            say("held", "");
            wait_for_a_word();
        }
        "open" => {
            let _array = array();
            say("open", "");
            wait_for_a_word();
        }
        "refused" => {
            let error = SharedArray::<u64, Ix1>::open(&handle()).unwrap_err();
            let source = std::error::Error::source(&error).map(ToString::to_string);
            say("refused", source.unwrap_or_default());
        }
        "foreign" => {
            let error = SharedArray::<u64, Ix1>::open(&handle()).unwrap_err();
            say("refused", error);
            // Whoever does not ask our library is refused by the owner.
            let text = handle().to_string();
            let owner = text.trim_start_matches("shm:").split('/').next().unwrap();
            let mut socket =
                UnixStream::connect_addr(&SocketAddr::from_abstract_name(owner).unwrap()).unwrap();
            // Already closed, perhaps.
            let _ = socket.write_all(&[2, 0, 0, 0, 0x91, 0x01]);
            assert_eq!(socket.read(&mut [0; 64]).unwrap_or(0), 0);
            say("closed", "");
        }
        "own" => {
            let array = SharedArray::<u64, Ix1>::zeros(&Arena::new(1 << 20), 8).unwrap();
            say("handle", array.handle().unwrap());
            wait_for_a_word();
        }
        "name" => {
            let segment =
                NamedMemory::create(&format!("test-killed-{}", std::process::id()), 4096).unwrap();
            say("name", segment.name());
            wait_for_a_word();
        }
        other => panic!("no role {other}"),
    }
}

fn start(role: &str, handle: Option<&Handle>) -> Peer {
    start_under(&[], role, handle)
}

fn start_under(wrapper: &[&str], role: &str, handle: Option<&Handle>) -> Peer {
    let mut command = under(wrapper, "role");
    command.env(ROLE, role);
    command.envs(handle.map(|handle| (HANDLE, handle.to_string())));
    Peer::start(&mut command)
}

fn shared() -> (Arena, SharedArray<u64, Ix1>) {
    let arena = Arena::new(1 << 20);
    let array = SharedArray::zeros(&arena, 8).unwrap();
    (arena, array)
}

fn poisoned_by(array: &SharedArray<u64, Ix1>) -> u32 {
    match array.read_with(LockOptions::new().timeout(PATIENCE)) {
        Err(LockError::Poisoned(poison)) => poison.pid,
        other => panic!("{:?}", other.map(|guard| guard.to_owned())),
    }
}

#[test]
fn a_writer_that_is_killed_leaves_its_waiters_and_a_report() {
    let (_arena, array) = shared();
    let mut peer = start("write", Some(&array.handle().unwrap()));
    peer.hears("held");
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| poisoned_by(&array));
        let pid = peer.pid();
        peer.kill();
        assert_eq!(waiter.join().unwrap(), pid);
    });
    assert_eq!(array.read_poisoned().unwrap()[0], 99);
}

#[test]
fn exit_is_a_death_too() {
    let (_arena, array) = shared();
    let mut peer = start("exit", Some(&array.handle().unwrap()));
    peer.hears("held");
    let pid = peer.pid();
    peer.nod();
    assert_eq!(poisoned_by(&array), pid);
    peer.ends_well();
}

/// The kernel compares a mutex with the dying thread's number in its own namespace: a waiter with the number of a holder
/// elsewhere would free the holder's lock by its death. So nobody from another namespace comes in.
#[test]
fn a_process_in_another_pid_namespace_is_refused() {
    let wrapper = [
        "unshare",
        "--user",
        "--map-root-user",
        "--pid",
        "--fork",
        "--kill-child",
    ];
    if !can_run(&wrapper, &["true"]) {
        return;
    }
    let (_arena, array) = shared();
    let mut peer = start_under(&wrapper, "refused", Some(&array.handle().unwrap()));
    let error = peer.hears("refused");
    assert!(error.contains("another pid namespace"), "{error}");
}

#[test]
fn a_reader_that_is_killed_leaves_nothing() {
    let (_arena, array) = shared();
    let mut peer = start("read", Some(&array.handle().unwrap()));
    peer.hears("held");
    assert!(matches!(
        array.write_with(LockOptions::new().timeout(Duration::from_millis(20))),
        Err(LockError::Timeout { .. })
    ));
    peer.kill();
    array
        .write_with(LockOptions::new().timeout(PATIENCE))
        .unwrap()[0] = 1;
    assert_eq!(array.read().unwrap()[0], 1);
}

#[test]
fn whoever_does_not_wait_finds_the_living_and_passes_the_dead() {
    let (_arena, array) = shared();
    let mutex = SharedMutex::new().unwrap();
    let holder = |error: LockError| match error {
        LockError::Timeout { after, holder } => (after, holder.unwrap().pid),
        other => panic!("{other:?}"),
    };
    let mut peer = start("write", Some(&array.handle().unwrap()));
    peer.hears("held");
    let named = (Duration::ZERO, peer.pid());
    assert_eq!(holder(array.try_read().map(drop).unwrap_err()), named);
    assert_eq!(holder(array.try_write().map(drop).unwrap_err()), named);
    peer.kill();
    for error in [
        array.try_read().map(drop).unwrap_err(),
        array.try_write().map(drop).unwrap_err(),
    ] {
        assert!(matches!(error, LockError::Poisoned(_)), "{error}");
    }
    array.write_poisoned().unwrap().clear_poison();

    let mut peer = start("read", Some(&array.handle().unwrap()));
    peer.hears("held");
    let named = (Duration::ZERO, peer.pid());
    assert_eq!(holder(array.try_write().map(drop).unwrap_err()), named);
    assert!(array.try_read().is_ok());
    peer.kill();
    assert!(array.try_write().is_ok());

    let mut peer = start("mutex", Some(&mutex.handle().unwrap()));
    peer.hears("held");
    let named = (Duration::ZERO, peer.pid());
    assert_eq!(holder(mutex.try_lock().map(drop).unwrap_err()), named);
    peer.kill();
    assert!(mutex.try_lock().unwrap().owner_died());
}

#[test]
fn a_mutex_tells_of_its_dead_holder() {
    let mutex = SharedMutex::new().unwrap();
    let mut peer = start("mutex", Some(&mutex.handle().unwrap()));
    peer.hears("held");
    peer.kill();
    assert!(
        mutex
            .lock_with(LockOptions::new().timeout(PATIENCE))
            .unwrap()
            .owner_died()
    );
}

#[test]
fn a_stopped_holder_is_named_and_nothing_is_stolen() {
    let (_arena, array) = shared();
    let mut peer = start("write", Some(&array.handle().unwrap()));
    peer.hears("held");
    peer.signal("-STOP");
    let error = array
        .read_with(LockOptions::new().timeout(Duration::from_millis(50)))
        .map(|guard| guard.len())
        .unwrap_err();
    let LockError::Timeout {
        holder: Some(holder),
        ..
    } = &error
    else {
        panic!("{error}")
    };
    assert_eq!(holder.pid, peer.pid());
    peer.signal("-CONT");
    let pid = peer.pid();
    peer.kill();
    assert_eq!(poisoned_by(&array), pid);
}

#[test]
fn who_has_a_value_open_keeps_it_and_who_dies_lets_go() {
    let (arena, array) = shared();
    let handle = array.handle().unwrap();
    let mut peer = start("open", Some(&handle));
    peer.hears("open");
    let report = list_owners()
        .unwrap()
        .into_iter()
        .find(|host| host.pid == std::process::id())
        .unwrap();
    let value = report
        .values
        .iter()
        .find(|value| value.handle == handle.to_string())
        .unwrap();
    assert_eq!(value.open_in, [peer.pid()]);
    drop(array);
    assert!(arena.usage().used > 0, "the peer has it open");
    peer.kill();
    eventually("a dead process lets go of its value", || {
        arena.usage().used == 0
    });
    assert!(matches!(
        SharedArray::<u64, Ix1>::open(&handle),
        Err(Error::Stale { .. })
    ));
}

#[test]
fn a_stopped_owner_is_told_and_holds_up_nobody() {
    let mut owner = start("own", None);
    let handle: Handle = owner.hears("handle").parse().unwrap();
    let pid = owner.pid();
    let of_owner = || {
        list_owners()
            .unwrap()
            .into_iter()
            .find(|host| host.pid == pid)
            .unwrap()
    };
    assert_eq!(of_owner().values[0].handle, handle.to_string());
    owner.signal("-STOP");
    // Each thread stops when it comes to it.
    let is_stopped = |task: std::fs::DirEntry| {
        let status = std::fs::read_to_string(task.path().join("status")).unwrap();
        status.contains("State:\tT")
    };
    let tasks = || {
        std::fs::read_dir(format!("/proc/{pid}/task"))
            .unwrap()
            .map(Result::unwrap)
    };
    while !tasks().all(is_stopped) {
        std::thread::yield_now();
    }
    let report = of_owner();
    assert!(!report.answers && report.values.is_empty());
    owner.signal("-CONT");
    assert!(of_owner().answers);
}

#[test]
fn another_user_opens_nothing() {
    let wrapper = ["setpriv", "--reuid=65534", "--clear-groups"];
    let program = std::env::current_exe().unwrap();
    // Only root can act as another user, who must reach this program.
    let reach = ["test", "-x", program.to_str().unwrap()];
    if !can_run(&wrapper, &reach) {
        return;
    }
    let (_arena, array) = shared();
    let mut peer = start_under(&wrapper, "foreign", Some(&array.handle().unwrap()));
    let refused = peer.hears("refused");
    assert!(
        refused.ends_with("is served by user 0, not by 65534"),
        "{refused}"
    );
    peer.hears("closed");
}

#[test]
fn a_value_outlives_its_owner_where_it_is_open() {
    let mut owner = start("own", None);
    let handle: Handle = owner.hears("handle").parse().unwrap();
    let array = SharedArray::<u64, Ix1>::open(&handle).unwrap();
    array.write().unwrap().fill(3);
    owner.kill();
    assert_eq!(array.read().unwrap().sum(), 24);
    array.write().unwrap().fill(4);
    drop(array);
    let stale = SharedArray::<u64, Ix1>::open(&handle).unwrap_err();
    assert!(
        stale.to_string().ends_with("its owner has ended"),
        "{stale}"
    );
}

#[test]
fn names_of_killed_processes_are_reaped_and_those_of_living_ones_are_not() {
    let (mut dead, mut living) = (start("name", None), start("name", None));
    let (of_dead, of_living) = (dead.hears("name"), living.hears("name"));
    dead.kill();
    let reaped = reap().unwrap();
    assert!(
        reaped.contains(&of_dead) && !reaped.contains(&of_living),
        "{reaped:?}"
    );
    assert!(open(&of_living).is_ok());
    drop(living);
    assert!(reap().unwrap().contains(&of_living));
}
