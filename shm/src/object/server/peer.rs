//! One client, as the owner sees it.

use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use numpush_os::{FileId, ParentOnly, Ready};
use numpush_shm_core::{RobustRwLock, SharedPages};

use crate::object::lessees::Lessee;
use crate::object::protocol::{ClientNotice, OpenReply, OwnerNotice, Reply, Request};
use crate::object::raw::{Value, find_value, is_kept};
use crate::object::wire::{Frame, Greeting, Link, NOTICE, Status, WireError};

/// A client: its link, and what it has.
#[derive(Debug)]
pub(super) struct Peer {
    // Dropped before the socket.
    _parent_only: ParentOnly,
    pub(super) link: Link,
    /// What its socket is waited for.
    pub(super) wants: Ready,
    pid: u32,
    /// The values it has open.
    leases: HashMap<u64, OpenLease>,
    /// The memories whose descriptors it got.
    known: HashSet<FileId>,
}

/// That a client has a value open. The owner keeps the value until it is dropped.
#[derive(Debug)]
pub(super) struct OpenLease {
    // Dropped before the value: who looks for clients and finds none finds the value free soon after.
    _lessee: Lessee,
    value: Arc<Value>,
}

/// What a frame of a client leaves to do, beyond an answer on its link.
pub(super) enum Rest {
    Nothing,
    /// It let go of this value.
    Closed(u64, Option<OpenLease>),
    /// It uses this value, which is wanted back.
    InUse(u64),
    /// It asked in the request of this number for the values after this one.
    Report(u64, u64),
}

impl Peer {
    pub(super) fn new(socket: UnixStream, pid: u32) -> Self {
        Self {
            _parent_only: ParentOnly::new(&socket),
            link: Link::new(socket, Greeting::new(Status::Ready)),
            wants: Ready::READ,
            pid,
            leases: HashMap::new(),
            known: HashSet::new(),
        }
    }

    pub(super) fn has_open(&self, number: u64) -> bool {
        self.leases.contains_key(&number)
    }

    /// All it has open, at its end.
    pub(super) fn into_leases(self) -> Vec<OpenLease> {
        self.leases.into_values().collect()
    }

    /// Says that the owner has let go of a value, or wants it back.
    pub(super) fn let_go(&mut self, number: u64) -> Result<(), WireError> {
        self.link.queue(NOTICE, &OwnerNotice::LetGo(number), None)
    }

    /// Says that a memory is gone, if the client got it.
    pub(super) fn unmapped(&mut self, memory: FileId) -> Result<(), WireError> {
        if !self.known.remove(&memory) {
            return Ok(());
        }
        let notice = OwnerNotice::Unmapped(vec![memory]);
        self.link.queue(NOTICE, &notice, None)
    }

    /// Answers a frame, as far as that is done at once.
    pub(super) fn answer(&mut self, frame: &Frame) -> Result<Rest, WireError> {
        if frame.number == NOTICE {
            return Ok(match frame.value()? {
                ClientNotice::Closed(number) => Rest::Closed(number, self.leases.remove(&number)),
                ClientNotice::InUse(number) => {
                    if let Some(lease) = self.leases.get(&number) {
                        lease.is_used();
                    }
                    Rest::InUse(number)
                }
            });
        }
        let number = frame.number;
        match frame.value()? {
            Request::Open(value) => self.open(number, value)?,
            Request::Memory(memory) => match descriptor_of(memory) {
                Some(descriptor) => self.send_memory(number, memory, descriptor)?,
                None => self.link.queue(number, &Reply::Gone, None)?,
            },
            Request::Report(after) => return Ok(Rest::Report(number, after)),
        }
        Ok(Rest::Nothing)
    }

    fn open(&mut self, request: u64, number: u64) -> Result<(), WireError> {
        let gone = |peer: &mut Self| peer.link.queue(request, &Reply::Gone, None);
        let Some(value) = find_value(number) else {
            return gone(self);
        };
        let (Ok(offer), Ok(owned)) = (value.offer(), value.owned("offer it")) else {
            return gone(self);
        };
        if !self.leases.contains_key(&number) {
            let lease = OpenLease {
                _lessee: owned.lessees.enter(self.pid),
                value: Arc::clone(&value),
            };
            self.leases.insert(number, lease);
        }
        let unknown = self.unknown(&offer);
        let reply = Reply::Opened {
            offer,
            memories: u32::try_from(unknown.len()).unwrap_or(u32::MAX),
            // Asked after the client was noted: see `Lessees::enter`.
            is_kept: is_kept(number),
        };
        self.link.queue(request, &reply, None)?;
        for (memory, descriptor) in unknown {
            self.send_memory(request, memory, descriptor)?;
        }
        Ok(())
    }

    /// The memories of an offer that the client has not got.
    fn unknown(&self, offer: &OpenReply) -> Vec<(FileId, Arc<OwnedFd>)> {
        let spans = offer.spans.iter().map(|span| span.memory);
        let locks = offer.locks.iter().map(|lock| lock.memory);
        let mut named: Vec<FileId> = spans.chain(locks).collect();
        named.sort_unstable();
        named.dedup();
        let unknown = named
            .into_iter()
            .filter(|memory| !self.known.contains(memory));
        unknown
            .filter_map(|memory| Some((memory, descriptor_of(memory)?)))
            .collect()
    }

    fn send_memory(
        &mut self,
        request: u64,
        memory: FileId,
        descriptor: Arc<OwnedFd>,
    ) -> Result<(), WireError> {
        self.known.insert(memory);
        self.link
            .queue(request, &Reply::Memory(memory), Some(descriptor))
    }
}

impl OpenLease {
    fn is_used(&self) {
        if let Ok(owned) = self.value.owned("ask for it") {
            owned.lessees.is_used();
        }
    }

    /// True if nobody else has the value.
    pub(super) fn is_last(&self) -> bool {
        Arc::strong_count(&self.value) == 1
    }

    /// Bytes that may be free once it is dropped.
    pub(super) fn byte_len(&self) -> usize {
        self.value.spans.byte_len()
    }
}

fn descriptor_of(memory: FileId) -> Option<Arc<OwnedFd>> {
    let pages = SharedPages::find(memory).map(|pages| Arc::clone(pages.descriptor()));
    pages.or_else(|| RobustRwLock::descriptor(memory))
}
