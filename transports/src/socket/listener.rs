//! Accepting stream sockets: handshakes side by side, so that a slow or foreign peer delays nobody.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use numpush_message::Hello;
use numpush_os::{self as os, Ready};

use crate::deadline::Deadline;
use crate::error::{Error, Operation, Refusal};
use crate::options::Options;
use crate::socket::allowance;
use crate::socket::handshake::Handshake;
use crate::socket::medium::Medium;
use crate::socket::session::refuse;
use crate::socket::stream::Stream;
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
struct Pending<M> {
    socket: OwnedFd,
    medium: M,
    peer: String,
    ours: Hello,
    handshake: Handshake,
    deadline: Deadline,
}

/// Handshakes that may be under way at once; the oldest is given up for a new one.
const MAX_PENDING: usize = 128;

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
        // A fresh socket has room for a hello; if not, the peer is gone, and the next read shows it.
        let _ = os::send(&socket, &[IoSlice::new(&ours.encode())], false);
        self.pending.push_back(Pending {
            socket,
            medium,
            peer,
            ours,
            handshake: Handshake::new(),
            deadline: Deadline::after(allowance::HANDSHAKE),
        });
        if self.pending.len() > MAX_PENDING
            && let Some(oldest) = self.pending.pop_front()
        {
            send_refusal(&oldest.socket, Refusal::Busy);
        }
        Ok(())
    }

    /// Reads the hello of one pending peer; returns its connection if the hello is complete.
    fn continue_handshake(&mut self, index: usize) -> Result<Option<Established>, Error> {
        let Some(pending) = self.pending.get_mut(index) else {
            return Ok(None);
        };
        let result = match pending.handshake.read(&pending.socket, &pending.peer) {
            Ok(None) if !pending.deadline.has_passed() => return Ok(None),
            Ok(None) => Err(pending.deadline.error(Operation::Handshake, &pending.peer)),
            Ok(Some(theirs)) => Ok(theirs),
            Err(error) => Err(error),
        };
        let Some(done) = self.pending.remove(index) else {
            return Ok(None);
        };
        let theirs = match result {
            Ok(theirs) => theirs,
            Err(error) => {
                if matches!(error, Error::InvalidMessage { .. }) {
                    send_refusal(&done.socket, Refusal::InvalidMessage);
                }
                return Err(error.handshake(done.peer));
            }
        };
        let hellos = (done.ours, theirs);
        let stream = Stream::new(done.socket, done.medium, &done.peer, hellos, &self.options)?;
        Ok(Some(Established::new(stream, done.peer)))
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
            .map(|one| (one.socket.as_fd(), Ready::READ))
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
    let _ = os::send(socket, &[IoSlice::new(&refuse(reason))], false);
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    // EMFILE and ENFILE have no kind of their own.
    matches!(error.raw_os_error(), Some(23 | 24)) || error.kind() == io::ErrorKind::OutOfMemory
}
