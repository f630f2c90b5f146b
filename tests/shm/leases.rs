//! What processes that share values hold of each other: this program again, in the test `role`.

use std::fs;
use std::io::{Read, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::time::{Duration, Instant};

use ndarray::Ix1;
use numpush::shm::{
    Arena, ArenaOptions, Error, Handle, Pool, PoolOptions, SharedArray, Tasks, list_owners,
};
use numpush_tests::{PATIENCE, Peer, can_run, eventually, say, under};

const ROLE: &str = "NUMPUSH_TEST_ROLE";
const WORD: &str = "NUMPUSH_TEST_WORD";
/// The names of the memory of values, and of that of their locks.
const PAGES: &str = "numpush-pages";
const LOCKS: &str = "numpush-locks";
/// Runs a program as another user; only root can.
const AS_NOBODY: [&str; 3] = ["setpriv", "--reuid=65534", "--clear-groups"];

type Array = SharedArray<u64, Ix1>;

fn wait_for_a_word() {
    let _ = std::io::stdin().read(&mut [0]);
}

fn word() -> String {
    std::env::var(WORD).unwrap()
}

#[test]
fn role() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    match role.as_str() {
        "own" => own(),
        "open-and-close" => {
            drop(opened(&word()));
            say("closed", "");
            wait_for_a_word();
        }
        "open" => {
            let _array = opened(&word());
            say("open", "");
            wait_for_a_word();
        }
        "keep-one" => keep_one(),
        "meet" => meet(word().parse().unwrap()),
        "squat" => squat(&word()),
        "accept" => accept(&word()),
        "few-descriptors" => few_descriptors(&word()),
        "crowd" => crowd(&word()),
        "own-without-descriptors" => own_without_descriptors(),
        "own-in-a-crowd" => own_in_a_crowd(),
        other => panic!("no role {other}"),
    }
}

fn start(role: &str, word: &str) -> Peer {
    start_under(&[], role, word)
}

fn start_under(wrapper: &[&str], role: &str, word: &str) -> Peer {
    let mut command = under(wrapper, "role");
    Peer::start(command.env(ROLE, role).env(WORD, word))
}

/// True if this program can be run as another user.
fn can_be_nobody() -> bool {
    let program = std::env::current_exe().unwrap();
    can_run(&AS_NOBODY, &["test", "-x", program.to_str().unwrap()])
}

fn opened(handle: &str) -> Array {
    Array::open(&handle.parse().unwrap()).unwrap()
}

/// Owns a large and a small array. Drops the large one at a word, and says what its arena has then.
fn own() {
    let arena = Arena::with_options(ArenaOptions::new().budget(64 << 20).keep(0));
    let large = Array::zeros(&arena, 1 << 20).unwrap();
    let small = Array::zeros(&Arena::new(1 << 20), 8).unwrap();
    say("large", large.handle().unwrap());
    say("small", small.handle().unwrap());
    wait_for_a_word();
    drop(large);
    eventually("the arena has its bytes back", || {
        arena.usage().reserved == 0
    });
    say("free", "");
    wait_for_a_word();
}

