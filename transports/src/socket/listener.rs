//! Accepting stream sockets: handshakes side by side, so that a slow or foreign peer delays nobody.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use numpush_message::{Hello, Preamble, RecordKind};
use numpush_os::{self as os, Ready};
use numpush_session::Refusal;

use crate::deadline::Deadline;
use crate::error::{Error, Operation};
use crate::options::Options;
use crate::socket::link::Link;
use crate::socket::medium::Medium;
use crate::socket::read::Found;
use crate::socket::transport::SocketTransport;
use crate::transport::{AcceptContext, Acceptor, Established};

/// A listening socket of some kind.
pub(crate) trait ListeningSocket: Send {
    type Medium: Medium + 'static;

    fn descriptor(&self) -> BorrowedFd<'_>;

    /// Accepts one connection, without waiting, and names the peer.
    fn accept(&self) -> io::Result<(OwnedFd, String)>;

    /// Decides whether the peer may connect, and what our hello to it is.
    fn authenticate(
        &self,
        socket: &OwnedFd,
        peer: &str,
        options: &Options,
    ) -> Result<(Self::Medium, Hello), Error>;
}

/// Accepts connections at a listening socket.
pub(crate) struct SocketAcceptor<S: ListeningSocket> {
    listening: S,
    options: Options,
    pending: VecDeque<Pending<S::Medium>>,
    /// Out of descriptors: no accept before this time.
    paused: Option<Instant>,
}

/// A connection whose handshake is under way.
struct Pending<M: Medium> {
    link: Arc<Link<M>>,
    deadline: Deadline,
}

/// How long a peer that has connected may take to send its hello.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// Handshakes that may be under way at once; the oldest is given up for a new one.
const MAX_PENDING: usize = 128;

/// How long a peer without a connection may hold us up when it is sent away.
const FAREWELL: Duration = Duration::from_millis(10);

/// accept(2) without descriptors left would fail again at once, for as long as the connection waits.
const PAUSE: Duration = Duration::from_millis(100);

impl<S: ListeningSocket> SocketAcceptor<S> {
    pub(crate) fn new(listening: S, options: &Options) -> Self {
        Self {
            listening,
            options: options.clone(),
            pending: VecDeque::new(),
            paused: None,
        }
    }

    /// Accepts a connection and sends our hello.
    fn begin_handshake(&mut self, cx: &AcceptContext<'_>) -> Result<(), Error> {
        let (socket, peer) = match self.listening.accept() {
            Ok(accepted) => accepted,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if is_out_of_descriptors(&error) => {
                self.paused = Some(Instant::now() + PAUSE);
                return Ok(());
            }
            // The peer hung up before it was accepted.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => return Ok(()),
            Err(error) => return Err(Error::io(Operation::Accept, cx.address)(error)),
        };
        let (medium, ours) = match self.listening.authenticate(&socket, &peer, &self.options) {
            Ok(authenticated) => authenticated,
            Err(error) => {
                if matches!(error, Error::ForeignUser { .. }) {
                    send_refusal(&socket, Refusal::User);
                }
                return Err(error.handshake(peer));
            }
        };
        let link = Link::new(socket, medium, peer, ours, &self.options);
        // A fresh socket has room for a hello; if not, the peer is gone, and the next read shows it.
        link.pay_all();
        self.pending.push_back(Pending {
            link,
            deadline: Deadline::after(HANDSHAKE),
        });
        if self.pending.len() > MAX_PENDING
            && let Some(oldest) = self.pending.pop_front()
        {
            oldest.link.refuse(Refusal::Busy);
        }
        Ok(())
    }

