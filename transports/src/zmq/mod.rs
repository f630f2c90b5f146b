//! ZeroMQ, by the `zeromq` crate: PUSH to PULL, PUB to SUB, REQ to REP. The other side may be any library that speaks ZMTP.
//!
//! | | send | receive |
//! | --- | --- | --- |
//! | copies by us | none of shared buffers, one of borrowed ones | none if the frame is aligned and the allocator takes it, else one |
//! | copies by the runtime and the kernel | two | two |
//!
//! A message is a multipart message: preamble and header in one frame, then a frame for each buffer. The messages of one
//! peer keep their order. Nothing is acknowledged, and nobody notices a peer that dies. No checksums go with a message, whatever
//! the options say, and the tag of a message (its channel, and which message it answers) is dropped.
//!
//! The runtime of the crate belongs to the connection: one thread, which ends with it.
//!
//! # Whom to trust
//!
//! `zeromq` 0.7 neither authenticates a peer nor limits what it may claim: a frame of 2^36 bytes makes the allocator
//! abort the process. So a listener takes only loopback addresses and ipc paths, unless `?trusted=1` declares that
//! every machine that can reach the port is trusted.

mod frames;
mod socket;

use std::io;
use std::net::ToSocketAddrs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use numpush_message::Message;
use tokio::runtime::{Builder, Runtime};
use zeromq::{ZmqError, ZmqMessage};

use crate::deadline::{Backoff, Deadline, poll_until};
use crate::endpoint::{Endpoint, EndpointError, Scheme};
use crate::error::{Error, Operation};
use crate::options::{Options, Parameter};
use crate::transfer::{Capabilities, PathReason, Received, Transfer, TransferPath};
use crate::transport::{AcceptContext, Acceptor, Bound, Context, Established, Factory, Transport};
use frames::Queue;
use socket::{Pattern, Socket};

/// The factory of this transport, over tcp or over unix sockets.
pub(crate) struct Zmq {
    scheme: Scheme,
    /// What the library calls the scheme.
    prefix: &'static str,
    parameters: &'static [Parameter],
}

const SOCKET: Parameter = Parameter {
    name: "socket",
    values: "push|pull|pub|sub|req|rep",
    meaning: "kind of socket on this side (connect: push, listen: pull)",
    parse: |value, _| Pattern::parse(value).map(drop),
};

const TRUSTED: Parameter = Parameter {
    name: "trusted",
    values: "0|1",
    meaning: "listen on an address that other machines can reach",
    parse: |value, _| matches!(value, "0" | "1").then_some(()),
};

impl Zmq {
    pub(crate) const TCP: Self = Self {
        scheme: Scheme::ZmqTcp,
        prefix: "tcp",
        parameters: &[Parameter::MAX, SOCKET, TRUSTED],
    };

    pub(crate) const IPC: Self = Self {
        scheme: Scheme::ZmqIpc,
        prefix: "ipc",
        parameters: &[Parameter::MAX, SOCKET],
    };

    /// The endpoint as the library spells it, and as we do.
    fn names(&self, endpoint: &Endpoint) -> (String, String) {
        let theirs = format!("{}://{}", self.prefix, endpoint.address());
        let ours = format!("zmq+{theirs}");
        (theirs, ours)
    }

    /// The bytes that any peer claims are allocated: only peers of this machine, unless the caller trusts the others.
    fn check_trusted(&self, at: &Endpoint) -> Result<(), EndpointError> {
        let is_local = || {
            let mut resolved = at.address().to_socket_addrs().ok()?;
            let is_local = resolved.all(|address| address.ip().to_canonical().is_loopback());
            is_local.then_some(())
        };
        if self.scheme == Scheme::ZmqIpc
            || at.parameter("trusted") == Some("1")
            || is_local().is_some()
        {
            return Ok(());
        }
        Err(EndpointError::Address {
            address: at.to_string(),
            fault: "a ZeroMQ listener takes only loopback addresses: any peer could abort the process. Add ?trusted=1 \
                    if every machine that can reach it is trusted",
        })
    }
}

fn pattern(endpoint: &Endpoint, default: Pattern) -> Pattern {
    let given = endpoint.parameter("socket").and_then(Pattern::parse);
    given.unwrap_or(default)
}

impl Factory for Zmq {
    fn scheme(&self) -> Scheme {
        self.scheme
    }

