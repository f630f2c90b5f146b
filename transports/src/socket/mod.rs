//! Messages over a byte stream: what tcp and unix share.
//!
//! One thread drives a link, and no other runs behind it. While it waits to write it reads, so that two peers that
//! send to each other at once both get on; messages that arrive meanwhile wait in the inbox.

mod handshake;
mod incoming;
pub(crate) mod listener;
mod outgoing;
pub(crate) mod session;

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use numpush_message::{
    BufferAllocator, DecodeError, Decoder, Header, Limits, Message, Preamble, RecordKind, Reference,
};
use numpush_os::{self as os, Ready};

use crate::deadline;
use crate::error::{Error, Refusal};
use crate::options::Options;
use crate::socket::session::{Hello, control, refuse};
use crate::transfer::{PathReason, Transfer};
use crate::transport::{Capabilities, Received, Transport};

pub(crate) use handshake::Handshake;
use incoming::Incoming;
use outgoing::Outgoing;
pub(crate) use outgoing::goes_by_file;

/// What a medium adds to plain bytes.
pub(crate) trait Medium: Send {
    /// Descriptors may come with a record.
    const DESCRIPTORS: bool;

    /// What was written reaches the peer even if this side closes with bytes unread.
    const KEEPS_SENT: bool;

    /// Decides how the payload of message `id` goes, and prepares it.
    fn plan(&mut self, message: &Message<'_>, id: u32, checksums: bool) -> Plan;

    /// How long a wait for a release would pay before `message` is planned; `None` if there is nothing to wait for.
    fn release_wait(&self, _message: &Message<'_>) -> Option<Duration> {
        None
    }

    /// The descriptor that came with a segment record; a record without one says to forget the segment.
    fn accept_segment(&mut self, record: &Preamble, descriptor: Option<OwnedFd>) -> io::Result<()>;

    /// The message whose buffers lie where `references` say, and how it got here.
    fn resolve(
        &mut self,
        record: &Preamble,
        summary: Header,
        references: &[Reference],
        allocator: &mut dyn BufferAllocator,
    ) -> Result<(Message<'static>, Transfer), DecodeError>;

    /// The peer has let go of what message `id` lent it.
    fn released(&mut self, id: u32);

    /// Messages whose ranges we have let go of since the last call.
    fn take_releases(&mut self) -> Vec<u32>;
}

/// How a payload goes.
pub(crate) enum Plan {
    /// By writing; what is left of the ledger is the reason.
    Write(PathReason),
    /// By sendfile for the buffers behind a descriptor, by writing for the rest.
    SendFile,
    /// By reference: segments to announce first, then a place for each buffer.
    Refer {
        announce: Vec<Announcement>,
        references: Vec<Reference>,
        copied: u64,
    },
}

/// A segment that the peer does not know yet, or, without a descriptor, one that it should forget.
pub(crate) struct Announcement {
    pub(crate) segment: u32,
    pub(crate) descriptor: Option<std::sync::Arc<OwnedFd>>,
}

/// A link over a connected stream socket whose handshake is done.
pub(crate) struct Stream<M: Medium> {
    socket: OwnedFd,
    medium: M,
    peer: String,
    options: Options,
    peer_max: u64,
    checksums: bool,
    incoming: Incoming,
    outgoing: Outgoing,
    /// The peer's handshake, while it has not come.
    handshake: Option<Handshake>,
    broken: bool,
}

/// Messages up to this size are acknowledged together, and buffers below it are not worth a call of their own.
pub(crate) const SMALL: u64 = 64 << 10;

/// A blocking call gives up this often to look at its deadlines.
const TICK: Duration = Duration::from_secs(1);

/// A blocking write gives up this soon to look whether the peer is writing too.
const SEND_TICK: Duration = Duration::from_millis(50);

impl<M: Medium> Stream<M> {
    /// Greets the peer and makes the link. The peer's handshake is awaited by the first call that needs it: the other
    /// side may be a listener that this very thread will ask to accept.
    pub(crate) fn open(
        socket: OwnedFd,
        medium: M,
        peer: String,
        hello: Hello,
        options: Options,
        allocator: Box<dyn BufferAllocator>,
    ) -> Result<Self, Error> {
        os::send(&socket, &[IoSlice::new(&hello.encode())], false)
            .map_err(Error::io("greet", &peer))?;
        let nothing_yet = Hello {
            max_message: 0,
            checksums: false,
            segments: false,
        };
        let mut link = Self::with_handshake_done(
            socket,
            medium,
            peer,
            hello,
            nothing_yet,
            options,
            allocator,
        )?;
        link.handshake = Some(Handshake::default());
        Ok(link)
    }

    /// Makes the link of a socket whose peers have greeted each other.
    pub(crate) fn with_handshake_done(
        socket: OwnedFd,
        medium: M,
        peer: String,
        ours: Hello,
        theirs: Hello,
        options: Options,
        allocator: Box<dyn BufferAllocator>,
    ) -> Result<Self, Error> {
        os::set_receive_tick(&socket, TICK).map_err(Error::io("set up", &peer))?;
        os::set_send_tick(&socket, SEND_TICK).map_err(Error::io("set up", &peer))?;
        let incoming = Incoming {
            decoder: Decoder::new(Limits::default().with_payload(options.max_message)),
            allocator,
            inbox: VecDeque::new(),
            began: None,
            next_id: 1,
            system_calls: 0,
            closed: false,
            unacknowledged: None,
            descriptor: None,
        };
        let outgoing = Outgoing {
            next_id: 1,
            ..Outgoing::default()
        };
        let (peer_max, checksums) = (theirs.max_message, ours.checksums || theirs.checksums);
        let handshake = None;
        Ok(Self {
            socket,
            medium,
            peer,
            options,
            peer_max,
            checksums,
            incoming,
            outgoing,
            handshake,
            broken: false,
        })
    }

    /// Fails if the link is of no more use, and waits for the peer's handshake if it has not come.
    fn ready(&mut self) -> Result<(), Error> {
        self.check_usable()?;
        let Some(mut handshake) = self.handshake.take() else {
            return Ok(());
        };
        let result = handshake.wait(&self.socket, &self.peer);
        match result {
            Ok(theirs) => {
                self.peer_max = theirs.max_message;
                self.checksums |= theirs.checksums;
                Ok(())
            }
            Err(error) => {
                let error = Error::Handshake {
                    peer: self.peer.clone(),
                    source: Box::new(error),
                };
                self.fail_unless_recoverable(Err(error))
            }
        }
    }

    fn check_usable(&self) -> Result<(), Error> {
        if self.broken {
            Err(Error::Failed {
                peer: self.peer.clone(),
            })
        } else {
            Ok(())
        }
    }

    /// Marks the link as broken after an error that is not harmless, and tells the peer if the fault is its.
    fn fail_unless_recoverable<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(error) = &result
            && !error.is_recoverable()
            && !matches!(error, Error::Closed { .. })
        {
            self.broken = true;
            let reason = match error {
                Error::InvalidMessage {
                    source: DecodeError::PayloadTooLong { .. },
                    ..
                } => Some(Refusal::TooLarge),
                Error::InvalidMessage { .. } | Error::ProtocolViolation { .. } => {
                    Some(Refusal::InvalidMessage)
                }
                _ => None,
            };
            if let Some(reason) = reason {
                let _ = os::send(&self.socket, &[IoSlice::new(&refuse(reason))], false);
            }
        }
        result
    }

    fn closed(&self) -> Error {
        Error::Closed {
            peer: self.peer.clone(),
        }
    }

    fn gone(&self) -> Error {
        Error::Disconnected {
            peer: self.peer.clone(),
            missing: self.incoming.missing(),
        }
    }

    fn io_error(&self, operation: &'static str, source: io::Error) -> Error {
        match source.kind() {
            io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::TimedOut => self.gone(),
            _ => Error::Io {
                operation,
                endpoint: self.peer.clone(),
                source,
            },
        }
    }

    fn fault(&self, fault: &'static str) -> Error {
        Error::ProtocolViolation {
            peer: self.peer.clone(),
            fault,
        }
    }

    /// Waits until the socket is ready for `want`, or a record is overdue. False if `deadline` passed.
    fn wait(&self, want: Ready, deadline: Option<Instant>) -> Result<(Ready, bool), Error> {
        let until = deadline::nearer(deadline, self.incoming.deadline());
        let ready = os::wait(&[(self.socket.as_fd(), want)], until)
            .map_err(Error::io("wait for", &self.peer))?;
        let ready = ready.first().copied().unwrap_or_default();
        if !ready.any() {
            self.check_progress()?;
        }
        Ok((ready, ready.any() || !deadline::passed(deadline)))
    }
}

impl<M: Medium> Transport for Stream<M> {
    fn send(&mut self, message: &Message<'_>) -> Result<Transfer, Error> {
        self.ready()?;
        let result = self.send_message(message);
        self.fail_unless_recoverable(result)
    }