/// Mappings of this process whose memory has this name.
fn mappings(name: &str) -> usize {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    maps.matches(name).count()
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Closes one of two values of an owner, and waits until its memory is gone from here. It asks the owner for nothing.
fn keep_one() {
    let handles = word();
    let (large, small) = handles.split_once(' ').unwrap();
    let small = opened(small);
    drop(opened(large));
    assert_eq!(mappings(PAGES), 2);
    say("closed", "");
    eventually("the memory is gone from here too", || mappings(PAGES) == 1);
    say("gone", "");
    wait_for_a_word();
    assert_eq!(small.read().unwrap().sum(), 0);
}

#[test]
fn memory_that_its_owner_drops_is_gone_from_who_closed_it() {
    let mut owner = start("own", "");
    let handles = format!("{} {}", owner.hears("large"), owner.hears("small"));
    let mut client = start("keep-one", &handles);
    client.hears("closed");
    owner.nod();
    owner.hears("free");
    client.hears("gone");
    client.nod();
    client.ends_well();
}

/// Opens a value of each of many owners, one after the other, and lets each owner die.
fn meet(owners: usize) {
    let meet_one = || {
        let mut owner = start("own", "");
        let array = opened(&owner.hears("large"));
        array.write().unwrap()[0] = 7;
        drop(array);
        owner.kill();
    };
    let held = || (descriptors(), mappings(LOCKS));
    // A thread keeps its place among the locks that it took last. It leaves those of owners that ended when it takes
    // the next place.
    let settle = || {
        eventually("only the last locks are mapped", || {
            meet_one();
            eventually("no values are mapped", || mappings(PAGES) == 0);
            mappings(LOCKS) <= 1
        });
    };
    settle();
    let before = held();
    for _ in 0..owners {
        meet_one();
    }
    settle();
    eventually("as much is held as before", || held() == before);
    say("met", owners);
}

#[test]
fn who_has_met_300_owners_holds_what_one_does_who_has_met_one() {
    start("meet", "300").hears("met");
}

#[test]
#[ignore = "takes minutes"]
fn who_has_met_10_000_owners_holds_what_one_does_who_has_met_one() {
    start("meet", "10000").hears("met");
}

#[test]
fn an_owner_that_lives_is_let_go_of_when_nothing_of_it_is_open() {
    let mut owner = start("own", "");
    let handle = owner.hears("large");
    let mut client = start("open-and-close", &handle);
    client.hears("closed");
    let links = || {
        let report = list_owners().unwrap();
        let owner = report.iter().find(|one| one.pid == owner.pid()).unwrap();
        owner.values[0].open_in.clone()
    };
    eventually("the client lets go", || links().is_empty());
    client.nod();
    client.ends_well();
}

#[test]
fn a_value_that_others_closed_just_now_can_be_taken_back() {
    let array = Array::zeros(&Arena::new(1 << 20), 8).unwrap();
    let handle = array.handle().unwrap().to_string();
    let mut client = start("open-and-close", &handle);
    client.hears("closed");
    // The client is asked for it, and answers.
    let message = array.into_message().unwrap();
    assert_eq!(message.as_array().unwrap().data().len(), 64);
    client.nod();
    client.ends_well();
}

#[test]
fn a_value_that_is_open_elsewhere_cannot_be_taken_back() {
    let array = Array::zeros(&Arena::new(1 << 20), 8).unwrap();
    let mut client = start("open", &array.handle().unwrap().to_string());
    client.hears("open");
    let refused = array.into_message().unwrap_err();
    assert!(matches!(refused.error(), Error::InUse { .. }), "{refused}");
    client.kill();
    let array = refused.into_value();
    eventually("a dead client has nothing open", || {
        let report = list_owners().unwrap();
        let pid = std::process::id();
        let ours = report.iter().find(|one| one.pid == pid).unwrap();
        let handle = array.handle().unwrap().to_string();
        let value = ours.values.iter().find(|value| value.handle == handle);
        value.unwrap().open_in.is_empty()
    });
    assert!(array.into_message().is_ok());
}

/// Listens under a name, and fills its own queue, so that a connect waits.
fn squat(name: &str) {
    let listener = listen(name);
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
    let soon = || Instant::now() + Duration::from_millis(50);
    let mut queue = Vec::new();
    while let Ok(socket) = numpush_os::connect_abstract(name, soon()) {
        queue.push(socket);
    }
    say("full", queue.len());
    wait_for_a_word();
}

/// Listens under a name, and says how many bytes the first who connects sends.
fn accept(name: &str) {
    let listener = listen(name);
    say("ready", "");
    let mut bytes = Vec::new();
    listener
        .accept()
        .unwrap()
        .0
        .read_to_end(&mut bytes)
        .unwrap();
    say("read", bytes.len());
}

fn listen(name: &str) -> UnixListener {
    UnixListener::bind_addr(&SocketAddr::from_abstract_name(name).unwrap()).unwrap()
}

/// A name that no owner has: the largest process number there can be.
fn free_name(number: u32) -> String {
    format!("numpush-shm.4194304.{:08x}{number:08x}", std::process::id())
}

#[test]
fn a_squatted_name_holds_up_nobody() {
    if !can_be_nobody() {
        return;
    }
    let name = free_name(1);
    let mut squatter = start_under(&AS_NOBODY, "squat", &name);
    squatter.hears("full");
    let stale: Handle = format!("shm:{name}/1").parse().unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| Array::open(&stale).unwrap_err());
        for _ in 0..3 {
            let mut owner = start("own", "");
            drop(opened(&owner.hears("small")));
        }
        let reports = list_owners().unwrap();
        assert!(reports.iter().all(|report| report.pid != 4_194_304));
        squatter.kill();
        let error = waiting.join().unwrap();
        assert!(
            matches!(error, Error::Stale { .. } | Error::Busy { .. }),
            "{error}"
        );
    });
}

