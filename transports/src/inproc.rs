//! Threads of one process: the message itself is handed over.
//!
//! | | send | receive |
//! | --- | --- | --- |
//! | copies by us | none (one of borrowed buffers) | none |
//!
//! Ordered; [`Transport::flush`] waits until the other side has taken every message out.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use std::{fmt, io};

use numpush_message::{Encoder, Flags, Message};

use crate::deadline;
use crate::deadline::connect_until;
use crate::error::Error;
use crate::options::Options;
use crate::transfer::{PathReason, Transfer, TransferPath};
use crate::transport::{Acceptor, AllocatorFactory, Capabilities, Received, Transport};

/// Connects to the listener of this name in this process.
///
/// # Errors
/// [`Error::Io`] if nobody listens for as long as the connect timeout.
pub fn connect(name: &str, options: &Options) -> Result<Box<dyn Transport>, Error> {
    let queue = connect_until(name, options.connect_timeout, || {
        let listeners = lock(&LISTENERS);
        listeners
            .get(name)
            .and_then(Weak::upgrade)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    })?;
    let (there, back) = (
        Arc::new(MessageQueue::default()),
        Arc::new(MessageQueue::default()),
    );
    let theirs = Arc::clone(&there);
    let (peer_max, queue_options) = (queue.options.max_message, queue.options.clone());
    let link = |options: Options, peer_max, out, back| Inproc {
        name: name.to_owned(),
        options,
        peer_max,
        out,
        back,
    };
    let arriving = link(
        queue_options,
        options.max_message,
        Arc::clone(&back),
        theirs,
    );
    lock(&queue.arrived).push_back(arriving);
    queue.change.notify_one();
    Ok(Box::new(link(options.clone(), peer_max, there, back)))
}

/// Listens under a name that is free in this process.
///
/// # Errors
/// [`Error::Io`] if the name is taken.
pub fn listen(name: &str, options: &Options) -> Result<Box<dyn Acceptor>, Error> {
    let mut listeners = lock(&LISTENERS);
    listeners.retain(|_, queue| queue.strong_count() > 0);
    if listeners.contains_key(name) {
        return Err(Error::io("listen on", name)(
            io::ErrorKind::AddrInUse.into(),
        ));
    }
    let (arrived, change) = (Mutex::default(), Condvar::new());
    let queue = Arc::new(ListenQueue {
        options: options.clone(),
        arrived,
        change,
    });
    listeners.insert(name.to_owned(), Arc::downgrade(&queue));
    Ok(Box::new(Listener {
        name: name.to_owned(),
        queue,
    }))
}

static LISTENERS: LazyLock<Mutex<HashMap<String, Weak<ListenQueue>>>> =
    LazyLock::new(Mutex::default);

/// Where links wait for their acceptor.
struct ListenQueue {
    options: Options,
    arrived: Mutex<VecDeque<Inproc>>,
    change: Condvar,
}

struct Listener {
    name: String,
    queue: Arc<ListenQueue>,
}

/// One direction.
#[derive(Default)]
struct MessageQueue {
    state: Mutex<MessageQueueState>,
    change: Condvar,
}

#[derive(Default)]
struct MessageQueueState {
    messages: VecDeque<Received>,
    bytes: u64,
    /// The sender has closed.
    closed: bool,
    /// The sender, or the receiver, is dropped.
    sender_gone: bool,
    receiver_gone: bool,
}

struct Inproc {
    name: String,
    options: Options,
    peer_max: u64,
    out: Arc<MessageQueue>,
    back: Arc<MessageQueue>,
}

impl Inproc {
    /// Waits for `done`, which says so or fails.
    fn wait_for<T>(
        &self,
        queue: &MessageQueue,
        operation: &'static str,
        timeout: Option<Duration>,
        mut done: impl FnMut(&mut MessageQueueState) -> Option<Result<T, Error>>,
    ) -> Result<T, Error> {
        let deadline = deadline::deadline(timeout);
        let mut state = lock(&queue.state);
        loop {
            if let Some(result) = done(&mut state) {
                queue.change.notify_all();
                return result;
            }
            if deadline::passed(deadline) {
                return Err(Error::Timeout {
                    operation,
                    after: timeout.unwrap_or_default(),
                });
            }
            state = wait(&queue.change, state, deadline);
        }
    }

    fn gone(&self) -> Error {
        Error::Disconnected {
            peer: self.peer().to_owned(),
            missing: 0,
        }
    }
}

