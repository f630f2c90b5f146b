//! Waiting for another process to appear.

use std::io;
use std::time::{Duration, Instant};

use crate::error::Error;

/// Connects as often as it takes for the other side to appear.
pub(crate) fn connect_until<T>(
    address: &str,
    timeout: Duration,
    mut connect: impl FnMut() -> io::Result<T>,
) -> Result<T, Error> {
    let mut pause = Pause::new();
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
        pause.sleep();
    }
}

/// Sleeps that grow, for what can only be asked again and again.
pub(crate) struct Pause(Duration);

impl Pause {
    pub(crate) fn new() -> Self {
        Self(Duration::from_micros(50))
    }

    pub(crate) fn sleep(&mut self) {
        std::thread::sleep(self.0);
        self.0 = (self.0 * 2).min(Duration::from_millis(10));
    }
}
