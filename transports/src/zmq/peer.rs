//! One connection of a socket.

mod hear;
mod life;

use std::io::{self, IoSlice};
use std::time::Instant;

use numpush_message::{AllocError, Buffer, BufferAllocator, DecodeError};
use numpush_os::{self as os, Ready};
use numpush_zmtp::{Frames, Inbound, Outbound};

use crate::budget::Charge;
use crate::zmq::arrival::{Arrival, Arrived, Leftover, Stop};
use crate::zmq::heartbeat::Heartbeat;
use crate::zmq::lost::Lost;
use crate::zmq::pattern::Pattern;
use crate::zmq::stream::Stream;
use crate::zmq::terms::Terms;
use crate::zmq::topics::Topics;

/// Read where it does not stay while the peers shake hands: nothing of a message behind it.
const HANDSHAKE_STEP: usize = 64;

/// Most bytes of one write, so that a thread that waits for the lock waits no longer than a millisecond or so.
const STEP: usize = 4 << 20;

/// For so many bytes of a frame a call waits in the kernel.
const WAITS_FROM: u64 = 64 << 10;

/// Bytes of answers that a peer may leave unread before nothing more of it is read.
const MOST_SAID: u64 = 16 << 10;

/// What a message in a queue takes beside its bytes.
const PLACE: u64 = 512;

/// Most reads of one call. A peer that never stops must not hide the deadline, nor keep the thread that keeps all sockets.
const MOST_READS: usize = 64;

/// One connection.
pub(super) struct Peer {
    pub(super) stream: Stream,
    pub(super) phase: Phase,
    pub(super) outbound: Outbound<Buffer<'static>>,
    /// What it subscribes to.
    pub(super) topics: Topics,
    /// What it wants since the socket looked, and what it does not want any more, for an XPUB.
    pub(super) changes: Vec<(bool, Vec<u8>)>,
    /// What it is called: its own name for itself until it is open, then the one that a ROUTER has for it.
    pub(super) identity: Vec<u8>,
    /// Who it has proved to be.
    pub(super) user: Option<String>,
    /// Messages that it did not get, since its queue was full.
    pub(super) dropped: u64,
    /// When short messages were written last.
    pub(super) written: Instant,
    /// The endpoint at which it connected, or that was connected to.
    pub(super) endpoint: u64,
    /// What has come of a subscription that is a message.
    topic: Vec<u8>,
    /// This side has connected, and does so again.
    pub(super) is_dialled: bool,
    /// What it has of the budget: a handshake, or a connection.
    pub(super) charge: Option<Charge>,
    /// A call writes a message of its own: nothing else may go.
    pub(super) in_hand: bool,
    /// What the set waits for; `None` if it is not in it.
    pub(super) waits_for: Option<Ready>,
    inbound: Inbound,
    arrival: Arrival,
    /// The body of a frame is at hand.
    in_frame: bool,
    /// It has a question, and its next message is the answer. One that a REQ has not asked is not heard.
    pub(super) is_asked: bool,
    /// The message at hand was not asked for, and whether more frames of it follow.
    is_unasked: bool,
    has_more: bool,
    /// Nothing can be written any more. What has come is there all the same.
    pub(super) is_deaf: bool,
    /// What it has not got of our messages is counted, or with others.
    pub(super) is_settled: bool,
    /// The frame at hand is sealed, and long.
    is_sealed: bool,
    /// A message has begun, and nobody takes one now.
    is_held: bool,
    /// Since when nothing has come of the message that has begun.
    pub(super) still: Option<Instant>,
    pub(super) heartbeat: Heartbeat,
    may_read: bool,
    may_write: bool,
    pattern: Pattern,
    minor: u8,
}

/// Memory of the program that a socket has let go of, until its lock is free: a drop may wait for who waits for the lock.
#[derive(Default)]
pub(super) struct Unused {
    pub(super) frames: Vec<Frames<Buffer<'static>>>,
    messages: Vec<Leftover>,
    /// What came with a fault behind it.
    pub(super) found: Vec<Found>,
    /// What they had to write, and what had come of a message.
    pub(super) peers: Vec<Peer>,
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The kernel connects.
    Connecting,
    /// The peer has not said yet that it is ready.
    Handshake,
    /// Messages may go.
    Open,
}

