//! ZeroMQ, by the `zeromq` crate: PUSH to PULL, PUB to SUB, REQ to REP, and whatever speaks ZMTP on the other side.
//!
//! | | send | receive |
//! | --- | --- | --- |
//! | copies by us | none of shared buffers, one of borrowed ones | none if the frame is aligned and the allocator takes it, else one |
//! | copies by the runtime and the kernel | two | two |
//!
//! A message is a multipart message: preamble and header, then one frame a buffer. Ordered per peer. What the patterns
//! lack, [`Capabilities`] says: nothing is acknowledged, and a peer that dies is not noticed.
//!
//! The runtime of the crate belongs to the link: one thread, gone with it.
//!
//! # Whom to trust
//!
//! `zeromq` 0.7 neither authenticates a peer nor limits what it may claim: a frame of 2^36 bytes makes the allocator
//! abort the process. So [`listen`] takes only loopback addresses and ipc paths, unless the caller says that every
//! machine that can reach the port is trusted.

use std::fmt;
use std::net::ToSocketAddrs;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use numpush_message::{
    Buffer, BufferAllocator, DecodeError, Encoder, Flags, Header, Limits, Message, PREAMBLE_LEN,
};
use tokio::runtime::{Builder, Runtime};
use zeromq::{
    PubSocket, PullSocket, PushSocket, RepSocket, ReqSocket, Socket as _, SocketRecv as _,
    SocketSend as _, SubSocket, ZmqError, ZmqMessage,
};

use crate::deadline;
use crate::deadline::Backoff;
use crate::error::Error;
use crate::options::Options;
use crate::transfer::{PathReason, Transfer, TransferPath};
use crate::transport::{Acceptor, AllocatorFactory, Capabilities, Received, Transport};

/// The kind of socket on our side.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Sends to one of the PULL peers in turn.
    Push,
    /// Receives from all PUSH peers.
    Pull,
    /// Sends to every SUB peer that is there.
    Pub,
    /// Receives from all PUB peers.
    Sub,
    /// Sends a request, receives the reply.
    Req,
    /// Receives a request, sends the reply.
    Rep,
}

/// Connects to a ZeroMQ endpoint, `tcp://host:port` or `ipc:///path`.
///
/// # Errors
/// [`Error::Zmq`] if nobody listens for as long as the connect timeout, or the peer's pattern does not fit ours.
pub fn connect(
    endpoint: &str,
    pattern: Pattern,
    options: &Options,
    allocator: Box<dyn BufferAllocator>,
) -> Result<Box<dyn Transport>, Error> {
    let mut link = Zmq::new(endpoint, pattern, options, allocator)?;
    let runtime = &link.runtime;
    let socket = link.socket.as_mut().ok_or_else(|| Error::Failed {
        peer: endpoint.to_owned(),
    })?;
    let attempt = async {
        let deadline = Instant::now() + options.connect_timeout;
        let mut pause = Duration::from_millis(1);
        loop {
            match tokio::time::timeout_at(deadline.into(), socket.connect(endpoint)).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) if Instant::now() >= deadline => return Err(error),
                Ok(Err(_)) => tokio::time::sleep(pause).await,
                Err(_) => return Err(ZmqError::ConnectTimeout(options.connect_timeout)),
            }
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    };
    runtime
        .block_on(attempt)
        .map_err(zmq_error("connect to", endpoint))?;
    Ok(Box::new(link))
}

/// Listens on a ZeroMQ endpoint. The one link it accepts stands for all peers.
///
/// # Errors
/// [`Error::Address`] for an address that is not loopback, unless `trusted`; [`Error::Zmq`] if it is taken.
pub fn listen(
    endpoint: &str,
    pattern: Pattern,
    trusted: bool,
    options: &Options,
    allocators: &AllocatorFactory,
) -> Result<Box<dyn Acceptor>, Error> {
    if !trusted && !is_local(endpoint) {
        let fault = "a ZeroMQ listener takes only loopback addresses: any peer could abort the process. Add ?trusted=1 \
                     if every machine that can reach it is trusted";
        return Err(Error::Address {
            address: endpoint.to_owned(),
            fault,
        });
    }
    let mut link = Zmq::new(endpoint, pattern, options, allocators.make())?;
    let runtime = &link.runtime;
    let socket = link.socket.as_mut().ok_or_else(|| Error::Failed {
        peer: endpoint.to_owned(),
    })?;
    let bound = runtime
        .block_on(socket.bind(endpoint))
        .map_err(zmq_error("listen on", endpoint))?;
    link.path = endpoint.strip_prefix("ipc://").map(Into::into);
    let address = format!("zmq+{bound}");
    link.endpoint.clone_from(&address);
    Ok(Box::new(Listener {
        address,
        link: Some(link),
    }))
}

