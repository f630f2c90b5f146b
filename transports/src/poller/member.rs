//! A connection in a poller: what waits for it, and what it waits for.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use numpush_message::{Message, Prepared};
use numpush_os::Ready;
use numpush_session::Tag;

use crate::connection::Connection;
use crate::error::{Error, Operation};
use crate::poller::event::Sent;
use crate::transfer::Received;
use crate::transport::Duplex;

/// A connection, and the poller's account of it.
pub(super) struct Member {
    pub(super) connection: Connection,
    duplex: Arc<dyn Duplex>,
    queue: VecDeque<Queued>,
    queued: u64,
    pub(super) stage: Stage,
    /// What the kernel watches it for; `None` if it does not.
    pub(super) watched: Option<Ready>,
    /// It is on the poller's list of those to look at.
    pub(super) is_listed: bool,
    /// The soonest of its timers.
    pub(super) due: Option<Instant>,
    /// Time that the program had spent outside of waits when it was looked at last.
    looked: Duration,
    /// When the peer must have said hello.
    greeting: Option<Instant>,
    /// When there may be room again, and whether that has been reported.
    pub(super) retry: Option<Instant>,
    pub(super) is_waiting: bool,
    /// Why it ends once everything that has come is out.
    pub(super) failure: Option<Error>,
}

/// How far the peer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Open,
    /// It sends no more.
    Closed,
}

/// A message that has not begun.
struct Queued {
    message: Message<'static>,
    tag: Tag,
}

/// What came of a look at a connection.
pub(super) enum Found {
    Message(Received),
    Nothing,
    NoRoom(Error),
    Closed,
    Ended(Option<Error>),
}

/// What a message costs in a queue beside its payload.
const OVERHEAD: u64 = 256;

/// How long a peer has to say hello.
const GREETING: Duration = Duration::from_secs(30);

/// How often it is looked whether there is room again.
const RETRY: Duration = Duration::from_millis(10);

impl Member {
    /// Fails with [`Error::Unsupported`] if the connection has nothing to wait for with others.
    pub(super) fn new(connection: Connection, excused: Duration) -> Result<Self, Error> {
        let duplex = connection.polled()?;
        let greeting = (!duplex.is_greeted()).then(|| Instant::now() + GREETING);
        Ok(Self {
            connection,
            duplex,
            queue: VecDeque::new(),
            queued: 0,
            stage: Stage::Open,
            watched: None,
            is_listed: false,
            due: None,
            looked: excused,
            greeting,
            retry: None,
            is_waiting: false,
            failure: None,
        })
    }

    /// Sends a message, or queues it if it cannot begin.
    pub(super) fn send(
        &mut self,
        message: &Message<'_>,
        prepared: Option<&Prepared<'_>>,
        tag: Tag,
        limit: u64,
    ) -> Result<Sent, Error> {
        self.connection.check_size(message)?;
        if self.queue.is_empty() {
            let sent = match prepared {
                Some(prepared) => self.duplex.try_send_prepared(prepared, tag),
                None => self.duplex.try_send(message, tag),
            };
            match sent {
                Ok(transfer) => return Ok(Sent::Begun(transfer)),
                // Its rest goes by itself.
                Err(Error::Unfinished { .. }) => return Ok(Sent::Queued),
                Err(error) if error.is_timeout() => {}
                Err(error) if error.is_recoverable() || error.is_closed() => return Err(error),
                Err(error) => {
                    let peer = self.connection.peer().to_owned();
                    self.failure.get_or_insert(Error::Failed { peer });
                    return Err(error);
                }
            }
        }
        let cost = cost(message);
        // One message may always wait.
        if !self.queue.is_empty() && self.queued.saturating_add(cost) > limit {
            return Err(Error::QueueFull {
                peer: self.connection.peer().to_owned(),
                queued: self.queued,
                limit,
            });
        }
        self.queued = self.queued.saturating_add(cost);
        self.queue.push_back(Queued {
            message: message.clone().into_owned_or_copy(),
            tag,
        });
        Ok(Sent::Queued)
    }

    /// Sends what is queued, as far as it can begin. Returns a message that can never go to this peer.
    pub(super) fn send_queued(&mut self) -> Option<(Message<'static>, Error)> {
        while let Some(next) = self.queue.front() {
            match self.duplex.try_send(&next.message, next.tag) {
                Ok(_) | Err(Error::Unfinished { .. }) => drop(self.pop()),
                Err(error) if error.is_timeout() => return None,
                Err(Error::Cancelled { .. }) => {}
                // The program has closed this direction itself, perhaps.
                Err(error) if error.is_recoverable() || error.is_closed() => {
                    return self.pop().map(|queued| (queued.message, error));
                }
                Err(error) => {
                    self.failure.get_or_insert(error);
                    return None;
                }
            }
        }
        None
    }

    fn pop(&mut self) -> Option<Queued> {
        let queued = self.queue.pop_front()?;
        self.queued = self.queued.saturating_sub(cost(&queued.message));
        Some(queued)
    }

