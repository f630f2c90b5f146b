//! The side of the worker.

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use numpush_os::{end_process, ignore_interrupt, take_standard_input, wait_for_hangup};

use crate::channel::{Channel, MAX_FRAME};
use crate::pool::process::too_long;
use crate::pool::task::Tasks;

/// Set in the environment of a worker.
pub(super) const VARIABLE: &str = "NUMPUSH_WORKER";

/// What a worker says of a task, in the first byte of its answer.
pub(super) const DONE: u8 = 0;
pub(super) const PANICKED: u8 = 1;
pub(super) const UNKNOWN: u8 = 2;
pub(super) const ARGUMENTS: u8 = 3;

static SERVING: AtomicBool = AtomicBool::new(false);

pub(super) fn is_worker() -> bool {
    std::env::var_os(VARIABLE).is_some()
}

/// True in a worker whose program has not come to serve.
pub(super) fn is_unserved() -> bool {
    is_worker() && !SERVING.load(Ordering::Relaxed)
}

/// Runs tasks until the pool closes the socket.
pub(super) fn run(tasks: &Tasks) {
    SERVING.store(true, Ordering::Relaxed);
    let Ok(socket) = take_standard_input().map(UnixStream::from) else {
        end_process()
    };
    ignore_interrupt();
    if let Ok(socket) = socket.as_fd().try_clone_to_owned() {
        end_with_the_pool(socket);
    }
    remember_panics();
    let mut channel = Channel::new(socket);
    channel.set_eager(true);
    // The first word tells the pool that its program serves.
    let _ = channel.send_bytes(|hello| hello.push(DONE));
    while let Ok(call) = channel.receive_bytes() {
        let (mut outcome, mut bytes) = answer(tasks, &call);
        if bytes.len() >= MAX_FRAME {
            (outcome, bytes) = (ARGUMENTS, too_long("results").into());
        }
        let _ = std::io::stdout().flush();
        let sent = channel.send_bytes(|reply| {
            reply.push(outcome);
            reply.extend_from_slice(&bytes);
        });
        if sent.is_err() {
            break;
        }
    }
    end_process()
}

/// A pool that is gone needs no result, and its workers may be deep in a task.
fn end_with_the_pool(socket: OwnedFd) {
    let watch = move || {
        wait_for_hangup(&socket);
        end_process()
    };
    // Without the thread the worker ends after its task.
    let _ = std::thread::Builder::new()
        .name("numpush-watch".into())
        .stack_size(64 << 10)
        .spawn(watch);
}

/// A call is the name of the function, a zero byte and the arguments.
fn answer(tasks: &Tasks, call: &[u8]) -> (u8, Vec<u8>) {
    let mut halves = call.splitn(2, |&byte| byte == 0);
    let name = halves
        .next()
        .and_then(|name| std::str::from_utf8(name).ok())
        .unwrap_or("");
    let Some(task) = tasks.by_name.get(name) else {
        return (UNKNOWN, Vec::new());
    };
    match catch_unwind(AssertUnwindSafe(|| task(halves.next().unwrap_or(&[])))) {
        Ok(Ok(result)) => (DONE, result),
        Ok(Err(fault)) => (ARGUMENTS, fault.into()),
        Err(_) => {
            let last = LAST_PANIC
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            (
                PANICKED,
                rmp_serde::to_vec(&last.unwrap_or_default()).unwrap_or_default(),
            )
        }
    }
}

/// Message and place of the last panic of this process.
static LAST_PANIC: Mutex<Option<(String, String)>> = Mutex::new(None);

/// Keeps what a panic said, and lets the hook that was there print it too.
fn remember_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let payload = info.payload();
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
        let message = text.unwrap_or("a value that is no text").to_owned();
        let location = info.location().map(ToString::to_string).unwrap_or_default();
        *LAST_PANIC.lock().unwrap_or_else(PoisonError::into_inner) = Some((message, location));
        before(info);
    }));
}
