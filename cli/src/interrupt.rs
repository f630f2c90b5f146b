//! Ctrl-C ends a wait, so that sockets and half-written files are taken away; a second one ends the process.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use numpush::transfer::Received;
use numpush::{Connection, Listener};

use crate::failure::Failure;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// How long a wait may last before it looks for an interrupt.
const STEP: Duration = Duration::from_millis(100);

pub(crate) fn watch() {
    let handler = || {
        if INTERRUPTED.swap(true, Ordering::Relaxed) {
            #[expect(clippy::exit, reason = "the user asked twice")]
            std::process::exit(130);
        }
    };
    // Without a handler Ctrl-C still ends the process, only less tidily.
    let _ = ctrlc::set_handler(handler);
}

pub(crate) fn check() -> Result<(), Failure> {
    if INTERRUPTED.load(Ordering::Relaxed) {
        Err(Failure::Interrupted)
    } else {
        Ok(())
    }
}

/// Waits for Ctrl-C.
pub(crate) fn wait() {
    while check().is_ok() {
        std::thread::sleep(STEP);
    }
}

/// How long is left of a wait of `timeout` seconds.
pub(crate) struct Patience {
    left: Option<Duration>,
}

impl Patience {
    pub(crate) fn new(timeout: Option<Duration>) -> Self {
        Self { left: timeout }
    }

    fn step(&mut self, error: numpush::Error) -> Result<(), Failure> {
        check()?;
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(STEP);
            if left.is_zero() {
                return Err(error.into());
            }
        }
        Ok(())
    }
}

/// Accepts the next connection.
pub(crate) fn accept(
    listener: &mut Listener,
    timeout: Option<Duration>,
) -> Result<Connection, Failure> {
    let mut patience = Patience::new(timeout);
    loop {
        match listener.accept_for(STEP) {
            Err(error @ numpush::Error::Timeout { .. }) => patience.step(error)?,
            result => return Ok(result?),
        }
    }
}

/// Receives the next message of `connection`.
pub(crate) fn recv(
    connection: &mut Connection,
    timeout: Option<Duration>,
) -> Result<Received, Failure> {
    connection.set_timeouts(None, Some(STEP));
    let mut patience = Patience::new(timeout);
    loop {
        match connection.recv() {
            Err(error @ numpush::Error::Timeout { .. }) => patience.step(error)?,
            result => return Ok(result?),
        }
    }
}

/// A timeout given in seconds.
pub(crate) fn seconds(timeout: Option<f64>) -> Result<Option<Duration>, Failure> {
    let parse = |seconds| Duration::try_from_secs_f64(seconds);
    timeout
        .map(parse)
        .transpose()
        .map_err(|_| Failure::Usage("--timeout wants a number of seconds from 0 on".into()))
}