impl Transport for Inproc {
    fn send(&mut self, message: &Message<'_>) -> Result<Transfer, Error> {
        let bytes = message.payload_len();
        for (limit, whose) in [
            (self.options.max_message, "this side"),
            (self.peer_max, "the peer"),
        ] {
            if bytes > limit {
                return Err(Error::TooLarge {
                    len: bytes,
                    limit,
                    whose,
                });
            }
        }
        // Every limit of the wire holds here too: a program must not break when its endpoint changes.
        Encoder::new(message, 0, Flags::default()).map_err(Error::Message)?;
        let borrowed = message.buffers().filter(|buffer| buffer.is_borrowed());
        let borrowed: u64 = borrowed.map(|buffer| buffer.len() as u64).sum();
        let reason = if borrowed > 0 {
            PathReason::Borrowed
        } else {
            PathReason::OnlyWay
        };
        let copied = message.copied_bytes() + borrowed;
        let transfer = Transfer {
            bytes,
            copied,
            system_calls: 0,
            path: TransferPath::Handover,
            reason,
        };
        let window = self.options.window;
        self.wait_for(&self.out, "send", self.options.send_timeout, |state| {
            if state.receiver_gone {
                return Some(Err(self.gone()));
            }
            (state.messages.is_empty() || state.bytes.saturating_add(bytes) <= window)
                .then_some(Ok(()))
        })?;
        let received = Received {
            message: message.clone().into_owned_or_copy(),
            transfer: Transfer {
                copied: 0,
                reason: PathReason::OnlyWay,
                ..transfer
            },
        };
        let mut state = lock(&self.out.state);
        state.messages.push_back(received);
        state.bytes += bytes;
        self.out.change.notify_all();
        Ok(transfer)
    }

    fn recv(&mut self) -> Result<Received, Error> {
        self.wait_for(&self.back, "recv", self.options.recv_timeout, |state| {
            if let Some(received) = state.messages.pop_front() {
                state.bytes -= received.transfer.bytes;
                return Some(Ok(received));
            }
            if state.closed {
                return Some(Err(Error::Closed {
                    peer: self.peer().to_owned(),
                }));
            }
            state.sender_gone.then(|| Err(self.gone()))
        })
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.wait_for(
            &self.out,
            "flush",
            self.options.send_timeout,
            |state| match state {
                MessageQueueState { messages, .. } if messages.is_empty() => Some(Ok(())),
                MessageQueueState {
                    receiver_gone: true,
                    ..
                } => Some(Err(self.gone())),
                _ => None,
            },
        )
    }

    fn close(&mut self) -> Result<(), Error> {
        self.flush()?;
        lock(&self.out.state).closed = true;
        self.out.change.notify_all();
        Ok(())
    }

    fn set_timeouts(&mut self, send: Option<Duration>, recv: Option<Duration>) {
        (self.options.send_timeout, self.options.recv_timeout) = (send, recv);
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            two_way: true,
            acknowledges: true,
            notices_death: true,
            limits_size: true,
            passes_descriptors: true,
        }
    }

    fn peer(&self) -> &str {
        &self.name
    }
}

impl Drop for Inproc {
    /// What was sent can still be received; a link that is dropped in good order has closed.
    fn drop(&mut self) {
        let mut state = lock(&self.out.state);
        state.closed |= !std::thread::panicking();
        state.sender_gone = true;
        drop(state);
        self.out.change.notify_all();
        let mut state = lock(&self.back.state);
        state.receiver_gone = true;
        state.messages.clear();
        drop(state);
        self.back.change.notify_all();
    }
}

impl Acceptor for Listener {
    fn accept(&mut self, timeout: Option<Duration>) -> Result<Box<dyn Transport>, Error> {
        let deadline = deadline::deadline(timeout);
        let mut arrived = lock(&self.queue.arrived);
        loop {
            if let Some(link) = arrived.pop_front() {
                return Ok(Box::new(link));
            }
            if deadline::passed(deadline) {
                return Err(Error::Timeout {
                    operation: "accept",
                    after: timeout.unwrap_or_default(),
                });
            }
            arrived = wait(&self.queue.change, arrived, deadline);
        }
    }

    /// Nothing lands: a message is handed over where it lies.
    fn set_allocators(&mut self, _: AllocatorFactory) {}

    fn address(&self) -> String {
        format!("inproc:{}", self.name)
    }
}

fn wait<'g, T>(
    change: &Condvar,
    guard: MutexGuard<'g, T>,
    deadline: Option<Instant>,
) -> MutexGuard<'g, T> {
    match deadline {
        None => change.wait(guard).unwrap_or_else(PoisonError::into_inner),
        Some(deadline) => {
            let left = deadline.saturating_duration_since(Instant::now());
            change
                .wait_timeout(guard, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0
        }
    }
}

/// A panic elsewhere leaves queues as whole as they were: each change is one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Inproc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inproc")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
