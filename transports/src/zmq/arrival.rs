//! The message that comes from a peer.

mod again;
mod arrived;
mod place;
mod room;
mod unseal;

use numpush_message::{
    AllocError, BufferAllocator, BufferMut, DecodeError, Decoder, Landing, Limits, MAGIC,
    PREAMBLE_LEN,
};
use numpush_zmtp::{Fault, FrameHead, Inbound, LONGEST_HEAD, SEALED_LEAD};

use crate::transfer::{PathReason, Transfer, TransferPath};
use crate::zmq::arrival::again::Again;
use crate::zmq::arrival::room::Rooms;
use crate::zmq::raw::RawFrames;
use crate::zmq::sealed::Sealed;
use crate::zmq::terms::{LONGEST_BEFORE, MOST_BEFORE, Terms};

pub(super) use arrived::Arrived;
pub use arrived::Content;

/// Longest frame that is gathered: a preamble and the longest header.
const LONGEST_GATHERED: u64 = (PREAMBLE_LEN + Limits::HEADER) as u64;

/// Longest room for a head that stays when its message has come.
const LONGEST_KEPT: usize = 4 << 10;

/// A message that comes, frame by frame: what goes before it, its head, its buffers.
pub(super) struct Arrival {
    landing: Landing,
    /// Frames that are no message of ours are taken as they are, up to so many bytes a message.
    raw: Option<u64>,
    stage: Stage,
    /// Another frame follows the one at hand.
    more: bool,
    envelope: Vec<Vec<u8>>,
    /// What has come of a frame that is not a buffer.
    gathered: Vec<u8>,
    /// Buffers whose frame has begun.
    buffers: usize,
    transfer: Transfer,
    /// Bytes up to the first buffer of the last message, if it was large: the next one may be like it, and if no more is read
    /// nothing of its payload comes to where it does not stay.
    lead: usize,
    /// The frame at hand is sealed, and long. What it is is known when all of it has come.
    sealed: Option<Sealed>,
    /// Frames are sealed.
    seals: bool,
    /// Memory of messages that will never be whole, which is not dropped here: the program's allocator made it.
    pub(super) unused: Vec<Leftover>,
    rooms: Rooms,
    again: Option<Again>,
}

/// Memory of a message that will never be whole.
pub(super) enum Leftover {
    Region { _region: Box<dyn BufferMut> },
    Frames { _frames: RawFrames },
}

enum Stage {
    /// Frames before the message, or its head.
    Head,
    /// The buffers, which lie in memory of the allocator, once there is some.
    Buffers,
    /// Frames of another program's, each in memory of its own.
    Raw(RawFrames),
    /// What is no message passes by.
    Skip(DecodeError),
}

/// Why nothing more is taken.
pub(super) enum Stop {
    NoRoom(AllocError),
    Fault(Fault),
}