fn is_local(endpoint: &str) -> bool {
    let Some(address) = endpoint.strip_prefix("tcp://") else {
        return endpoint.starts_with("ipc://");
    };
    let resolved = address.to_socket_addrs();
    resolved.is_ok_and(|mut addresses| {
        addresses.all(|address| address.ip().to_canonical().is_loopback())
    })
}

fn zmq_error(operation: &'static str, endpoint: &str) -> impl FnOnce(ZmqError) -> Error {
    move |source| Error::Zmq {
        operation,
        endpoint: endpoint.to_owned(),
        source: Box::new(source),
    }
}

enum Socket {
    Push(PushSocket),
    Pull(PullSocket),
    Pub(PubSocket),
    Sub(SubSocket),
    Req(ReqSocket),
    Rep(RepSocket),
}

/// Calls a method that every kind of socket has.
macro_rules! each {
    ($socket:expr, $inner:ident => $call:expr) => {
        match $socket {
            Socket::Push($inner) => $call,
            Socket::Pull($inner) => $call,
            Socket::Pub($inner) => $call,
            Socket::Sub($inner) => $call,
            Socket::Req($inner) => $call,
            Socket::Rep($inner) => $call,
        }
    };
}

impl Socket {
    fn new(pattern: Pattern) -> Self {
        match pattern {
            Pattern::Push => Self::Push(PushSocket::new()),
            Pattern::Pull => Self::Pull(PullSocket::new()),
            Pattern::Pub => Self::Pub(PubSocket::new()),
            Pattern::Sub => Self::Sub(SubSocket::new()),
            Pattern::Req => Self::Req(ReqSocket::new()),
            Pattern::Rep => Self::Rep(RepSocket::new()),
        }
    }

    async fn connect(&mut self, endpoint: &str) -> Result<(), ZmqError> {
        each!(self, socket => socket.connect(endpoint).await)
    }

    async fn bind(&mut self, endpoint: &str) -> Result<zeromq::Endpoint, ZmqError> {
        each!(self, socket => socket.bind(endpoint).await)
    }

    /// Sends, if the pattern sends.
    async fn send(&mut self, message: ZmqMessage) -> Option<Result<(), ZmqError>> {
        match self {
            Self::Push(socket) => Some(socket.send(message).await),
            Self::Pub(socket) => Some(socket.send(message).await),
            Self::Req(socket) => Some(socket.send(message).await),
            Self::Rep(socket) => Some(socket.send(message).await),
            Self::Pull(_) | Self::Sub(_) => None,
        }
    }

    /// Receives, if the pattern receives.
    async fn recv(&mut self) -> Option<Result<ZmqMessage, ZmqError>> {
        match self {
            Self::Pull(socket) => Some(socket.recv().await),
            Self::Sub(socket) => Some(socket.recv().await),
            Self::Req(socket) => Some(socket.recv().await),
            Self::Rep(socket) => Some(socket.recv().await),
            Self::Push(_) | Self::Pub(_) => None,
        }
    }
}

struct Zmq {
    runtime: Runtime,
    /// Taken by close and drop.
    socket: Option<Socket>,
    pattern: Pattern,
    endpoint: String,
    /// An ipc path of ours, which the runtime does not always take away.
    path: Option<std::path::PathBuf>,
    options: Options,
    allocator: Box<dyn BufferAllocator>,
    queue: Arc<Queue>,
    sent: u32,
}

/// Bytes given to the runtime that it has not yet written out.
#[derive(Default)]
struct Queue {
    bytes: Mutex<u64>,
    change: Condvar,
}

