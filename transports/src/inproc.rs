//! Threads of one process: the message itself is handed over.
//!
//! | | send | receive |
//! | --- | --- | --- |
//! | copies by us | none (one of borrowed buffers) | none (one into an allocator that wants every payload) |
//!
//! Ordered; flush waits until the other side has taken every message out.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, Weak};

use numpush_message::{Buffer, DecodeError, Encoder, Flags, Header, Limits, Message};
use numpush_session::Refusal;

use numpush_os::lock;

use crate::deadline::connect_until;
use crate::endpoint::{Endpoint, Scheme};
use crate::error::{Error, Operation};
use crate::options::{Options, Parameter};
use crate::transfer::{Capabilities, PathReason, Received, Transfer, TransferPath};
use crate::transport::{AcceptContext, Acceptor, Bound, Context, Established, Factory, Transport};

/// The factory of this transport.
pub(crate) struct Inproc;

impl Factory for Inproc {
    fn scheme(&self) -> Scheme {
        Scheme::Inproc
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[Parameter::MAX]
    }

    /// Connects to the listener of this name in this process.
    fn connect(&self, to: &Endpoint, options: &Options) -> Result<Established, Error> {
        let name = to.address();
        let peer = format!("inproc:{name}");
        let queue = connect_until(&peer, options.connect_timeout, || {
            let listeners = lock(&LISTENERS);
            let queue = listeners.get(name).and_then(Weak::upgrade);
            queue.ok_or_else(|| io::ErrorKind::NotFound.into())
        })?;
        let (there, back) = (Arc::default(), Arc::default());
        let ours = Queues {
            peer_max: queue.max_message,
            out: Arc::clone(&there),
            back: Arc::clone(&back),
            pending: None,
            waits: false,
        };
        let theirs = Queues {
            peer_max: options.max_message,
            out: back,
            back: there,
            pending: None,
            waits: true,
        };
        lock(&queue.arrived).push_back(theirs);
        queue.change.notify_one();
        Ok(Established::new(ours, peer))
    }

    /// Listens under a name that is free in this process.
    fn listen(&self, at: &Endpoint, options: &Options) -> Result<Bound, Error> {
        let name = at.address();
        let address = format!("inproc:{name}");
        let mut listeners = lock(&LISTENERS);
        listeners.retain(|_, queue| queue.strong_count() > 0);
        if listeners.contains_key(name) {
            let taken = io::ErrorKind::AddrInUse.into();
            return Err(Error::io(Operation::Listen, &address)(taken));
        }
        let queue = Arc::new(ListenQueue {
            max_message: options.max_message,
            arrived: Mutex::default(),
            change: Condvar::new(),
        });
        listeners.insert(name.to_owned(), Arc::downgrade(&queue));
        Ok(Bound::new(InprocAcceptor { queue }, address))
    }
}

static LISTENERS: LazyLock<Mutex<HashMap<String, Weak<ListenQueue>>>> =
    LazyLock::new(Mutex::default);

/// Where connections wait to be accepted.
struct ListenQueue {
    /// What the accepting side takes in one message.
    max_message: u64,
    arrived: Mutex<VecDeque<Queues>>,
    change: Condvar,
}

struct InprocAcceptor {
    queue: Arc<ListenQueue>,
}

impl Acceptor for InprocAcceptor {
    fn accept(&mut self, cx: &AcceptContext<'_>) -> Result<Established, Error> {
        let mut arrived = lock(&self.queue.arrived);
        loop {
            if let Some(mut queues) = arrived.pop_front() {
                queues.waits = false;
                return Ok(Established::new(queues, cx.address.to_owned()));
            }
            if cx.deadline.has_passed() {
                return Err(cx.deadline.error(Operation::Accept, cx.address));
            }
            arrived = cx.deadline.wait(&self.queue.change, arrived);
        }
    }
}

/// One direction.
#[derive(Default)]
struct MessageQueue {
    state: Mutex<QueueState>,
    change: Condvar,
}

