//! Barriers, conditions and counters between processes, one of which is killed: this program again, in the test `role`.

use std::io::Read;
use std::time::Instant;

use numpush::shm::{
    BarrierError, Handle, SharedAtomicArray, SharedBarrier, SharedCondition, SharedCounter,
    SharedMutex,
};
use numpush_tests::{Peer, again, eventually, say};

const ROLE: &str = "NUMPUSH_TEST_ROLE";
const HANDLES: &str = "NUMPUSH_TEST_HANDLES";

/// Steps in which nobody dies.
const STEPS: u32 = 200;

fn wait_for_a_word() {
    let _ = std::io::stdin().read(&mut [0]);
}

#[test]
fn role() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let handles = std::env::var(HANDLES).unwrap();
    let mut handles = handles
        .split(' ')
        .map(|text| text.parse::<Handle>().unwrap());
    let mut next = || handles.next().unwrap();
    match role.as_str() {
        "member" => {
            let barrier = SharedBarrier::open(&next()).unwrap();
            let arrived = SharedCounter::open(&next()).unwrap();
            let mut member = barrier.join().unwrap();
            for step in 1..=STEPS {
                arrived.add(1).unwrap();
                member.wait().unwrap();
                assert_eq!(arrived.get(), Ok(3 * u64::from(step)));
                member.wait().unwrap();
            }
            say("met", member.number());
            wait_for_a_word();
            say("refused", member.wait().unwrap_err());
        }
        "waiter" => {
            let mutex = SharedMutex::open(&next()).unwrap();
            let condition = SharedCondition::open(&next()).unwrap();
            let done = SharedAtomicArray::<u64>::open(&next()).unwrap();
            let done = SharedCounter::try_from(done).unwrap();
            let held = mutex.lock().unwrap();
            say("waits", "");
            let _held = condition.wait_while(held, || done.get() == Ok(0)).unwrap();
            say("woken", "");
        }
        other => panic!("no role {other}"),
    }
}

fn start(role: &str, handles: &[Handle]) -> Peer {
    let handles: Vec<String> = handles.iter().map(ToString::to_string).collect();
    let mut command = again("role");
    Peer::start(command.env(ROLE, role).env(HANDLES, handles.join(" ")))
}

#[test]
fn a_member_that_is_killed_is_named_to_all_who_wait() {
    let barrier = SharedBarrier::new(3).unwrap();
    let arrived = SharedCounter::new(0).unwrap();
    let handles = [barrier.handle().unwrap(), arrived.handle().unwrap()];
    let mut here = barrier.join().unwrap();
    let mut peers = [start("member", &handles), start("member", &handles)];
    let begun = Instant::now();
    for step in 1..=STEPS {
        arrived.add(1).unwrap();
        here.wait().unwrap();
        assert_eq!(arrived.get(), Ok(3 * u64::from(step)));
        here.wait().unwrap();
    }
    println!("{:?} a meeting of three", begun.elapsed() / (2 * STEPS));
    let numbers = peers.each_mut().map(|peer| peer.hears("met"));
    let [killed, other] = &mut peers;
    let pid = killed.pid();
    other.nod();
    killed.kill();
    let broken = BarrierError::Broken {
        participant: numbers[0].parse().unwrap(),
        pid,
        died: true,
    };
    assert_eq!(here.wait(), Err(broken.clone()));
    assert_eq!(other.hears("refused"), broken.to_string());
    assert_eq!(here.wait(), Err(broken));
}

#[test]
fn a_waiter_that_is_killed_takes_no_wake_up_from_the_others() {
    let (mutex, condition) = (SharedMutex::new().unwrap(), SharedCondition::new().unwrap());
    let done = SharedCounter::new(0).unwrap();
    let handles = [
        mutex.handle().unwrap(),
        condition.handle().unwrap(),
        done.handle().unwrap(),
    ];
    let mut first = start("waiter", &handles);
    first.hears("waits");
    let mut second = start("waiter", &handles);
    second.hears("waits");
    // The first sleeps, is stopped, gets the only wake-up, and is killed before it can do anything with it.
    eventually("both sleep", || mutex.lock().is_ok());
    first.signal("-STOP");
    let held = mutex.lock().unwrap();
    done.add(1).unwrap();
    drop(held);
    condition.notify_one().unwrap();
    first.kill();
    second.hears("woken");
    second.ends_well();
}