impl Zmq {
    fn new(
        endpoint: &str,
        pattern: Pattern,
        options: &Options,
        allocator: Box<dyn BufferAllocator>,
    ) -> Result<Self, Error> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .thread_name("numpush-zmq")
            .build();
        let runtime = runtime.map_err(Error::io("start the runtime of", endpoint))?;
        let guard = runtime.enter();
        let mut socket = Socket::new(pattern);
        drop(guard);
        if let Socket::Sub(socket) = &mut socket {
            runtime
                .block_on(socket.subscribe(""))
                .map_err(zmq_error("subscribe to", endpoint))?;
        }
        let (endpoint, options, queue) = (endpoint.to_owned(), options.clone(), Arc::default());
        Ok(Self {
            runtime,
            socket: Some(socket),
            pattern,
            endpoint,
            path: None,
            options,
            allocator,
            queue,
            sent: 0,
        })
    }

    fn unsupported(&self, operation: &'static str) -> Error {
        let transport = match self.pattern {
            Pattern::Push => "a ZeroMQ PUSH socket",
            Pattern::Pull => "a ZeroMQ PULL socket",
            Pattern::Pub => "a ZeroMQ PUB socket",
            Pattern::Sub => "a ZeroMQ SUB socket",
            Pattern::Req => "a ZeroMQ REQ socket",
            Pattern::Rep => "a ZeroMQ REP socket",
        };
        Error::Unsupported {
            transport,
            operation,
        }
    }

    /// Frames of a message, and how many bytes were copied to make them.
    fn frames(&self, message: &Message<'_>) -> Result<(Vec<Bytes>, u64), Error> {
        let encoder = Encoder::new(message, self.sent, Flags::default()).map_err(Error::Message)?;
        let header = PREAMBLE_LEN + encoder.preamble().header_len as usize;
        let mut frames = vec![Bytes::copy_from_slice(
            encoder.head().get(..header).unwrap_or(&[]),
        )];
        let mut copied = 0;
        for &buffer in encoder.buffers() {
            if buffer.is_borrowed() {
                copied += buffer.len() as u64;
            }
            let buffer = buffer.clone().into_owned_or_copy();
            self.queue.add(buffer.len() as u64);
            frames.push(Bytes::from_owner(Queued {
                buffer,
                queue: Arc::clone(&self.queue),
            }));
        }
        Ok((frames, copied))
    }

    /// Gives the message to the runtime, once there is a peer to take it.
    fn hand_over(&mut self, frames: Vec<Bytes>, deadline: Option<Instant>) -> Result<(), Error> {
        let mut message =
            ZmqMessage::try_from(frames).map_err(|_| self.unsupported("send nothing"))?;
        let mut backoff = Backoff::new();
        loop {
            let Some(socket) = &mut self.socket else {
                return Err(Error::Failed {
                    peer: self.endpoint.clone(),
                });
            };
            let sent = self
                .runtime
                .block_on(async { until(deadline, socket.send(message)).await });
            match sent {
                None => return Err(self.timeout("send")),
                Some(None) => return Err(self.unsupported("send")),
                Some(Some(Ok(()))) => return Ok(()),
                Some(Some(Err(ZmqError::ReturnToSender { message: back, .. }))) => message = back,
                Some(Some(Err(error))) => return Err(zmq_error("send to", &self.endpoint)(error)),
            }
            if deadline::passed(deadline) {
                return Err(self.timeout("send"));
            }
            backoff.sleep();
        }
    }

    fn timeout(&self, operation: &'static str) -> Error {
        let send = self.options.send_timeout;
        let timeout = if operation == "recv" {
            self.options.recv_timeout
        } else {
            send
        };
        Error::Timeout {
            operation,
            after: timeout.unwrap_or_default(),
        }
    }

    /// Makes the message of its frames.
    fn open(&mut self, frames: &[Bytes]) -> Result<Received, DecodeError> {
        let limits = Limits::default().with_payload(self.options.max_message);
        let Some((head, rest)) = frames.split_first() else {
            return Err(DecodeError::Truncated {
                missing: PREAMBLE_LEN as u64,
            });
        };
        let (preamble, summary) = Header::parse(head, &limits)?;
        if preamble.flags != Flags::default() {
            return Err(DecodeError::UnknownFlags { flags: 0 });
        }
        let len = PREAMBLE_LEN + preamble.header_len as usize;
        if head.len() > len {
            return Err(DecodeError::TrailingBytes {
                count: (head.len() - len) as u64,
            });
        }
        let mut transfer = Transfer {
            bytes: preamble.payload_len,
            path: TransferPath::Frames,
            ..Transfer::default()
        };
        transfer.reason = PathReason::Aligned;
        let mut buffers = Vec::with_capacity(rest.len());
        for frame in rest {
            if let Some(buffer) = self.allocator.adopt(frame) {
                buffers.push(buffer);
                continue;
            }
            let mut region = self.allocator.allocate(frame.len())?;
            region.as_mut_slice().copy_from_slice(frame);
            buffers.push(region.freeze());
            transfer.copied += frame.len() as u64;
            transfer.reason = PathReason::Allocator;
        }
        Ok(Received {
            message: summary.resolve(buffers)?,
            transfer,
        })
    }

    /// Waits until the runtime has written out what it was given.
    fn drain(
        &self,
        operation: &'static str,
        leave: u64,
        deadline: Option<Instant>,
    ) -> Result<(), Error> {
        let mut bytes = self.queue.lock();
        while *bytes > leave {
            let step = deadline::nearer(deadline, Some(Instant::now() + Duration::from_secs(1)));
            let left = step.map_or(Duration::ZERO, |step| {
                step.saturating_duration_since(Instant::now())
            });
            bytes = self
                .queue
                .change
                .wait_timeout(bytes, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            if deadline::passed(deadline) {
                return Err(self.timeout(operation));
            }
        }
        Ok(())
    }
}