    fn parameters(&self) -> &'static [Parameter] {
        self.parameters
    }

    fn connect(&self, to: &Endpoint, options: &Options) -> Result<Established, Error> {
        let (theirs, ours) = self.names(to);
        let mut peers = Peers::new(pattern(to, Pattern::Push), &ours)?;
        let timeout = options.connect_timeout;
        peers
            .connect(&theirs, Deadline::after(timeout), timeout)
            .map_err(zmq_error(Operation::Connect, &ours))?;
        Ok(Established::new(peers, ours))
    }

    /// Listens. The one connection it accepts is for all peers.
    fn listen(&self, at: &Endpoint, _: &Options) -> Result<Bound, Error> {
        self.check_trusted(at)?;
        let (theirs, ours) = self.names(at);
        let mut peers = Peers::new(pattern(at, Pattern::Pull), &ours)?;
        let bound = peers
            .bind(&theirs)
            .map_err(zmq_error(Operation::Listen, &ours))?;
        peers.path = theirs.strip_prefix("ipc://").map(Into::into);
        let acceptor = ZmqAcceptor { peers: Some(peers) };
        Ok(Bound::new(acceptor, format!("zmq+{bound}")))
    }
}

/// The library's error as one of a kind that other transports have too.
fn zmq_error(operation: Operation, endpoint: &str) -> impl FnOnce(ZmqError) -> Error {
    move |error| Error::io(operation, endpoint)(io::Error::other(error))
}

/// One socket, which is a connection with all its peers.
struct Peers {
    runtime: Runtime,
    /// Taken by close and drop.
    socket: Option<Socket>,
    pattern: Pattern,
    /// An ipc path of ours, which the runtime does not always remove.
    path: Option<PathBuf>,
    queue: Arc<Queue>,
    /// The frames of a message that came, and for which the allocator had no room.
    pending: Option<Vec<Bytes>>,
}

impl Peers {
    fn new(pattern: Pattern, endpoint: &str) -> Result<Self, Error> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .thread_name("numpush-zmq")
            .build()
            .map_err(Error::io(Operation::SetUp, endpoint))?;
        let guard = runtime.enter();
        let mut socket = Socket::new(pattern);
        drop(guard);
        runtime
            .block_on(socket.subscribe())
            .map_err(zmq_error(Operation::SetUp, endpoint))?;
        Ok(Self {
            runtime,
            socket: Some(socket),
            pattern,
            path: None,
            queue: Arc::default(),
            pending: None,
        })
    }

    /// Connects as often as it takes for the other side to appear.
    fn connect(
        &mut self,
        endpoint: &str,
        deadline: Deadline,
        timeout: Duration,
    ) -> Result<(), ZmqError> {
        let Some(socket) = &mut self.socket else {
            return Err(ZmqError::Other("the socket is closed"));
        };
        let mut last = ZmqError::ConnectTimeout(timeout);
        let connected = poll_until(deadline, || {
            let attempt = async { until(deadline, socket.connect(endpoint)).await };
            Ok::<_, ZmqError>(match self.runtime.block_on(attempt) {
                Some(Ok(())) => Some(()),
                Some(Err(error)) => {
                    last = error;
                    None
                }
                None => None,
            })
        })?;
        connected.ok_or(last)
    }

    fn bind(&mut self, endpoint: &str) -> Result<zeromq::Endpoint, ZmqError> {
        match &mut self.socket {
            Some(socket) => self.runtime.block_on(socket.bind(endpoint)),
            None => Err(ZmqError::Other("the socket is closed")),
        }
    }

    fn unsupported(&self, operation: Operation, reason: &'static str) -> Error {
        Error::Unsupported {
            transport: self.pattern.name(),
            operation,
            reason,
        }
    }

    /// Waits for the frames of the next message.
    fn next_frames(&mut self, cx: &Context<'_>) -> Result<Vec<Bytes>, Error> {
        let Some(socket) = &mut self.socket else {
            return Err(cx.failed());
        };
        let attempt = async { until(cx.deadline, socket.recv()).await };
        match self.runtime.block_on(attempt) {
            None => Err(cx.timeout(Operation::Recv)),
            Some(None) => Err(self.unsupported(Operation::Recv, "it only sends")),
            Some(Some(Err(error))) => Err(zmq_error(Operation::Recv, cx.peer)(error)),
            Some(Some(Ok(message))) => Ok(message.into_vec()),
        }
    }

    /// Hands the message to the runtime, once there is a peer to take it.
    fn hand_over(&mut self, frames: Vec<Bytes>, cx: &Context<'_>) -> Result<(), Error> {
        let empty = |_| self.unsupported(Operation::Send, "a message has frames");
        let mut message = Some(ZmqMessage::try_from(frames).map_err(empty)?);
        let sent = poll_until(cx.deadline, || {
            let (Some(socket), Some(next)) = (&mut self.socket, message.take()) else {
                return Err(cx.failed());
            };
            let attempt = async { until(cx.deadline, socket.send(next)).await };
            match self.runtime.block_on(attempt) {
                None => Err(cx.timeout(Operation::Send)),
                Some(None) => Err(cx.failed()),
                Some(Some(Ok(()))) => Ok(Some(())),
                Some(Some(Err(ZmqError::ReturnToSender { message: back, .. }))) => {
                    message = Some(back);
                    Ok(None)
                }
                Some(Some(Err(error))) => Err(zmq_error(Operation::Send, cx.peer)(error)),
            }
        })?;
        sent.ok_or_else(|| cx.timeout(Operation::Send))
    }

    /// Closes the socket and waits until the kernel has all that was handed to the runtime; false if `deadline` comes
    /// first.
    ///
    /// The runtime lets go of a buffer when it has copied it to a buffer of its own, so an empty queue does not mean that
    /// anything was written. A task writes for each peer, and ends when it has written all.
    fn finish(&mut self, deadline: Deadline) -> bool {
        let guard = self.runtime.enter();
        self.socket = None;
        drop(guard);
        // A socket that only receives has nothing to write, and a task of its own that outlives it.
        if !self.pattern.sends() {
            return true;
        }
        let mut backoff = Backoff::new();
        while self.runtime.metrics().num_alive_tasks() > 0 {
            if deadline.has_passed() {
                return false;
            }
            backoff.sleep();
        }
        true
    }
}

