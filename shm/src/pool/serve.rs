//! The side of the worker.

use std::collections::VecDeque;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use numpush_os::{end_process, ignore_interrupt, take_standard_input, wait_for_hangup};

use crate::object::{RawObject, handle_of};
use crate::pool::encoded::Encoded;
use crate::pool::frames::{Inbox, MAX_FRAME, Outbox, Received};
use crate::pool::function::Tasks;
use crate::pool::protocol::{Order, Reply, too_long};
use crate::pool::role::{LOOK, Role, role};

static SERVING: AtomicBool = AtomicBool::new(false);

impl Tasks {
    /// In a worker, runs tasks until the pool ends, and then ends the process. In any other process, does nothing.
    ///
    /// A worker is a process that a pool started, with the socket of the pool as its standard input. A program that a
    /// task starts is none, whatever environment it inherits.
    pub fn serve(self) {
        match role() {
            Role::Worker => Server::run(&self),
            Role::Orphan => end_process(),
            Role::Program => {}
        }
    }
}

/// True in a worker whose program has not called [`Tasks::serve`] yet.
pub(super) fn is_unserved() -> bool {
    !SERVING.load(Ordering::Relaxed) && role() != Role::Program
}

/// A worker at work.
struct Server {
    socket: UnixStream,
    outbox: Outbox,
    /// The values of results that the pool has not opened yet, oldest first.
    kept: VecDeque<Vec<Arc<RawObject>>>,
}

impl Server {
    /// Runs tasks until the pool closes the socket.
    fn run(tasks: &Tasks) -> ! {
        SERVING.store(true, Ordering::Relaxed);
        let Ok(socket) = take_standard_input().map(UnixStream::from) else {
            end_process()
        };
        ignore_interrupt();
        if let Ok(socket) = socket.as_fd().try_clone_to_owned() {
            end_with_the_pool(socket);
        }
        remember_panics();
        let mut server = Self {
            socket,
            outbox: Outbox::default(),
            kept: VecDeque::new(),
        };
        // The empty frame tells the pool that the program serves.
        server.send(|_| {});
        let mut inbox = Inbox::default();
        loop {
            while let Ok(Some(frame)) = inbox.next() {
                server.obey(tasks, frame);
            }
            if fill_eagerly(&mut inbox, &server.socket) == Received::End {
                end_process()
            }
        }
    }

    fn obey(&mut self, tasks: &Tasks, frame: &[u8]) {
        match Order::decode(frame) {
            Some(Order::Call { task, arguments }) => self.answer(tasks, task, arguments),
            Some(Order::Opened) => drop(self.kept.pop_front()),
            // Not a pool of this version.
            None => end_process(),
        }
    }

    fn answer(&mut self, tasks: &Tasks, task: &str, arguments: &[u8]) {
        let result = run_task(tasks, task, arguments);
        let _ = std::io::stdout().flush();
        match result {
            Err(reply) => self.send(|frame| reply.encode(frame)),
            Ok(Encoded { bytes, values, .. }) if values.is_empty() => {
                self.send(|frame| Reply::Done(&bytes).encode(frame));
            }
            Ok(Encoded { bytes, values, .. }) => {
                let handles: Result<_, _> = values.iter().map(|value| handle_of(value)).collect();
                match handles {
                    Ok(handles) => {
                        self.kept.push_back(values);
                        let result = &bytes;
                        self.send(|frame| Reply::DoneWithValues { handles, result }.encode(frame));
                    }
                    Err(error) => {
                        self.send(|frame| Reply::Unsendable(error.to_string()).encode(frame));
                    }
                }
            }
        }
    }

    /// Sends a reply, and ends the process if nobody receives it.
    fn send(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let fits = self.outbox.push(write).is_ok();
        if !fits || self.outbox.flush(&self.socket, true).is_err() {
            end_process()
        }
    }
}

/// Looks for orders for [`LOOK`] before the thread sleeps: a wake-up takes longer than a small task. The thread yields the
/// processor before each look, so that a busy machine loses nothing, and the pool may come first.
fn fill_eagerly(inbox: &mut Inbox, socket: &UnixStream) -> Received {
    let until = Instant::now() + LOOK;
    while Instant::now() < until {
        std::thread::yield_now();
        let received = inbox.fill(socket, false);
        if received != Received::Nothing {
            return received;
        }
    }
    inbox.fill(socket, true)
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

/// The result of a task, or the reply that says why there is none.
fn run_task(tasks: &Tasks, task: &str, arguments: &[u8]) -> Result<Encoded, Reply<'static>> {
    let task = tasks.by_name.get(task).ok_or(Reply::Unknown)?;
    match catch_unwind(AssertUnwindSafe(|| task(arguments))) {
        // Room for the mark, and for the handles.
        Ok(Ok(result)) if result.bytes.len() < MAX_FRAME - result.values.len() * 256 => Ok(result),
        Ok(Ok(_)) => Err(Reply::Unsendable(too_long("results"))),
        Ok(Err(fault)) => Err(Reply::Unsendable(fault)),
        Err(_) => {
            let (message, location) = last_panic().take().unwrap_or_default();
            Err(Reply::Panicked { message, location })
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