#[derive(Default)]
struct QueueState {
    messages: VecDeque<Received>,
    bytes: u64,
    /// The receiver has taken a message out, and has not returned it to its caller yet.
    in_hand: bool,
    /// The sender has closed.
    closed: bool,
    /// The receiver has no place for a message, and never will have.
    refused: bool,
    /// The receiver is dropped, and has not received all that was sent.
    lost: bool,
    /// The sender, or the receiver, is dropped.
    sender_gone: bool,
    receiver_gone: bool,
    /// Threads that wait for a change. A wake-up is a system call, even where nobody waits.
    waiting: u32,
}

/// One side of a connection.
struct Queues {
    peer_max: u64,
    out: Arc<MessageQueue>,
    back: Arc<MessageQueue>,
    /// A message that was taken out of `back`, and for which the allocator had no room.
    pending: Option<Received>,
    /// Nobody has accepted this side yet: it waits at a listener.
    waits: bool,
}

impl MessageQueue {
    /// Waits until `done` returns a result. Wakes nobody: see [`Self::unlock`].
    fn wait_for<T>(
        &self,
        operation: Operation,
        cx: &Context<'_>,
        mut done: impl FnMut(&mut QueueState) -> Option<Result<T, Error>>,
    ) -> Result<(T, MutexGuard<'_, QueueState>), Error> {
        let mut state = lock(&self.state);
        loop {
            if let Some(result) = done(&mut state) {
                return result.map(|value| (value, state));
            }
            if cx.deadline.has_passed() {
                return Err(cx.timeout(operation));
            }
            state.waiting += 1;
            state = cx.deadline.wait(&self.change, state);
            state.waiting -= 1;
        }
    }

    /// Ends a change, and wakes whoever waits for one, when the lock is free: it would wait for that otherwise.
    fn unlock(&self, state: MutexGuard<'_, QueueState>) {
        let wakes = state.waiting > 0;
        drop(state);
        if wakes {
            self.change.notify_all();
        }
    }
}

impl QueueState {
    fn push(&mut self, received: Received) {
        self.bytes += received.transfer.bytes;
        self.messages.push_back(received);
    }

    /// True if the receiver has every message.
    fn is_flushed(&self) -> bool {
        self.messages.is_empty() && !self.in_hand && !self.lost && !self.refused
    }

    /// Why nothing more can be sent, if nothing can.
    fn end_of_sending(&self, cx: &Context<'_>) -> Option<Error> {
        if self.refused {
            let (peer, reason) = (cx.peer.to_owned(), Refusal::NoRoom);
            return Some(Error::Refused { peer, reason });
        }
        self.receiver_gone.then(|| cx.disconnected(0))
    }
}

impl Transport for Queues {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            two_way: true,
            acknowledges: true,
            notices_death: true,
            limits_size: true,
            passes_descriptors: true,
            fills_allocator: false,
        }
    }

    fn send(&mut self, message: &Message<'_>, cx: &mut Context<'_>) -> Result<Transfer, Error> {
        let bytes = message.payload_len();
        Context::check_size(bytes, self.peer_max, "the peer")?;
        // Every limit of the wire holds here too: a program must not break when its endpoint changes.
        Encoder::new(message, Flags::default()).map_err(Error::Message)?;
        let buffers = message.buffers();
        let borrowed: u64 = buffers
            .filter(|buffer| buffer.is_borrowed())
            .map(|buffer| buffer.len() as u64)
            .sum();
        let reason = if borrowed > 0 {
            PathReason::Borrowed
        } else {
            PathReason::OnlyWay
        };
        let transfer = Transfer {
            id: 0,
            bytes,
            copied: message.copied_bytes() + borrowed,
            system_calls: 0,
            path: TransferPath::Handover,
            reason,
        };
        let owned = || {
            let transfer = Transfer {
                copied: 0,
                reason: PathReason::OnlyWay,
                ..transfer
            };
            Received::new(message.clone().into_owned_or_copy(), transfer)
        };
        // What is borrowed is copied once there is room for it, and outside the lock: nobody else takes the room.
        let mut ready = (borrowed == 0).then(owned);
        let window = cx.options.window;
        let ((), mut state) = self.out.wait_for(Operation::Send, cx, |state| {
            if let Some(error) = state.end_of_sending(cx) {
                return Some(Err(error));
            }
            let has_room = state.messages.is_empty() || state.bytes.saturating_add(bytes) <= window;
            has_room.then(|| {
                ready.take().into_iter().for_each(|it| state.push(it));
                Ok(())
            })
        })?;
        if borrowed > 0 {
            drop(state);
            let received = owned();
            state = lock(&self.out.state);
            if let Some(error) = state.end_of_sending(cx) {
                return Err(error);
            }
            state.push(received);
        }
        self.out.unlock(state);
        Ok(transfer)
    }

    fn recv(&mut self, cx: &mut Context<'_>) -> Result<Received, Error> {
        let received = match self.pending.take() {
            Some(received) => received,
            None => self.next_message(cx)?,
        };
        let mut takes = |buffer: &Buffer<'static>| cx.allocator.adopt(buffer.clone()).is_ok();
        if received.message.buffers().all(&mut takes) {
            self.hand_over();
            return Ok(received);
        }
        match copy_into(&received, cx) {
            Err(Error::NoRoom { peer, source }) => {
                self.pending = Some(received);
                if source.is_permanent() {
                    let mut state = lock(&self.back.state);
                    state.refused = true;
                    self.back.unlock(state);
                }
                Err(Error::NoRoom { peer, source })
            }
            result => {
                if result.is_ok() {
                    self.hand_over();
                }
                result
            }
        }
    }

    fn flush(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        let waited = self.out.wait_for(Operation::Flush, cx, |state| {
            if state.is_flushed() {
                Some(Ok(()))
            } else {
                state.end_of_sending(cx).map(Err)
            }
        });
        waited.map(|_| ())
    }

    fn close(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        self.flush(cx)?;
        let mut state = lock(&self.out.state);
        state.closed = true;
        self.out.unlock(state);
        Ok(())
    }
}

