//! Measurements, which are not for a machine that does other things: `cargo test -p numpush-tests --test poller -- --ignored
//! --nocapture scale`.

use std::time::{Duration, Instant};

use numpush::poller::Event;
use numpush::{Connection, Listener, Poller};
use numpush_tests::{PATIENCE, TempPath, bytes, open_descriptors};

const ROUNDS: usize = 20_000;

fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Round trips of one connection, from the shortest to the longest.
fn round_trips(poller: &mut Poller, near: &mut Connection) -> Vec<Duration> {
    let message = bytes(64, 1);
    let mut times: Vec<Duration> = std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let ask = |_| {
                let start = Instant::now();
                near.send(&message).unwrap();
                near.recv().unwrap();
                start.elapsed()
            };
            (0..ROUNDS).map(ask).collect()
        });
        for _ in 0..ROUNDS {
            let Some(Event::Message { key, received }) = poller.wait(PATIENCE).unwrap() else {
                panic!("no message");
            };
            poller.send(key, &received.message).unwrap();
        }
        asking.join().unwrap()
    });
    times.sort();
    times
}

fn join(poller: &mut Poller, listener: &mut Listener) -> Connection {
    let near = numpush::connect(&listener.address()).unwrap();
    poller.add(listener.accept_for(PATIENCE).unwrap()).unwrap();
    near
}

#[test]
#[ignore = "a measurement"]
fn idle_connections_cost_a_good_one_nothing() {
    let place = TempPath::new("scale");
    let mut listener = numpush::listen(&format!("unix:{}", place.0.display())).unwrap();
    let mut poller = Poller::new().unwrap();
    let mut good = join(&mut poller, &mut listener);
    let mut idle = Vec::new();
    let mut first = None;
    for count in [0, 1000, 9000] {
        let before = memory();
        for _ in idle.len()..count {
            idle.push(join(&mut poller, &mut listener));
        }
        while poller.wait(Duration::ZERO).unwrap().is_some() {}
        let times = round_trips(&mut poller, &mut good);
        let (half, most) = (times[ROUNDS / 2], times[ROUNDS * 99 / 100]);
        let first = *first.get_or_insert(most);
        println!(
            "{count} idle: median {half:?}, p99 {most:?}, {:.2} of p99 without; {} KiB more for both ends; {} descriptors",
            most.as_secs_f64() / first.as_secs_f64(),
            memory().saturating_sub(before),
            open_descriptors(),
        );
    }
}
