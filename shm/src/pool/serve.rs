//! The side of the worker.

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};

use numpush_os::{end_process, ignore_interrupt, take_standard_input, wait_for_hangup};

use crate::object::{Channel, MAX_FRAME};
use crate::pool::protocol::{Call, Reply, VARIABLE, too_long};
use crate::pool::task::Tasks;

static SERVING: AtomicBool = AtomicBool::new(false);

impl Tasks {
    /// In a worker, runs tasks until the pool ends, and then ends the process. In any other process, does nothing.
    pub fn serve(self) {
        if is_worker() {
            run(&self);
        }
    }
}

fn is_worker() -> bool {
    std::env::var_os(VARIABLE).is_some()
}

/// True in a worker whose program has not called [`Tasks::serve`] yet.
pub(super) fn is_unserved() -> bool {
    is_worker() && !SERVING.load(Ordering::Relaxed)
}

/// Runs tasks until the pool closes the socket.
fn run(tasks: &Tasks) {
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
    // The empty frame tells the pool that the program serves.
    let _ = channel.send_bytes(|_| {});
    while let Ok(frame) = channel.receive_bytes() {
        let mut reply = reply_to(tasks, &frame);
        if matches!(&reply, Reply::Done(result) if result.len() >= MAX_FRAME) {
            reply = Reply::Unsendable(too_long("results"));
        }
        let _ = std::io::stdout().flush();
        if channel.send_bytes(|frame| reply.encode(frame)).is_err() {
            break;
        }
    }
    end_process()
}

/// Ends the process as soon as the pool closes the socket, even deep in a task: nobody needs the result then.
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

fn reply_to(tasks: &Tasks, frame: &[u8]) -> Reply {
    let Some(Call { task, arguments }) = Call::decode(frame) else {
        return Reply::Unknown;
    };
    let Some(task) = tasks.by_name.get(task) else {
        return Reply::Unknown;
    };
    match catch_unwind(AssertUnwindSafe(|| task(arguments))) {
        Ok(Ok(result)) => Reply::Done(result),
        Ok(Err(fault)) => Reply::Unsendable(fault),
        Err(_) => {
            let (message, location) = last_panic().take().unwrap_or_default();
            Reply::Panicked { message, location }
        }
    }
}

/// Message and place of the last panic of this process.
static LAST_PANIC: Mutex<Panic> = Mutex::new(None);

type Panic = Option<(String, String)>;

fn last_panic() -> MutexGuard<'static, Panic> {
    numpush_os::lock(&LAST_PANIC)
}

/// Keeps the message of a panic, and lets the hook that was there before print it too.
fn remember_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let payload = info.payload();
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
        let message = text.unwrap_or("a value that is not text").to_owned();
        let location = info.location().map(ToString::to_string).unwrap_or_default();
        *last_panic() = Some((message, location));
        before(info);
    }));
}
