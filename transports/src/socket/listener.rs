//! Accepting stream sockets: handshakes side by side, so that a slow or foreign peer holds up nobody.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use numpush_os::{self as os, Ready};

use crate::deadline;
use crate::error::{Error, Refusal};
use crate::options::Options;
use crate::socket::session::{Hello, refuse};
use crate::socket::{Handshake, Medium, Stream};
use crate::transport::{Acceptor, AllocatorFactory, Transport};

/// A listening socket of some kind.
pub(crate) trait ListeningSocket: Send {
    type Medium: Medium + 'static;

    fn descriptor(&self) -> BorrowedFd<'_>;

    /// Takes one connection, without waiting.
    fn take(&self) -> io::Result<(OwnedFd, String)>;

    /// Looks at a new connection: whether it may come in, and what to greet it with.
    fn authenticate(
        &self,
        socket: &OwnedFd,
        peer: &str,
        options: &Options,
    ) -> Result<(Self::Medium, Hello), Error>;

    fn address(&self) -> String;
}

/// Listens at a door.
pub(crate) struct Listener<D: ListeningSocket> {
    listening: D,
    options: Options,
    allocators: AllocatorFactory,
    pending: VecDeque<Pending<D::Medium>>,
    /// Out of descriptors: no accept before this time.
    paused: Option<Instant>,
}

struct Pending<M> {
    socket: OwnedFd,
    medium: M,
    peer: String,
    ours: Hello,
    handshake: Handshake,
    deadline: Instant,
}

/// Handshakes that may be under way at once; the oldest gives way.
const MAX_PENDING: usize = 128;

/// accept(2) without descriptors left would fail again at once, for as long as the connection waits.
const PAUSE: Duration = Duration::from_millis(100);

impl<D: ListeningSocket> Listener<D> {
    pub(crate) fn new(listening: D, options: Options, allocators: AllocatorFactory) -> Self {
        Self {
            listening,
            options,
            allocators,
            pending: VecDeque::new(),
            paused: None,
        }
    }

    /// Takes a connection from the door and greets it.
    fn begin_handshake(&mut self) -> Result<(), Error> {
        let (socket, peer) = match self.listening.take() {
            Ok(taken) => taken,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if is_out_of_descriptors(&error) => {
                self.paused = Some(Instant::now() + PAUSE);
                return Ok(());
            }
            // The peer hung up before it was its turn.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => return Ok(()),
            Err(error) => return Err(Error::io("accept at", &self.listening.address())(error)),
        };
        let (medium, ours) = match self.listening.authenticate(&socket, &peer, &self.options) {
            Ok(admitted) => admitted,
            Err(error) => {
                if matches!(error, Error::ForeignUser { .. }) {
                    let _ = os::send(&socket, &[IoSlice::new(&refuse(Refusal::User))], false);
                }
                return Err(Error::Handshake {
                    peer,
                    source: Box::new(error),
                });
            }
        };
        // A fresh socket has room for 32 bytes; if not, the peer is gone, and reading tells.
        let _ = os::send(&socket, &[IoSlice::new(&ours.encode())], false);
        let deadline = Instant::now() + deadline::HANDSHAKE;
        self.pending.push_back(Pending {
            socket,
            medium,
            peer,
            ours,
            handshake: Handshake::default(),
            deadline,
        });
        if self.pending.len() > MAX_PENDING
            && let Some(oldest) = self.pending.pop_front()
        {
            let _ = os::send(
                &oldest.socket,
                &[IoSlice::new(&refuse(Refusal::Busy))],
                false,
            );
        }
        Ok(())
    }

    /// Reads the handshake of one pending peer; its link, if that was all.
    fn continue_handshake(&mut self, index: usize) -> Result<Option<Box<dyn Transport>>, Error> {
        let Some(pending) = self.pending.get_mut(index) else {
            return Ok(None);
        };
        let result = match pending.handshake.read(&pending.socket, &pending.peer) {
            Ok(None) if Instant::now() < pending.deadline => return Ok(None),
            Ok(None) => Err(Error::Timeout {
                operation: "handshake",
                after: deadline::HANDSHAKE,
            }),
            result => result,
        };
        let Some(done) = self.pending.remove(index) else {
            return Ok(None);
        };
        let Pending {
            socket,
            medium,
            peer,
            ours,
            ..
        } = done;
        let theirs = match result {
            Ok(Some(theirs)) => theirs,
            Ok(None) => return Ok(None),
            Err(error) => {
                if matches!(error, Error::InvalidMessage { .. }) {
                    let _ = os::send(
                        &socket,
                        &[IoSlice::new(&refuse(Refusal::InvalidMessage))],
                        false,
                    );
                }
                return Err(Error::Handshake {
                    peer,
                    source: Box::new(error),
                });
            }
        };
        let allocator = self.allocators.make();
        let link = Stream::with_handshake_done(
            socket,
            medium,
            peer,
            ours,
            theirs,
            self.options.clone(),
            allocator,
        )?;
        Ok(Some(Box::new(link)))
    }

    /// What is ready, the door last; the pending handshakes keep their places.
    fn wait(&mut self, deadline: Option<Instant>) -> Result<Vec<Ready>, Error> {
        let oldest = self.pending.iter().map(|pending| pending.deadline).min();
        let until = deadline::nearer(deadline::nearer(deadline, oldest), self.paused);
        let door = if self.paused.is_some() {
            Ready::default()
        } else {
            Ready::READ
        };
        let mut wanted: Vec<_> = self
            .pending
            .iter()
            .map(|one| (one.socket.as_fd(), Ready::READ))
            .collect();
        wanted.push((self.listening.descriptor(), door));
        let ready =
            os::wait(&wanted, until).map_err(Error::io("wait at", &self.listening.address()));
        if deadline::passed(self.paused) {
            self.paused = None;
        }
        ready
    }
}

impl<D: ListeningSocket> Acceptor for Listener<D> {
    fn accept(&mut self, timeout: Option<Duration>) -> Result<Box<dyn Transport>, Error> {
        let deadline = deadline::deadline(timeout);
        loop {
            let ready = self.wait(deadline)?;
            // From the back: a handshake that ends takes its place along.
            for index in (0..self.pending.len()).rev() {
                let due = self
                    .pending
                    .get(index)
                    .is_some_and(|pending| Instant::now() >= pending.deadline);
                if (due || ready.get(index).is_some_and(|ready| ready.read))
                    && let Some(link) = self.continue_handshake(index)?
                {
                    return Ok(link);
                }
            }
            if ready.last().is_some_and(|door| door.read) {
                self.begin_handshake()?;
            }
            if deadline::passed(deadline) {
                return Err(Error::Timeout {
                    operation: "accept",
                    after: timeout.unwrap_or_default(),
                });
            }
        }
    }

    fn set_allocators(&mut self, allocators: AllocatorFactory) {
        self.allocators = allocators;
    }

    fn address(&self) -> String {
        self.listening.address()
    }
}

impl<D: ListeningSocket> fmt::Debug for Listener<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("address", &self.listening.address())
            .finish_non_exhaustive()
    }
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    // EMFILE and ENFILE have no kind of their own.
    matches!(error.raw_os_error(), Some(23 | 24)) || error.kind() == io::ErrorKind::OutOfMemory
}