#[test]
fn a_name_of_another_user_is_sent_nothing() {
    if !can_be_nobody() {
        return;
    }
    let name = free_name(2);
    let mut other = start_under(&AS_NOBODY, "accept", &name);
    other.hears("ready");
    let error = Array::open(&format!("shm:{name}/1").parse().unwrap()).unwrap_err();
    assert!(
        matches!(error, Error::ForeignUser { found: 65534, .. }),
        "{error}"
    );
    assert_eq!(other.hears("read"), "0");
}

/// Without a map of users everybody is user 65534 there, this process included.
#[test]
fn an_owner_that_cannot_tell_users_apart_serves_nobody() {
    let wrapper = ["unshare", "--user"];
    if !can_run(&wrapper, &["true"]) {
        return;
    }
    let mut owner = start_under(&wrapper, "own", "");
    let handle = owner.hears("small");
    let error = Array::open(&handle.parse().unwrap()).unwrap_err();
    assert!(
        error.to_string().ends_with("does not serve this user"),
        "{error}"
    );
}

/// Opens a value with fewer descriptors free than that takes.
fn few_descriptors(handle: &str) {
    let handle: Handle = handle.parse().unwrap();
    let mut taken = Vec::new();
    while let Ok(file) = fs::File::open("/dev/null") {
        taken.push(file);
    }
    // One more is free each time, until it works.
    loop {
        match Array::open(&handle) {
            Ok(array) => break drop(array),
            Err(Error::Io { source, .. }) if source.raw_os_error() == Some(EMFILE) => {}
            Err(error) => panic!("{error}"),
        }
        drop(taken.pop().unwrap());
    }
    say("opened", "");
}

/// errno(3).
const EMFILE: i32 = 24;

#[test]
fn a_lack_of_descriptors_is_called_so() {
    let mut owner = start("own", "");
    let handle = owner.hears("small");
    start_under(&["prlimit", "--nofile=64"], "few-descriptors", &handle).hears("opened");
}

/// Owns a value and has no descriptor left, until it gets a word.
fn own_without_descriptors() {
    let array = Array::zeros(&Arena::new(1 << 20), 8).unwrap();
    let handle = array.handle().unwrap();
    let mut taken = Vec::new();
    while let Ok(file) = fs::File::open("/dev/null") {
        taken.push(file);
    }
    say("handle", handle);
    wait_for_a_word();
    drop(taken);
    say("free", "");
    wait_for_a_word();
}

#[test]
fn an_owner_without_descriptors_says_so() {
    let mut owner = start_under(&["prlimit", "--nofile=64"], "own-without-descriptors", "");
    let handle = owner.hears("handle");
    for _ in 0..2 {
        let refused = Array::open(&handle.parse().unwrap()).unwrap_err();
        assert!(matches!(refused, Error::Busy { .. }), "{refused}");
        assert!(refused.to_string().contains("no descriptor"), "{refused}");
    }
    owner.nod();
    owner.hears("free");
    // The listener rests for a moment.
    eventually("the owner serves again", || {
        Array::open(&handle.parse().unwrap()).is_ok()
    });
}