/// The result of `future`, unless `deadline` comes first.
async fn until<T>(deadline: Deadline, future: impl Future<Output = T>) -> Option<T> {
    match deadline.instant() {
        Some(at) => tokio::time::timeout_at(at.into(), future).await.ok(),
        None => Some(future.await),
    }
}

impl Transport for Peers {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            two_way: self.pattern.is_two_way(),
            acknowledges: false,
            notices_death: false,
            limits_size: false,
            passes_descriptors: false,
            fills_allocator: false,
        }
    }

    fn send(&mut self, message: &Message<'_>, cx: &mut Context<'_>) -> Result<Transfer, Error> {
        if !self.pattern.sends() {
            return Err(self.unsupported(Operation::Send, "it only receives"));
        }
        let bytes = message.payload_len();
        let leave = cx.options.window.saturating_sub(bytes);
        if !self.queue.drain(leave, cx.deadline) {
            return Err(cx.timeout(Operation::Send));
        }
        let frames = frames::encode(message, &self.queue);
        let (frames, copied) = frames.map_err(Error::Message)?;
        self.hand_over(frames, cx)?;
        let reason = if copied > 0 {
            PathReason::Borrowed
        } else {
            PathReason::OnlyWay
        };
        Ok(Transfer {
            id: 0,
            bytes,
            copied: copied + message.copied_bytes(),
            system_calls: 0,
            path: TransferPath::Frames,
            reason,
        })
    }

    fn recv(&mut self, cx: &mut Context<'_>) -> Result<Received, Error> {
        let frames = match self.pending.take() {
            Some(frames) => frames,
            None => self.next_frames(cx)?,
        };
        let received = frames::decode(&frames, &mut *cx.allocator, cx.options.max_message);
        let received = received.map_err(|source| cx.invalid(source));
        if let Err(Error::NoRoom { source, .. }) = &received
            && !source.is_permanent()
        {
            self.pending = Some(frames);
        }
        received
    }

    fn flush(&mut self, _: &mut Context<'_>) -> Result<(), Error> {
        Err(self.unsupported(Operation::Flush, "nothing is acknowledged"))
    }

    fn close(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        if !self.queue.drain(0, cx.deadline) || !self.finish(cx.deadline) {
            return Err(cx.timeout(Operation::Close));
        }
        Ok(())
    }
}

/// How long a dropped connection waits for its queue to be written.
const LINGER: Duration = Duration::from_secs(2);

impl Drop for Peers {
    /// Lets the runtime write out what it was handed.
    fn drop(&mut self) {
        let until = Deadline::after(LINGER);
        self.queue.drain(0, until);
        self.finish(until);
        if let Some(path) = &self.path {
            let _ = std::fs::remove_file(path);
        }
    }
}

struct ZmqAcceptor {
    /// The one connection, until it is accepted.
    peers: Option<Peers>,
}

impl Acceptor for ZmqAcceptor {
    fn accept(&mut self, cx: &AcceptContext<'_>) -> Result<Established, Error> {
        let peers = self.peers.take().ok_or(Error::Unsupported {
            transport: "a ZeroMQ listener",
            operation: Operation::Accept,
            reason: "its first connection is with all peers, and there is no second",
        })?;
        Ok(Established::new(peers, cx.address.to_owned()))
    }
}
