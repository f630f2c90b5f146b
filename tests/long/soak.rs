//! Sends and receives over every transport for as long as it is told, and fails if memory or descriptors grow.
//!
//! `tests/long/soak [SECONDS]`. A round opens a connection of each kind, sends messages of several sizes to and fro, and
//! closes it. What the process holds after a round is compared between the second quarter of the time and the last.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use ndarray::Ix1;
use numpush::Options;
use numpush::shm::{Arena, SharedArray};
use numpush_tests::{TempPath, bytes, open_descriptors};

const SIZES: [usize; 5] = [1, 1000, 70_000, 1 << 20, 8 << 20];
/// Memory may grow by this part of itself, and by a MiB for the allocator's mood.
const DRIFT: f64 = 0.01;
const MIB: u64 = 1 << 20;

/// The most that was seen after a round.
#[derive(Clone, Copy, Debug, Default)]
struct Peak {
    memory: u64,
    descriptors: usize,
}

impl Peak {
    fn look(&mut self) {
        self.memory = self.memory.max(resident_bytes());
        self.descriptors = self.descriptors.max(open_descriptors());
    }
}

fn main() -> ExitCode {
    let seconds = std::env::args()
        .nth(1)
        .map_or(Ok(3600), |text| text.parse());
    let time = Duration::from_secs(seconds.expect("a number of seconds"));
    let folder = TempPath::new("soak");
    std::fs::create_dir(&folder.0).unwrap();
    let place = folder.0.display();
    let endpoints = [
        "tcp://127.0.0.1:0?checksums=on".to_owned(),
        format!("unix:{place}/socket"),
        format!("file:{place}/spool/"),
        "inproc:soak".to_owned(),
    ];
    let arena = Arena::new(64 << 20);
    let (mut early, mut late, mut rounds) = (Peak::default(), Peak::default(), 0_u64);
    let began = Instant::now();
    while began.elapsed() < time {
        endpoints.iter().for_each(|endpoint| echo(endpoint, &arena));
        rounds += 1;
        match began.elapsed().as_secs_f64() / time.as_secs_f64() {
            0.25..0.5 => early.look(),
            0.75.. => late.look(),
            _ => {}
        }
    }
    println!(
        "{rounds} rounds in {:?}: {early:?}, then {late:?}",
        began.elapsed()
    );
    #[expect(clippy::cast_precision_loss, reason = "a share of a few megabytes")]
    let allowed = (early.memory as f64) * (1.0 + DRIFT) + MIB as f64;
    #[expect(clippy::cast_precision_loss, reason = "a share of a few megabytes")]
    let grows = late.memory as f64 > allowed || late.descriptors > early.descriptors;
    let left = arena.usage().used;
    println!("{left} bytes of the arena in use");
    ExitCode::from(u8::from(grows || rounds < 4 || left > 0))
}

/// One connection: what is sent comes back, from shared memory, as it was.
fn echo(endpoint: &str, arena: &Arena) {
    let options = Options::new().allocator(arena.clone());
    let mut listener = options.listen(endpoint).unwrap();
    let address = listener.address();
    let client = std::thread::spawn(move || {
        let mut connection = numpush::connect(&address).unwrap();
        for (seed, size) in (0..).zip(SIZES) {
            let message = bytes(size, seed);
            connection.send(&message).unwrap();
            assert_eq!(connection.recv().unwrap().message, message);
        }
        connection.close().unwrap();
    });
    let mut connection = listener.accept().unwrap();
    for _ in SIZES {
        let received = connection.recv().unwrap();
        let message = if endpoint.starts_with("inproc:") {
            // Threads of one process pass buffers on as they are.
            received.message
        } else {
            let shared = SharedArray::<u8, Ix1>::try_from(received.message).unwrap();
            shared.snapshot().unwrap()
        };
        connection.send(&message).unwrap();
    }
    client.join().unwrap();
}

fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    let resident: u64 = pages.split(' ').nth(1).unwrap().parse().unwrap();
    resident * 4096
}