impl Zmq {
    /// Closes the socket and waits until the kernel has all that was given to the runtime; false if `deadline` comes first.
    ///
    /// The runtime lets go of a buffer when it has copied it to a buffer of its own, so an empty queue does not mean that
    /// anything was written. A task writes for each peer, and ends when it has written all.
    fn finish(&mut self, deadline: Option<Instant>) -> bool {
        let guard = self.runtime.enter();
        self.socket = None;
        drop(guard);
        // A socket that only receives has nothing to write, and a task of its own that outlives it.
        if matches!(self.pattern, Pattern::Pull | Pattern::Sub) {
            return true;
        }
        let mut backoff = Backoff::new();
        while self.runtime.metrics().num_alive_tasks() > 0 {
            if deadline::passed(deadline) {
                return false;
            }
            backoff.sleep();
        }
        true
    }
}

/// The result of `future`, unless `deadline` comes first.
async fn until<T>(deadline: Option<Instant>, future: impl Future<Output = T>) -> Option<T> {
    match deadline {
        Some(deadline) => tokio::time::timeout_at(deadline.into(), future).await.ok(),
        None => Some(future.await),
    }
}

impl Transport for Zmq {
    fn send(&mut self, message: &Message<'_>) -> Result<Transfer, Error> {
        if matches!(self.pattern, Pattern::Pull | Pattern::Sub) {
            return Err(self.unsupported("send"));
        }
        let (bytes, limit) = (message.payload_len(), self.options.max_message);
        if bytes > limit {
            return Err(Error::TooLarge {
                len: bytes,
                limit,
                whose: "this side",
            });
        }
        let deadline = deadline::deadline(self.options.send_timeout);
        self.drain("send", self.options.window.saturating_sub(bytes), deadline)?;
        let (frames, copied) = self.frames(message)?;
        self.hand_over(frames, deadline)?;
        self.sent = self.sent.wrapping_add(1);
        let reason = if copied > 0 {
            PathReason::Borrowed
        } else {
            PathReason::OnlyWay
        };
        Ok(Transfer {
            bytes,
            copied: copied + message.copied_bytes(),
            system_calls: 0,
            path: TransferPath::Frames,
            reason,
        })
    }

    fn recv(&mut self) -> Result<Received, Error> {
        let deadline = deadline::deadline(self.options.recv_timeout);
        let Some(socket) = &mut self.socket else {
            return Err(Error::Failed {
                peer: self.endpoint.clone(),
            });
        };
        let received = self
            .runtime
            .block_on(async { until(deadline, socket.recv()).await });
        match received {
            None => Err(self.timeout("recv")),
            Some(None) => Err(self.unsupported("receive")),
            Some(Some(Err(error))) => Err(zmq_error("receive from", &self.endpoint)(error)),
            Some(Some(Ok(message))) => {
                let frames = message.into_vec();
                self.open(&frames).map_err(|source| Error::InvalidMessage {
                    peer: self.endpoint.clone(),
                    source,
                })
            }
        }
    }