    /// Reads what one pending peer has sent; returns its connection if its hello is complete.
    fn continue_handshake(&mut self, index: usize) -> Result<Option<Established>, Error> {
        let Some(pending) = self.pending.get(index) else {
            return Ok(None);
        };
        let result = match pending.link.greet() {
            Ok(false) if !pending.deadline.has_passed() => return Ok(None),
            Ok(false) => {
                let peer = &pending.link.peer;
                Err(pending.deadline.error(Operation::Handshake, peer))
            }
            result => result,
        };
        let Some(done) = self.pending.remove(index) else {
            return Ok(None);
        };
        let peer = done.link.peer.clone();
        match result {
            Ok(_) => Ok(Some(Established::new(
                SocketTransport::new(done.link),
                peer,
            ))),
            Err(error) => {
                // What it is refused for was queued with the fault.
                done.link.leave(FAREWELL);
                Err(match error {
                    Error::Handshake { .. } => error,
                    error => error.handshake(peer),
                })
            }
        }
    }

    /// What is ready, the listening socket last; the pending handshakes keep their places.
    fn wait(&mut self, cx: &AcceptContext<'_>) -> Result<Vec<Ready>, Error> {
        let handshakes = self.pending.iter().filter_map(|one| one.deadline.instant());
        let until = cx.deadline.or_sooner(handshakes.chain(self.paused).min());
        let listening = if self.paused.is_some() {
            Ready::default()
        } else {
            Ready::READ
        };
        let mut wanted: Vec<_> = self
            .pending
            .iter()
            .map(|one| (one.link.socket.as_fd(), Ready::READ))
            .collect();
        wanted.push((self.listening.descriptor(), listening));
        let ready = os::wait(&wanted, until).map_err(Error::io(Operation::Wait, cx.address));
        if self.paused.is_some_and(|paused| Instant::now() >= paused) {
            self.paused = None;
        }
        ready
    }
}

impl<S: ListeningSocket> Acceptor for SocketAcceptor<S> {
    fn accept(&mut self, cx: &AcceptContext<'_>) -> Result<Established, Error> {
        loop {
            let ready = self.wait(cx)?;
            // From the back: a handshake that ends is removed from the list.
            for index in (0..self.pending.len()).rev() {
                let is_due = self
                    .pending
                    .get(index)
                    .is_some_and(|pending| pending.deadline.has_passed());
                if (is_due || ready.get(index).is_some_and(|ready| ready.read))
                    && let Some(established) = self.continue_handshake(index)?
                {
                    return Ok(established);
                }
            }
            if ready.last().is_some_and(|listening| listening.read) {
                self.begin_handshake(cx)?;
            }
            if cx.deadline.has_passed() {
                return Err(cx.deadline.error(Operation::Accept, cx.address));
            }
        }
    }
}

/// Reports to a peer why it is refused, if its socket has room for that.
fn send_refusal(socket: &OwnedFd, reason: Refusal) {
    let record = Preamble::control(RecordKind::Refuse, reason.to_wire(), 0).encode(&[]);
    let _ = os::send(socket, &[IoSlice::new(&record)], false);
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    // EMFILE and ENFILE have no kind of their own.
    matches!(error.raw_os_error(), Some(23 | 24)) || error.kind() == io::ErrorKind::OutOfMemory
}

impl<M: Medium> Link<M> {
    /// Reads until the peer's hello is here. Returns false if it is not.
    fn greet(&self) -> Result<bool, Error> {
        let mut receiving = self.receiving();
        loop {
            if receiving.session.has_hello() {
                return Ok(true);
            }
            if let Some(end) = &receiving.end {
                return Err(Error::ended(end, &self.peer));
            }
            if self.obey_next(&mut receiving)? {
                continue;
            }
            if self.read(&mut receiving, false)? == Found::Nothing {
                return Ok(false);
            }
        }
    }

    /// Reports to the peer why it is refused, if its socket has room for that.
    fn refuse(&self, reason: Refusal) {
        self.sending().session.refuse(reason);
        self.leave(FAREWELL);
    }
}

impl Error {
    /// This error, which ended the handshake with `peer`.
    pub(super) fn handshake(self, peer: String) -> Self {
        let source = Box::new(self);
        Self::Handshake { peer, source }
    }
}
