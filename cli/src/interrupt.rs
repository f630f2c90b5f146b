//! Ctrl-C and SIGTERM: the first one ends the work in good order, a second one ends the process.
//!
//! The work runs on a thread of its own. Where it waits in steps, it looks for a signal at each step. Calls of a connection
//! are cancelled. Where it can do neither (a wait for somebody who listens, a ZeroMQ socket), the process ends without it.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use numpush::Connection;
use numpush::transfer::Canceller;

use crate::failure::Failure;

/// The first signal; 0 while there was none.
static CAUGHT: AtomicI32 = AtomicI32::new(0);

/// Pieces of work that must not be cut off.
static BUSY: AtomicUsize = AtomicUsize::new(0);

/// How long a wait may last before it looks for a signal.
pub(crate) const STEP: Duration = Duration::from_millis(100);

/// How long the work has to see a signal by itself.
const GRACE: Duration = Duration::from_millis(500);

/// Catches signals from now on.
pub(crate) fn watch() {
    // Without a handler a signal ends the process at once.
    let Ok(mut signals) = Signals::new([SIGINT, SIGTERM]) else {
        return;
    };
    let watch = move || {
        for signal in signals.forever() {
            if CAUGHT.swap(signal, Ordering::SeqCst) != 0 {
                #[expect(clippy::exit, reason = "the user asked twice")]
                std::process::exit(128 + signal);
            }
            cancel_all();
        }
    };
    let _ = std::thread::Builder::new()
        .name("signals".into())
        .spawn(watch);
}

/// Fails if there was a signal.
pub(crate) fn check() -> Result<(), Failure> {
    match CAUGHT.load(Ordering::SeqCst) {
        0 => Ok(()),
        SIGTERM => Err(Failure::Terminated),
        _ => Err(Failure::Interrupted),
    }
}

/// The connections whose calls a signal ends.
static CANCELLERS: Mutex<BTreeMap<usize, Canceller>> = Mutex::new(BTreeMap::new());

/// A connection whose waits a signal ends, while this lives.
#[derive(Debug)]
pub(crate) struct Cancels(Option<usize>);

impl Cancels {
    /// From now on a signal ends the call at hand of `connection`, or its next one.
    pub(crate) fn calls_of(connection: &Connection) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let Ok(canceller) = connection.canceller() else {
            return Self(None);
        };
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        cancellers().insert(number, canceller.clone());
        // The signal may have come before.
        if check().is_err() {
            canceller.cancel();
        }
        Self(Some(number))
    }

    /// True if calls of the connection can be cancelled.
    pub(crate) fn can(&self) -> bool {
        self.0.is_some()
    }
}

impl Drop for Cancels {
    fn drop(&mut self) {
        if let Some(number) = self.0 {
            cancellers().remove(&number);
        }
    }
}

/// Ends the calls of all connections, or else their next ones.
pub(crate) fn cancel_all() {
    cancellers().values().for_each(Canceller::cancel);
}

fn cancellers() -> std::sync::MutexGuard<'static, BTreeMap<usize, Canceller>> {
    CANCELLERS
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Waits for a signal.
pub(crate) fn wait() {
    while check().is_ok() {
        std::thread::sleep(STEP);
    }
}

/// Work that a first signal does not cut off, while this lives.
#[derive(Debug)]
pub(crate) struct Busy(());

impl Busy {
    pub(crate) fn new() -> Self {
        BUSY.fetch_add(1, Ordering::SeqCst);
        Self(())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        BUSY.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Runs the work, and returns without it if it does not end soon after a signal.
pub(crate) fn guarded(
    work: impl FnOnce() -> Result<(), Failure> + Send + 'static,
) -> Result<(), Failure> {
    let (done, result) = mpsc::channel();
    let spawned = std::thread::Builder::new().spawn(move || {
        let _ = done.send(work());
    });
    spawned.map_err(Failure::file("numpush".as_ref(), "cannot start a thread"))?;
    let mut seen: Option<Instant> = None;
    loop {
        match result.recv_timeout(STEP.min(Duration::from_millis(20))) {
            Ok(result) => return result,
            // The thread panicked, and has printed why.
            Err(RecvTimeoutError::Disconnected) => std::process::abort(),
            Err(RecvTimeoutError::Timeout) => {}
        }
        let Err(signal) = check() else {
            continue;
        };
        let since = *seen.get_or_insert_with(Instant::now);
        if since.elapsed() > GRACE && BUSY.load(Ordering::SeqCst) == 0 {
            return Err(signal);
        }
    }
}

/// A timeout given in seconds.
pub(crate) fn seconds(timeout: Option<f64>) -> Result<Option<Duration>, Failure> {
    let parse = |seconds| Duration::try_from_secs_f64(seconds);
    timeout
        .map(parse)
        .transpose()
        .map_err(|_| Failure::Usage("--timeout: expected a number of seconds from 0 on".into()))
}