    fn flush(&mut self) -> Result<(), Error> {
        Err(self.unsupported("tell whether a message has arrived"))
    }

    fn close(&mut self) -> Result<(), Error> {
        let deadline = deadline::deadline(self.options.send_timeout);
        self.drain("close", 0, deadline)?;
        if !self.finish(deadline) {
            return Err(self.timeout("close"));
        }
        Ok(())
    }

    fn set_timeouts(&mut self, send: Option<Duration>, recv: Option<Duration>) {
        (self.options.send_timeout, self.options.recv_timeout) = (send, recv);
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            two_way: matches!(self.pattern, Pattern::Req | Pattern::Rep),
            acknowledges: false,
            notices_death: false,
            limits_size: false,
            passes_descriptors: false,
        }
    }

    fn peer(&self) -> &str {
        &self.endpoint
    }
}

impl Drop for Zmq {
    /// Lets the runtime write out what it was given.
    fn drop(&mut self) {
        let until = Some(Instant::now() + LINGER);
        let _ = self.drain("close", 0, until);
        let _ = self.finish(until);
        if let Some(path) = &self.path {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// How long a dropped link waits for its queue to be written.
const LINGER: Duration = Duration::from_secs(2);

/// A buffer that counts as queued until the runtime lets go of it.
struct Queued {
    buffer: Buffer<'static>,
    queue: Arc<Queue>,
}

impl AsRef<[u8]> for Queued {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        *self.queue.lock() -= self.buffer.len() as u64;
        self.queue.change.notify_all();
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, u64> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, bytes: u64) {
        *self.lock() += bytes;
    }
}

struct Listener {
    address: String,
    link: Option<Zmq>,
}

impl Acceptor for Listener {
    fn accept(&mut self, timeout: Option<Duration>) -> Result<Box<dyn Transport>, Error> {
        if let Some(link) = self.link.take() {
            return Ok(Box::new(link));
        }
        // One socket is one link, for all its peers: there is no second.
        match timeout {
            Some(timeout) => std::thread::sleep(timeout),
            None => loop {
                std::thread::park();
            },
        }
        Err(Error::Timeout {
            operation: "accept",
            after: timeout.unwrap_or_default(),
        })
    }

    fn set_allocators(&mut self, allocators: AllocatorFactory) {
        if let Some(link) = &mut self.link {
            link.allocator = allocators.make();
        }
    }

    fn address(&self) -> String {
        self.address.clone()
    }
}

impl fmt::Debug for Zmq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            pattern, endpoint, ..
        } = self;
        f.debug_struct("Zmq")
            .field("pattern", pattern)
            .field("endpoint", endpoint)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use numpush_message::{Array, Element, HeapAllocator};

    use super::*;

    #[test]
    fn close_waits_until_a_slow_receiver_has_taken_all() {
        let (pull, options) = (Pattern::Pull, Options::default());
        let mut listener = listen(
            "tcp://127.0.0.1:0",
            pull,
            false,
            &options,
            &AllocatorFactory::default(),
        )
        .unwrap();
        let address = listener.address().replace("zmq+", "");
        let mut receiver = listener.accept(None).unwrap();
        let (closed, is_closed) = mpsc::channel();
        let len = 64 << 20;
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let heap = Box::new(HeapAllocator::new());
                let mut sender =
                    connect(&address, Pattern::Push, &Options::default(), heap).unwrap();
                let array = Array::new(u8::SCALAR, &[len], vec![7; len].into()).unwrap();
                sender.send(&Message::from(array)).unwrap();
                closed.send(sender.close()).unwrap();
            });
            // Longer than a dropped link lingers.
            let early = is_closed.recv_timeout(LINGER + Duration::from_secs(1));
            assert!(early.is_err(), "nobody has read a byte: {early:?}");
            assert_eq!(receiver.recv().unwrap().payload_len(), len as u64);
            is_closed.recv().unwrap().unwrap();
        });
    }
}