impl From<AllocError> for Stop {
    fn from(refused: AllocError) -> Self {
        Self::NoRoom(refused)
    }
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Arrival {
    pub(super) fn new(terms: &Terms) -> Self {
        let (max_message, seals) = (terms.max_message, terms.security.seals());
        let landing = Landing::new(Limits::default().with_payload(max_message));
        Self {
            landing: match seals {
                // A frame is opened where it lies, and its box begins with one byte more.
                true => landing.with_byte_before(),
                false => landing,
            },
            raw: terms.takes_raw.then_some(max_message),
            stage: Stage::Head,
            more: false,
            envelope: Vec::new(),
            gathered: Vec::new(),
            buffers: 0,
            again: None,
            transfer: Transfer::default(),
            lead: 2 + PREAMBLE_LEN,
            sealed: None,
            seals,
            unused: Vec::new(),
            rooms: Rooms::new(&terms.budget),
        }
    }

    /// The next message, if it has come whole and begins as the last one did.
    pub(super) fn again(
        &mut self,
        inbound: &mut Inbound,
        allocator: &mut dyn BufferAllocator,
    ) -> Option<Arrived> {
        let again = self.again.as_ref()?;
        let (head, buffer, count) = again.find(inbound.waiting())?;
        // What fails here is found again, and told, as of any other.
        let message = self.landing.again(head, buffer, allocator).ok()??;
        let transfer = Transfer {
            bytes: message.payload_len(),
            copied: buffer.len() as u64,
            system_calls: std::mem::take(&mut self.transfer.system_calls),
            path: TransferPath::Read,
            reason: PathReason::Small,
            ..Transfer::default()
        };
        inbound.pass(count);
        Some(Arrived {
            content: Content::Message(message),
            transfer,
            envelope: again.envelope.clone(),
        })
    }

    /// True if the last look found no room because other messages have it.
    pub(super) fn is_short(&self) -> bool {
        self.rooms.is_short()
    }

    /// A frame begins.
    pub(super) fn begin(&mut self, head: FrameHead) {
        self.more = head.more;
        match &mut self.stage {
            Stage::Skip(_) => {}
            Stage::Raw(frames) => {
                if let Err(fault) = frames.begin(head.len) {
                    return self.skip(fault);
                }
                self.rooms.claim_frame(frames.total(), head.len, 0);
            }
            Stage::Head => {
                self.gathered.clear();
                if head.len > LONGEST_GATHERED && self.raw.is_none() {
                    self.skip(DecodeError::HeaderTooLong {
                        len: head.len,
                        max: LONGEST_GATHERED,
                    });
                }
            }
            Stage::Buffers => {
                if let Err(fault) = self.expect(head) {
                    self.skip(fault);
                }
                self.buffers += 1;
            }
        }
    }

    /// Checks the head of a buffer's frame.
    fn expect(&self, head: FrameHead) -> Result<(), DecodeError> {
        let expected = self.landing.len_of(self.buffers).unwrap_or(0);
        if head.len != expected {
            return Err(DecodeError::BufferLength {
                index: self.buffers,
                found: head.len,
                expected,
            });
        }
        self.count(self.buffers + 1, head.more)
    }

    /// Checks that frames follow if buffers do, where so many have come.
    fn count(&self, found: usize, more: bool) -> Result<(), DecodeError> {
        let expected = self.landing.buffers();
        if more == (found < expected) {
            return Ok(());
        }
        let found = if more { expected + 1 } else { found };
        Err(DecodeError::BufferCount { found, expected })
    }

    fn cancel(&mut self) {
        let region = self.landing.cancel();
        self.unused
            .extend(region.map(|region| Leftover::Region { _region: region }));
    }

    fn skip(&mut self, fault: DecodeError) {
        self.cancel();
        self.gathered = Vec::new();
        self.rooms.leave();
        let stage = std::mem::replace(&mut self.stage, Stage::Skip(fault));
        if let Stage::Raw(frames) = stage {
            self.unused.push(Leftover::Frames { _frames: frames });
        }
    }

    /// Takes what has come of the body of the frame at hand. True if that is all of it.
    ///
    /// Fails if there is no room, and takes nothing then: call again when there is.
    pub(super) fn take(
        &mut self,
        inbound: &mut Inbound,
        allocator: &mut dyn BufferAllocator,
    ) -> Result<bool, Stop> {
        if self.sealed.is_some() {
            return self.take_sealed(inbound, allocator);
        }
        while inbound.body_left() > 0 {
            // There may never be room, for its payload or for all of it.
            let count = match self.take_some(inbound, allocator) {
                Err(refused) if refused.is_permanent() => {
                    self.skip(DecodeError::Alloc(refused));
                    continue;
                }
                taken => taken?,
            };
            if count == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn take_some(
        &mut self,
        inbound: &mut Inbound,
        allocator: &mut dyn BufferAllocator,
    ) -> Result<usize, AllocError> {
        let most = self.rooms.covered()?;
        let count = match &self.stage {
            Stage::Skip(_) => {
                let before = inbound.body_left();
                inbound.skip();
                usize::try_from(before - inbound.body_left()).unwrap_or(usize::MAX)
            }
            Stage::Head => self.gather(inbound, most),
            Stage::Raw(_) | Stage::Buffers => {
                self.find_room(allocator)?;
                let count = inbound.take(self.spare(most)?);
                self.transfer.copied += count as u64;
                self.landed(count);
                count
            }
        };
        Ok(count)
    }

    /// Takes a piece of a frame before the message, or of its head. What a peer claims takes no memory before it comes.
    fn gather(&mut self, inbound: &mut Inbound, most: usize) -> usize {
        let before = self.gathered.len();
        let step = usize::try_from(inbound.body_left()).unwrap_or(usize::MAX);
        let step = step.min(16 << 10).min(most);
        self.gathered.resize(before + step, 0);
        let count = inbound.take(self.gathered.get_mut(before..).unwrap_or(&mut []));
        self.gathered.truncate(before + count);
        self.rooms.came(count);
        if let Err(fault) = self.look(inbound.body_left()) {
            self.refuse(fault, inbound.body_left());
        }
        count
    }

    /// What comes is no message of ours, of which `left` bytes of the frame at hand have not come.
    fn refuse(&mut self, fault: DecodeError, left: u64) {
        let (DecodeError::ForeignProtocol { .. }, Some(most)) = (&fault, self.raw) else {
            return self.skip(fault);
        };
        let len = self.gathered.len() as u64 + left;
        let lead = std::mem::take(&mut self.gathered);
        let envelope = std::mem::take(&mut self.envelope);
        self.lead = usize::MAX;
        match RawFrames::new(most, self.seals, envelope, lead, len) {
            Ok(frames) => {
                self.rooms.claim_frame(frames.total(), len, len - left);
                self.stage = Stage::Raw(frames);
            }
            Err(fault) => self.skip(fault),
        }
    }

    /// Checks what has been gathered of a frame of which `left` bytes have not come.
    fn look(&mut self, left: u64) -> Result<(), DecodeError> {
        let known = self.gathered.len().min(MAGIC.len());
        if self.gathered.get(..known) != MAGIC.get(..known) {
            let len = self.gathered.len() as u64 + left;
            let is_before = self.more && self.envelope.len() < MOST_BEFORE;
            if is_before && len <= LONGEST_BEFORE as u64 {
                return Ok(());
            }
            return Err(self.foreign());
        }
        if let Some(&first) = self.gathered.first_chunk() {
            let len = self.landing.head_len(&first)? as u64;
            self.rooms.claim(&first, self.gathered.len());
            let found = self.gathered.len() as u64 + left;
            if len != found {
                let (missing, count) = (len.saturating_sub(found), found.saturating_sub(len));
                return Err(match missing {
                    0 => DecodeError::TrailingBytes { count },
                    missing => DecodeError::Truncated { missing },
                });
            }
        }
        Ok(())
    }

    fn foreign(&self) -> DecodeError {
        let mut first = [0; 8];
        for (to, from) in first.iter_mut().zip(&self.gathered) {
            *to = *from;
        }
        DecodeError::ForeignProtocol { first }
    }

    /// The frame at hand has come whole. Returns the message that it completes, or why what it completes is none.
    ///
    /// Fails if there is no room for its end: call again when there is.
    pub(super) fn end(
        &mut self,
        allocator: &mut dyn BufferAllocator,
    ) -> Result<Option<Result<Arrived, DecodeError>>, AllocError> {
        if matches!(self.stage, Stage::Head) {
            self.end_head();
        }
        self.end_raw(allocator)?;
        if self.more {
            return Ok(None);
        }
        let stage = std::mem::replace(&mut self.stage, Stage::Head);
        let finished = match stage {
            Stage::Skip(fault) => Err(fault),
            Stage::Raw(frames) => {
                self.transfer.bytes = frames.total();
                Ok(Content::Frames(frames.finish()))
            }
            _ => {
                self.again = match (self.landing.buffers(), self.landing.len_of(0)) {
                    (1, Some(len)) if !self.seals => Again::of(&self.envelope, &self.gathered, len),
                    _ => None,
                };
                let found = self.landing.find_room(allocator);
                let finished = found.map_err(DecodeError::from);
                finished
                    .and_then(|()| self.landing.finish())
                    .map(Content::Message)
            }
        };
        match finished {
            Err(DecodeError::Alloc(refused)) if !refused.is_permanent() => {
                self.stage = Stage::Buffers;
                return Err(refused);
            }
            Err(_) => self.cancel(),
            Ok(_) => {}
        }
        let mut transfer = std::mem::take(&mut self.transfer);
        transfer.path = TransferPath::Read;
        transfer.reason = match transfer.copied {
            0 => PathReason::OnlyWay,
            _ => PathReason::Small,
        };
        let envelope = std::mem::take(&mut self.envelope);
        self.gathered.clear();
        self.gathered.shrink_to(LONGEST_KEPT);
        self.buffers = 0;
        self.rooms.leave();
        Ok(Some(finished.map(|content| Arrived {
            content,
            transfer,
            envelope,
        })))
    }

    /// A frame of another program's has come whole.
    fn end_raw(&mut self, allocator: &mut dyn BufferAllocator) -> Result<(), AllocError> {
        let Stage::Raw(frames) = &mut self.stage else {
            return Ok(());
        };
        let found = frames.find_room(allocator, &mut self.transfer.copied);
        match found.and_then(|()| frames.end()) {
            Err(refused) if refused.is_permanent() => self.skip(DecodeError::Alloc(refused)),
            ended => ended?,
        }
        Ok(())
    }

    /// The head of the message, or a frame before it, has come whole.
    fn end_head(&mut self) {
        if !self.gathered.starts_with(&MAGIC) {
            if self.more && self.envelope.len() < MOST_BEFORE {
                self.envelope.push(std::mem::take(&mut self.gathered));
            } else {
                self.refuse(self.foreign(), 0);
            }
            return;
        }
        self.stage = Stage::Buffers;
        let begun = self.landing.begin(&self.gathered);
        if let Err(fault) = begun.and_then(|()| self.count(0, self.more)) {
            return self.skip(fault);
        }
        self.transfer.bytes = self.landing.payload_len() as u64;
        let len = self.gathered.len() + self.overhead();
        self.lead = match self.is_large() {
            true => head_len(len as u64) + len + LONGEST_HEAD + self.overhead(),
            false => usize::MAX,
        };
    }

    /// Bytes that go before the data of a frame.
    fn overhead(&self) -> usize {
        if self.seals { SEALED_LEAD } else { 0 }
    }

    fn is_large(&self) -> bool {
        self.landing.payload_len() > Decoder::SMALL
    }

    /// A system call has read some of it.
    pub(super) fn called(&mut self) {
        self.transfer.system_calls = self.transfer.system_calls.saturating_add(1);
    }

    /// True if nothing of a message has come.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.stage, Stage::Head) && !self.more && self.gathered.is_empty()
    }
}

/// Bytes of the head of a frame with a body of `len` bytes.
fn head_len(len: u64) -> usize {
    if len > u8::MAX.into() {
        LONGEST_HEAD
    } else {
        2
    }
}