impl Queues {
    /// Reports that the caller has the message that was taken out.
    fn hand_over(&self) {
        let mut state = lock(&self.back.state);
        state.in_hand = false;
        self.back.unlock(state);
    }

    /// Takes the next message out.
    fn next_message(&self, cx: &Context<'_>) -> Result<Received, Error> {
        let (received, state) = self.back.wait_for(Operation::Recv, cx, |state| {
            if let Some(received) = state.messages.pop_front() {
                state.bytes -= received.transfer.bytes;
                state.in_hand = true;
                return Some(Ok(received));
            }
            if state.closed {
                return Some(Err(cx.closed()));
            }
            state.sender_gone.then(|| Err(cx.disconnected(0)))
        })?;
        self.back.unlock(state);
        Ok(received)
    }
}

/// The same message in buffers that the allocator takes.
fn copy_into(received: &Received, cx: &mut Context<'_>) -> Result<Received, Error> {
    let (message, mut transfer) = (&received.message, received.transfer);
    let encoder = Encoder::new(message, Flags::default()).map_err(Error::Message)?;
    let mut copy = || -> Result<_, DecodeError> {
        let limits = Limits::default().with_payload(u64::MAX);
        let (_, header) = Header::parse(encoder.head(), &limits)?;
        let mut buffers = Vec::with_capacity(encoder.buffers().len());
        for buffer in message.buffers() {
            let refused = match cx.allocator.adopt(buffer.clone()) {
                Ok(buffer) => {
                    buffers.push(buffer);
                    continue;
                }
                Err(refused) => refused,
            };
            let mut memory = cx.allocator.allocate(refused.len())?;
            memory.as_mut_slice().copy_from_slice(&refused);
            buffers.push(memory.freeze());
            transfer.copied += refused.len() as u64;
        }
        header.resolve(buffers)
    };
    let message = copy().map_err(|source| cx.invalid(source))?;
    transfer.reason = PathReason::Allocator;
    Ok(Received::new(message, transfer))
}

impl Drop for Queues {
    /// What was sent can still be received; a connection that is dropped in good order has closed. One that nobody has
    /// accepted has not: nobody has read what came for it.
    fn drop(&mut self) {
        let mut state = lock(&self.out.state);
        state.closed |= !self.waits && !std::thread::panicking();
        state.sender_gone = true;
        self.out.unlock(state);
        let mut state = lock(&self.back.state);
        state.receiver_gone = true;
        state.lost = state.in_hand || !state.messages.is_empty();
        // Dropped below: to give memory back may take long, and the sender waits for the lock.
        let _unread = std::mem::take(&mut state.messages);
        self.back.unlock(state);
    }
}
