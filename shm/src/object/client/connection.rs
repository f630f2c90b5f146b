//! A connection to an owner: one request at a time, each with a number that its replies repeat.

use std::collections::HashMap;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Instant;

use numpush_os::{FileId, Ready, connect_abstract, peer_credentials, user};
use numpush_shm_core::{RobustRwLock, SharedPages};

use crate::error::Error;
use crate::object::handle::Handle;
use crate::object::protocol::{ClientNotice, OpenReply, OwnerNotice, Reply, Request};
use crate::object::spans::Spans;
use crate::object::wire::{Frame, Greeting, Link, NOTICE, Status, VERSION, WireError};

/// A connection that has not failed. Whoever sees it fail drops it.
#[derive(Debug)]
pub(super) struct Connection {
    /// Which of the connections of this process it is.
    pub(super) id: u64,
    /// The process of the owner, by its number here; 0 if it has none here.
    pub(super) owner: u32,
    /// What its socket is waited for, if it is.
    pub(super) watched: Option<Ready>,
    link: Link,
    /// The number of the last request.
    last: u64,
    /// Mappings that stay for the next value in them: to map memory anew costs a fault a page. The owner reports when one
    /// is gone.
    pub(super) kept: HashMap<FileId, Arc<SharedPages>>,
    /// A lock of each table of the owner, which keeps the table mapped for the next value with a lock in it.
    tables: HashMap<FileId, RobustRwLock>,
}

/// A connection that has opened something, or is about to.
#[derive(Clone, Debug)]
pub(super) struct Opener {
    pub(super) id: u64,
    /// While it is open, the owner keeps what the connection opened, also when the connection has failed.
    _socket: Arc<UnixStream>,
}

impl Connection {
    /// Connects to the owner of `handle`, and to no other user.
    pub(super) fn connect(handle: &Handle, id: u64, deadline: Instant) -> Result<Self, Error> {
        let socket = connect_abstract(&handle.owner.to_string(), deadline).map_err(|error| {
            match error.kind() {
                io::ErrorKind::ConnectionRefused => stale(handle, OWNER_GONE),
                io::ErrorKind::TimedOut => busy(handle, QUEUE_FULL),
                _ => Error::io("connect to the owner of a shared value")(error),
            }
        })?;
        let credentials =
            peer_credentials(&socket).map_err(Error::io("ask who owns a shared value"))?;
        if credentials.same_user().is_none() {
            return Err(Error::ForeignUser {
                handle: handle.to_string(),
                found: credentials.uid,
                wanted: user(),
            });
        }
        Ok(Self {
            id,
            owner: credentials.pid.unsigned_abs(),
            watched: None,
            link: Link::new(socket, Greeting::new(Status::Ready)),
            last: NOTICE,
            kept: HashMap::new(),
            tables: HashMap::new(),
        })
    }

    pub(super) fn socket(&self) -> &Arc<UnixStream> {
        self.link.socket()
    }

    pub(super) fn opener(&self) -> Opener {
        Opener {
            id: self.id,
            _socket: Arc::clone(self.socket()),
        }
    }

    /// Sends a request and waits for the first reply. What the owner says meanwhile is put into `notices`.
    ///
    /// After an error the connection is of no use.
    pub(super) fn ask(
        &mut self,
        request: &Request,
        deadline: Instant,
        notices: &mut Vec<OwnerNotice>,
    ) -> Result<(Reply, Frame), WireError> {
        self.last += 1;
        self.link.queue(self.last, request, None)?;
        self.next_reply(deadline, notices)
    }

    /// Waits for the next reply to the last request.
    pub(super) fn next_reply(
        &mut self,
        deadline: Instant,
        notices: &mut Vec<OwnerNotice>,
    ) -> Result<(Reply, Frame), WireError> {
        loop {
            let frame = self.link.next(deadline)?;
            if frame.number == NOTICE {
                notices.push(frame.value()?);
            } else if frame.number == self.last {
                return Ok((frame.value()?, frame));
            } else {
                return Err(WireError::Malformed("an answer to another request"));
            }
        }
    }

    /// Keeps mapped what an offer named.
    pub(super) fn keep(&mut self, offer: &OpenReply, spans: &Spans) {
        for (pages, ..) in spans.runs() {
            self.kept
                .entry(pages.id())
                .or_insert_with(|| Arc::clone(pages));
        }
        for lock in &offer.locks {
            if !self.tables.contains_key(&lock.memory)
                && let Some(opened) = RobustRwLock::find(lock.memory, lock.address())
            {
                self.keep_table(lock.memory, &opened);
            }
        }
    }

    /// Keeps the table mapped that a lock lies in.
    pub(super) fn keep_table(&mut self, memory: FileId, lock: &RobustRwLock) {
        let table = self.tables.entry(memory);
        table.or_insert_with(|| lock.clone());
    }

    /// What the owner has said by itself, without waiting. No request is out.
    pub(super) fn notices(&mut self) -> Result<Vec<OwnerNotice>, WireError> {
        let mut notices = Vec::new();
        while let Some(frame) = self.link.poll()? {
            if frame.number != NOTICE {
                return Err(WireError::Malformed("an answer to no request"));
            }
            notices.push(frame.value()?);
        }
        Ok(notices)
    }

    /// Says something, without waiting. What finds no room is sent later: see [`Self::wants`].
    pub(super) fn say(&mut self, notice: &ClientNotice) -> Result<(), WireError> {
        self.link.queue(NOTICE, notice, None)?;
        self.flush()
    }

    /// Sends what there is room for, without waiting.
    pub(super) fn flush(&mut self) -> Result<(), WireError> {
        self.link.flush().map(|_| ())
    }

    /// What the socket is to be waited for while nobody uses the connection.
    pub(super) fn wants(&self) -> Ready {
        if self.link.is_flushed() {
            Ready::READ
        } else {
            Ready::BOTH
        }
    }
}

pub(super) const OWNER_GONE: &str = "its owner has ended";
pub(super) const VALUE_GONE: &str = "its value is gone";
const UNSERVED: &str = "its owner has ended, or does not serve this user";
const QUEUE_FULL: &str = "its queue of connections is full";
const PEERS_FULL: &str = "it serves as many processes as it can";
const SHORT: &str = "it has no descriptor or no memory left for another process";
pub(super) const NO_ANSWER: &str = "it does not answer";

pub(super) fn stale(handle: &Handle, why: &'static str) -> Error {
    Error::Stale {
        handle: handle.to_string(),
        why,
    }
}

pub(super) fn busy(handle: &Handle, why: &'static str) -> Error {
    Error::Busy {
        handle: handle.to_string(),
        why,
    }
}

/// What a caller is told of a connection that failed.
pub(super) fn failed(handle: &Handle, error: WireError) -> Error {
    match error {
        WireError::Closed => stale(handle, OWNER_GONE),
        WireError::Unserved => stale(handle, UNSERVED),
        WireError::TimedOut => busy(handle, NO_ANSWER),
        WireError::Full => busy(handle, PEERS_FULL),
        WireError::Short => busy(handle, SHORT),
        WireError::Io(error) => Error::io("talk to the owner of a shared value")(error),
        WireError::Malformed(what) => Error::Protocol {
            peer: handle.owner.to_string(),
            what,
        },
        WireError::Version(found) => Error::ProtocolVersion {
            peer: handle.owner.to_string(),
            found,
            wanted: VERSION,
        },
    }
}