    /// The program has spent so much time outside of waits by now, which is not the peer's.
    pub(super) fn excuse(&mut self, outside: Duration) {
        self.duplex.excuse(outside.saturating_sub(self.looked));
        self.looked = self.looked.max(outside);
    }

    /// Reads and writes what goes without a wait, and takes no message.
    pub(super) fn look_aside(&mut self, excused: Duration) -> Found {
        self.excuse(excused);
        self.retry = None;
        if self.failure.is_none()
            && let Some(error) = self.is_late()
        {
            return ended(error);
        }
        self.attend()
    }

    /// Reads and writes what goes without a wait, up to the next message.
    pub(super) fn look(&mut self, excused: Duration) -> Found {
        self.excuse(excused);
        self.retry = None;
        if self.greeting.is_some() && self.duplex.is_greeted() {
            self.greeting = None;
        }
        if self.stage == Stage::Closed {
            return self.attend();
        }
        match Arc::clone(&self.duplex).poll_recv() {
            Ok(received) => {
                self.is_waiting = false;
                Found::Message(received)
            }
            Err(Error::Timeout { .. } | Error::Cancelled { .. }) => match self.is_late() {
                Some(error) => Found::Ended(Some(error)),
                None => self.failure.take().map_or(Found::Nothing, ended),
            },
            Err(error @ (Error::NoRoom { .. } | Error::NoMemory { .. }))
                if error.is_recoverable() =>
            {
                self.retry = Some(Instant::now() + RETRY);
                Found::NoRoom(error)
            }
            Err(error) if error.is_closed() => {
                self.stage = Stage::Closed;
                match self.attend() {
                    Found::Nothing => Found::Closed,
                    found => found,
                }
            }
            // What ended sending is told, unless reading shows more than that it has failed.
            Err(error @ Error::Failed { .. }) => ended(self.failure.take().unwrap_or(error)),
            Err(error) => ended(error),
        }
    }

    fn attend(&mut self) -> Found {
        if let Some(failure) = self.failure.take() {
            return ended(failure);
        }
        match self.duplex.attend() {
            Ok(false) | Err(Error::Cancelled { .. }) => Found::Nothing,
            Err(error @ (Error::NoRoom { .. } | Error::NoMemory { .. }))
                if error.is_recoverable() =>
            {
                self.retry = Some(Instant::now() + RETRY);
                Found::Nothing
            }
            Ok(true) => Found::Ended(None),
            Err(error) => ended(error),
        }
    }

    /// The error of a peer that has not said hello in time.
    fn is_late(&self) -> Option<Error> {
        let until = self.greeting.filter(|_| !self.duplex.is_greeted())?;
        let peer = self.connection.peer();
        let late = || Error::Handshake {
            peer: peer.to_owned(),
            source: Box::new(Error::Timeout {
                operation: Operation::Handshake,
                peer: peer.to_owned(),
                after: GREETING,
            }),
        };
        (Instant::now() >= until).then(late)
    }

    /// When it must be looked at though nothing has come.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let greeting = self.greeting.filter(|_| self.stage == Stage::Open);
        let times = [self.duplex.due(), greeting, self.retry];
        times.into_iter().flatten().min()
    }

    /// What the kernel is to watch it for.
    pub(super) fn wants(&self) -> Option<Ready> {
        let wants = self.duplex.wants();
        if self.retry.is_none() {
            return Some(wants);
        }
        // What has come would be reported again and again while there is no room for it.
        wants.write.then_some(Ready::WRITE)
    }

    /// True if a message is here that no read would report.
    pub(super) fn has_message(&self) -> bool {
        self.stage == Stage::Open && self.retry.is_none() && self.duplex.has_input()
    }

    pub(super) fn has_queued(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Messages that have not begun, and bytes of them.
    pub(super) fn queued(&self) -> (usize, u64) {
        (self.queue.len(), self.queued)
    }

    /// Messages that the peer has not acknowledged.
    pub(super) fn unacknowledged(&self) -> usize {
        self.queue.len() + self.duplex.status().in_flight
    }

    /// As [`Duplex::lends`].
    #[cfg(feature = "unix")]
    pub(super) fn lends(&self) -> u64 {
        self.duplex.lends()
    }

    /// Longest wait for the peer when the connection is dropped.
    pub(super) fn linger(&self, time: Duration) {
        self.duplex.linger(time);
    }

    /// The program makes calls of its own on the connection.
    pub(super) fn hand_back(&mut self) -> &mut Connection {
        self.duplex.hand_back();
        &mut self.connection
    }

    /// The connection, and the messages that have not begun.
    pub(super) fn take_apart(self) -> (Connection, Vec<Message<'static>>) {
        self.duplex.hand_back();
        let unsent = self.queue.into_iter().map(|queued| queued.message);
        (self.connection, unsent.collect())
    }
}

fn ended(error: Error) -> Found {
    Found::Ended(Some(error))
}

fn cost(message: &Message<'_>) -> u64 {
    message.payload_len().saturating_add(OVERHEAD)
}