/// What a read has found.
pub(super) enum Found {
    Message(Arrived),
    /// What has come is no message. The ones after it may be.
    Refused(DecodeError),
    NoRoom(AllocError),
    /// Other messages have the room for it.
    Short(AllocError),
    Nothing,
}

impl Unused {
    /// Takes all of it, if there is any.
    pub(super) fn take(&mut self) -> Option<Self> {
        let is_empty = self.frames.is_empty()
            && self.messages.is_empty()
            && self.found.is_empty()
            && self.peers.is_empty();
        (!is_empty).then(|| std::mem::take(self))
    }
}

impl Peer {
    /// A peer that is told that this side is called `identity`.
    pub(super) fn new(stream: Stream, terms: &Terms, identity: &[u8]) -> Self {
        let mut inbound = Inbound::new(terms.pattern, &terms.security, terms.limits());
        inbound.set_identity(identity);
        let mut outbound = Outbound::default();
        outbound.push(Frames::of_handshake(inbound.says()));
        Self {
            stream,
            phase: Phase::Connecting,
            outbound,
            topics: Topics::default(),
            changes: Vec::new(),
            identity: Vec::new(),
            user: None,
            dropped: 0,
            written: Instant::now(),
            endpoint: 0,
            topic: Vec::new(),
            is_dialled: false,
            charge: None,
            in_hand: false,
            waits_for: None,
            inbound,
            arrival: Arrival::new(terms),
            in_frame: false,
            is_asked: false,
            is_unasked: false,
            has_more: false,
            is_deaf: false,
            is_settled: false,
            is_sealed: false,
            is_held: false,
            still: None,
            heartbeat: Heartbeat::default(),
            may_read: false,
            may_write: false,
            pattern: terms.pattern,
            minor: 0,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// True if a message of `len` bytes may wait here.
    pub(super) fn has_room(&self, len: u64, window: u64) -> bool {
        let left = self.outbound.left() + PLACE * self.outbound.queued() as u64;
        self.is_open()
            && !self.is_deaf
            && !self.in_hand
            && (left == 0 || left.saturating_add(len) <= window)
    }

    /// What to wait for.
    pub(super) fn wants(&self) -> Ready {
        if self.phase == Phase::Connecting {
            return Ready::WRITE;
        }
        Ready {
            read: !self.is_held && self.outbound.said() < MOST_SAID,
            write: !self.is_deaf && (!self.outbound.is_empty() || self.in_hand),
        }
    }

    /// True if the set knows what to wait for, as far as writing goes.
    pub(super) fn is_arranged(&self) -> bool {
        let knows = self.waits_for.is_some_and(|known| known.write);
        knows || self.may_write || self.is_deaf || self.outbound.is_empty()
    }

    /// The next message, if it has come whole already.
    pub(super) fn take_ready(
        &mut self,
        allocator: &mut dyn BufferAllocator,
    ) -> Result<Found, Lost> {
        match self.take_in(&mut Some(allocator))? {
            Found::NoRoom(refused) => Ok(self.no_room(refused)),
            found => Ok(found),
        }
    }

    /// True if there is something to do without a wait.
    pub(super) fn is_busy(&self) -> bool {
        self.may_write && !self.is_deaf && !self.outbound.is_empty() && !self.in_hand
    }

    /// The set says what the socket is ready for.
    pub(super) fn ready(&mut self, ready: Ready) -> Result<(), Lost> {
        self.may_read |= ready.read;
        self.may_write |= ready.write;
        if self.phase == Phase::Connecting && ready.any() {
            self.stream.settle().map_err(Lost::Io)?;
            self.phase = Phase::Handshake;
        }
        Ok(())
    }

    /// A call takes messages again. True if none did before.
    pub(super) fn release(&mut self) -> bool {
        let was_held = std::mem::take(&mut self.is_held);
        self.may_read |= was_held;
        was_held
    }

    /// Writes some of what waits. What went whole is `unused` from then on.
    pub(super) fn write(&mut self, unused: &mut Unused) -> Result<(), Lost> {
        let mut total = 0;
        while self.is_busy() && total < STEP {
            let mut slices = Vec::new();
            let wanted = self.outbound.gather(&mut slices, STEP)?;
            if wanted == 0 {
                // What waits may not go before the handshake is done.
                break;
            }
            let written = match os::send(&self.stream, &slices, false) {
                Ok(written) => written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) => return self.deafen(error),
            };
            unused.frames.extend(self.outbound.advance(written));
            self.may_write = written == wanted;
            total += written;
        }
        Ok(())
    }

    /// Nothing can be written to it any more. One that has sent and is gone has sent all the same: the end comes behind its messages.
    fn deafen(&mut self, error: io::Error) -> Result<(), Lost> {
        if !self.is_open() || !self.pattern.receives() {
            return Err(Lost::Io(error));
        }
        self.is_deaf = true;
        Ok(())
    }

    /// Lets go of memory of messages that will never be whole.
    pub(super) fn take_unused(&mut self, unused: &mut Unused) {
        unused.messages.append(&mut self.arrival.unused);
    }

    /// True if the socket may take more.
    pub(super) fn may_write(&self) -> bool {
        self.may_write
    }

    /// Writes some of a message that a call has in hand. False if the socket takes no more now.
    ///
    /// A call that has nobody else to look after `waits` in the kernel for room, until that time: see [`Self::read`].
    pub(super) fn write_in_hand<B: AsRef<[u8]>>(
        &mut self,
        frames: &mut Frames<B>,
        waits: Option<Instant>,
    ) -> Result<bool, Lost> {
        while frames.left() > 0 {
            if self.outbound.seals() && !self.may_write {
                return Ok(false);
            }
            let left = frames.left();
            let mut slices: Vec<IoSlice<'_>> = Vec::with_capacity(4);
            self.outbound.gather_of(frames, &mut slices, STEP)?;
            let waits = waits.filter(|until| left >= WAITS_FROM && Instant::now() < *until);
            match os::send(&self.stream, &slices, waits.is_some()) {
                Ok(written) => drop(frames.advance(written)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.may_write = false;
                    if !frames.is_begun() {
                        // What goes before it meanwhile is sealed before it.
                        frames.rewind();
                    }
                    return Ok(false);
                }
                Err(error) => {
                    self.in_hand = false;
                    self.deafen(error)?;
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Reads what has come, up to the end of a message. Without an allocator nobody takes messages: they stay where they are.
    ///
    /// A call that has nobody else to look after `waits` in the kernel for more of a large message, until that time: it wakes
    /// hundreds of times a second then, and one call each time is all that it makes.
    pub(super) fn read(
        &mut self,
        mut allocator: Option<&mut dyn BufferAllocator>,
        waits: Option<Instant>,
    ) -> Result<Found, Lost> {
        if self.phase == Phase::Connecting || self.is_held && allocator.is_none() {
            return Ok(Found::Nothing);
        }
        let mut reads = 0;
        loop {
            match self.take_in(&mut allocator)? {
                Found::Nothing => {}
                Found::NoRoom(refused) => return Ok(self.no_room(refused)),
                found => return Ok(found),
            }
            // What is left in the kernel wakes the next wait at once.
            if reads == MOST_READS {
                return Ok(Found::Nothing);
            }
            reads += 1;
            if self.is_held || self.outbound.said() >= MOST_SAID {
                return Ok(Found::Nothing);
            }
            let waits = !self.may_read
                && allocator.is_some()
                && self.in_frame
                && self.inbound.body_left() >= WAITS_FROM
                && waits.is_some_and(|until| Instant::now() < until);
            if !self.may_read && !waits {
                return Ok(Found::Nothing);
            }
            if let Err(refused) = self.receive(allocator.is_some(), waits)? {
                return Ok(self.no_room(refused));
            }
        }
    }

    /// Nothing more is read until a call asks again.
    fn no_room(&mut self, refused: AllocError) -> Found {
        self.is_held = true;
        match self.arrival.is_short() {
            true => Found::Short(refused),
            false => Found::NoRoom(refused),
        }
    }

    /// Reads once.
    fn receive(&mut self, takes: bool, waits: bool) -> Result<Result<(), AllocError>, Lost> {
        let left = self.inbound.body_left();
        let ahead = match self.phase {
            Phase::Open => self.arrival.ahead(left).max(self.inbound.wanted()),
            _ => HANDSHAKE_STEP,
        };
        let landing = match self.arrival.lands(&self.inbound) {
            Ok(landing) => landing.filter(|_| takes && self.in_frame),
            Err(refused) => return Ok(Err(refused)),
        };
        let lands = landing.is_some();
        let (to, most) = match landing {
            Some(landing) => (landing, usize::try_from(left).unwrap_or(usize::MAX)),
            None => (self.inbound.spare(), ahead),
        };
        let most = most.min(to.len());
        let to = to.get_mut(..most).unwrap_or(&mut []);
        let count = match os::receive(&self.stream, to, waits) {
            Ok(0) => return Err(Lost::Ended),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.inbound.found_nothing();
                0
            }
            Err(error) => return Err(Lost::Io(error)),
        };
        self.may_read = count == most;
        if count > 0 {
            self.still = None;
            self.heartbeat.hear();
        }
        if lands {
            self.inbound.landed(count as u64);
            self.arrival.landed(count);
        } else {
            self.inbound.filled(count);
        }
        self.arrival.called();
        Ok(Ok(()))
    }

    /// Takes in what was read.
    fn take_in(&mut self, allocator: &mut Option<&mut dyn BufferAllocator>) -> Result<Found, Lost> {
        loop {
            if !self.in_frame
                && self.pattern != Pattern::Req
                && let Some(allocator) = allocator.as_deref_mut()
                && let Some(arrived) = self.arrival.again(&mut self.inbound, allocator)
            {
                return Ok(Found::Message(arrived));
            }
            if self.in_frame && self.is_unasked && self.is_sealed {
                // To be passed by it is opened, and so held.
                let Some(more) = self.arrival.pass_sealed(&mut self.inbound)? else {
                    return Ok(Found::Nothing);
                };
                (self.in_frame, self.is_sealed, self.has_more) = (false, false, more);
            } else if self.in_frame && self.is_unasked {
                if !self.pass_by() {
                    return Ok(Found::Nothing);
                }
            } else if self.in_frame && self.pattern.publishes() {
                if !self.subscribe()? {
                    return Ok(Found::Nothing);
                }
            } else if self.in_frame {
                let Some(allocator) = allocator.as_deref_mut() else {
                    self.is_held = true;
                    return Ok(Found::Nothing);
                };
                let taken = match self.arrival.take(&mut self.inbound, allocator) {
                    Ok(false) => return Ok(Found::Nothing),
                    Ok(true) => self.end_frame(allocator),
                    Err(Stop::NoRoom(refused)) => return Ok(Found::NoRoom(refused)),
                    Err(Stop::Fault(fault)) => return Err(fault.into()),
                };
                match taken {
                    Err(refused) => return Ok(Found::NoRoom(refused)),
                    Ok(None) => self.in_frame = false,
                    Ok(Some(arrived)) => {
                        self.in_frame = false;
                        return Ok(match arrived {
                            Ok(arrived) => Found::Message(arrived),
                            Err(fault) => Found::Refused(fault),
                        });
                    }
                }
            }
            if !self.hear()? {
                return Ok(Found::Nothing);
            }
        }
    }

    /// The frame at hand has come whole.
    fn end_frame(
        &mut self,
        allocator: &mut dyn BufferAllocator,
    ) -> Result<Option<Result<Arrived, DecodeError>>, AllocError> {
        if std::mem::take(&mut self.is_sealed) {
            self.has_more = self.arrival.has_more();
        }
        self.arrival.end(allocator)
    }

    /// Drops what has come without a question. An end that it finds is found again.
    pub(super) fn forget_answers(&mut self) {
        self.is_asked = false;
        self.may_read = true;
        let _ = self.read(None, None);
    }

    /// True if the rest of a message is awaited.
    pub(super) fn is_waited_for(&self) -> bool {
        self.is_open() && !self.is_held && !self.may_read && self.is_amid()
    }

    /// True if a message has begun to come and has not ended.
    pub(super) fn is_amid(&self) -> bool {
        self.in_frame || !self.arrival.is_idle()
    }
}