/// Owns a value whose descriptors the kernel does not send, until it gets a word: too many are on their way.
fn own_in_a_crowd() {
    let array = Array::zeros(&Arena::new(1 << 20), 8).unwrap();
    numpush_os::fail_call("sendmsg with a descriptor", ETOOMANYREFS);
    say("handle", array.handle().unwrap());
    wait_for_a_word();
    numpush_os::stop_failing().unwrap();
    say("free", "");
    wait_for_a_word();
}

/// errno(3).
const ETOOMANYREFS: i32 = 109;

#[test]
fn a_descriptor_that_is_not_sent_is_named_and_ends_nothing() {
    let mut owner = start("own-in-a-crowd", "");
    let handle: Handle = owner.hears("handle").parse().unwrap();
    match Array::open(&handle).unwrap_err() {
        Error::Io { source, .. } => assert_eq!(source.raw_os_error(), Some(ETOOMANYREFS)),
        other => panic!("{other}"),
    }
    owner.nod();
    owner.hears("free");
    assert_eq!(Array::open(&handle).unwrap().read().unwrap().sum(), 0);
}

#[test]
fn an_owner_waits_until_descriptors_can_be_sent() {
    let mut owner = start("own-in-a-crowd", "");
    let handle: Handle = owner.hears("handle").parse().unwrap();
    std::thread::scope(|scope| {
        let opened = scope.spawn(|| Array::open(&handle).map(drop));
        // Most likely it has asked by now.
        std::thread::sleep(Duration::from_millis(200));
        owner.nod();
        opened.join().unwrap().unwrap();
    });
}

/// Takes all the places that an owner has for clients, and lets one go again.
fn crowd(handle: &str) {
    let parsed: Handle = handle.parse().unwrap();
    let name = handle.trim_start_matches("shm:").split('/').next().unwrap();
    let mut places = Vec::new();
    while places.len() < 1024 {
        let deadline = Instant::now() + PATIENCE;
        let mut socket = numpush_os::connect_abstract(name, deadline).unwrap();
        let mut greeting = [0; 16];
        socket.read_exact(&mut greeting).unwrap();
        // Tests beside this one ask for reports, and take a place meanwhile.
        if greeting[12] == 0 {
            places.push(socket);
        }
    }
    let refused = Array::open(&parsed).unwrap_err();
    assert!(matches!(refused, Error::Busy { .. }), "{refused}");
    // A greeting of another version ends a connection too.
    let mut last = places.pop().unwrap();
    last.write_all(b"numpush\0\x07\0\0\0\0\0\0\0").unwrap();
    assert_eq!(last.read(&mut [0; 16]).unwrap(), 0);
    eventually("a place is free again", || Array::open(&parsed).is_ok());
    say("opened", "");
}

#[test]
fn one_client_too_many_is_told_that_the_owner_is_busy() {
    let many = ["prlimit", "--nofile=4096"];
    if !can_run(&many, &["true"]) {
        return;
    }
    let mut owner = start_under(&many, "own", "");
    let handle = owner.hears("small");
    start_under(&many, "crowd", &handle).hears("opened");
}

fn sum(array: Array) -> u64 {
    array.read().unwrap().sum()
}

#[test]
fn worker() {
    Tasks::new().with(sum).serve();
}

/// A worker keeps its argument open for a moment, and lets go of it when its owner drops it.
#[test]
fn an_arena_without_room_waits_for_what_was_dropped() {
    let options = PoolOptions::new().arguments(["--exact", "worker", "--nocapture"]);
    let pool = Pool::with_options(1, options).unwrap();
    let arena = Arena::new(1 << 20);
    for round in 0..100 {
        // There is room for one of them.
        let array = Array::zeros(&arena, 100_000).unwrap();
        array.write().unwrap()[0] = round;
        assert_eq!(pool.apply(sum, (array,)).unwrap(), round);
    }
}
