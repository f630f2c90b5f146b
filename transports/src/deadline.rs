//! How long to wait, and how often to ask.

use std::io;
use std::time::{Duration, Instant};

use crate::error::Error;

/// For a peer that has connected to say hello.
pub(crate) const HANDSHAKE: Duration = Duration::from_secs(5);

/// For a listener to answer: it may be busy before it accepts.
pub(crate) const ANSWER: Duration = Duration::from_secs(30);

/// From the first byte of a record to the end of its header.
const HEADER: Duration = Duration::from_secs(5);

/// For a payload: this long, and as long again as the slowest rate takes.
const PAYLOAD: Duration = Duration::from_secs(30);
const SLOWEST_BYTES_PER_SECOND: u64 = 64 << 10;

/// How long a record may take from its first byte on; `payload` is its length, once it is known.
pub(crate) fn for_record(payload: Option<u64>) -> Duration {
    match payload {
        None => HEADER,
        Some(len) => HEADER + PAYLOAD + Duration::from_secs(len / SLOWEST_BYTES_PER_SECOND),
    }
}

/// The end of a wait of at most `timeout` that begins now.
pub(crate) fn deadline(timeout: Option<Duration>) -> Option<Instant> {
    timeout.and_then(|timeout| Instant::now().checked_add(timeout))
}

/// The nearer of two ends.
pub(crate) fn nearer(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// True if the wait is over.
pub(crate) fn passed(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|deadline| Instant::now() >= deadline)
}

/// Connects as often as it takes for the other side to appear.
pub(crate) fn connect_until<T>(
    address: &str,
    timeout: Duration,
    mut connect: impl FnMut() -> io::Result<T>,
) -> Result<T, Error> {
    let mut backoff = Backoff::new();
    let deadline = Instant::now() + timeout;
    loop {
        let error = match connect() {
            Ok(connected) => return Ok(connected),
            Err(error) => error,
        };
        let may_appear = matches!(
            error.kind(),
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound | io::ErrorKind::WouldBlock
        );
        if !may_appear || Instant::now() >= deadline {
            return Err(Error::io("connect to", address)(error));
        }
        backoff.sleep();
    }
}

/// Sleeps that grow, for what can only be asked again and again.
pub(crate) struct Backoff(Duration);

impl Backoff {
    pub(crate) fn new() -> Self {
        Self(Duration::from_micros(50))
    }

    pub(crate) fn sleep(&mut self) {
        std::thread::sleep(self.0);
        self.0 = (self.0 * 2).min(Duration::from_millis(10));
    }
}