    fn recv(&mut self) -> Result<Received, Error> {
        if let Some(received) = self.incoming.inbox.pop_front() {
            return Ok(received);
        }
        self.ready()?;
        let result = self.next_message();
        self.fail_unless_recoverable(result)
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.ready()?;
        let result = self.flush_messages("flush");
        self.fail_unless_recoverable(result)
    }

    fn close(&mut self) -> Result<(), Error> {
        self.ready()?;
        let result = self.close_outgoing();
        self.fail_unless_recoverable(result)
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
            passes_descriptors: M::DESCRIPTORS,
        }
    }

    fn peer(&self) -> &str {
        &self.peer
    }
}

impl<M: Medium> Drop for Stream<M> {
    /// Leaves in good order, without waiting long: the kernel throws away what it has not sent if bytes of the peer
    /// (its acknowledgements) are unread, so they are read first.
    fn drop(&mut self) {
        if self.broken || self.outgoing.closed {
            return;
        }
        self.queue_control(true);
        let goodbye = control(RecordKind::Close, 0, 0);
        self.outgoing.control.extend_from_slice(&goodbye);
        let until = Instant::now() + LINGER;
        let mut scratch = [0; 4096];
        while Instant::now() < until && !self.outgoing.control.is_empty() {
            match os::send(&self.socket, &[IoSlice::new(&self.outgoing.control)], false) {
                Ok(count) => drop(self.outgoing.control.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let _ = os::wait(&[(self.socket.as_fd(), Ready::WRITE)], Some(until));
                }
                Err(_) => return,
            }
        }
        let _ = os::end_writing(&self.socket);
        // Once the peer's kernel has it all, nothing can be thrown away.
        while !M::KEEPS_SENT
            && Instant::now() < until
            && os::unacknowledged(&self.socket).is_ok_and(|bytes| bytes > 0)
        {
            let soon = Instant::now() + Duration::from_millis(1);
            let ready = os::wait(&[(self.socket.as_fd(), Ready::READ)], Some(soon));
            let readable = ready.is_ok_and(|ready| ready.first().is_some_and(|ready| ready.read));
            if readable && !matches!(os::receive(&self.socket, &mut scratch, false), Ok(1..)) {
                return;
            }
        }
    }
}

/// How long a dropped link that has messages on their way waits for the peer to take them.
const LINGER: Duration = Duration::from_secs(2);

impl<M: Medium> fmt::Debug for Stream<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("peer", &self.peer)
            .field("broken", &self.broken)
            .finish_non_exhaustive()
    }
}

/// The peer, or the way to it, is gone.
fn is_hang_up(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::TimedOut
            | io::ErrorKind::HostUnreachable
    )
}
