//! The stages of reading a record: one for each part, in the order in which the parts come.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::fmt;

use crate::model::{AllocError, Buffer, BufferAllocator, BufferMut};
use crate::wire::checksum::Chunks;
use crate::wire::decode::other::{ControlStage, Progress, SkipStage};
use crate::wire::error::DecodeError;
use crate::wire::header::{Header, Seen};
use crate::wire::layout::{SUM_STEP, to_usize};
use crate::wire::limits::Limits;
use crate::wire::preamble::{MAGIC, PREAMBLE_LEN, Preamble, written_sum};
use crate::wire::record::{Record, Reference, check_padding};

/// Records with at most this many bytes after their preamble are read whole.
pub(super) const SMALL: usize = 64 << 10;

/// Header bytes are asked for in steps of this size, so that a claim alone costs no more.
const HEADER_STEP: usize = 64 << 10;

/// What the decoder waits for.
pub(super) enum State {
    Preamble(PreambleStage),
    Control(ControlStage),
    Skip(SkipStage),
    Header(HeaderStage),
    Room(RoomStage),
    Whole(WholeStage),
    Payload(PayloadStage),
    Trailer(TrailerStage),
    /// An error was returned, or a stage is at work.
    Failed,
}

/// What follows from bytes that came.
#[expect(
    clippy::large_enum_variant,
    reason = "taken apart at once; a box would cost an allocation for each read"
)]
pub(super) enum Step {
    Continue(State),
    Done(Record),
}

impl Step {
    fn of<S>(progress: Progress<S>, state: impl FnOnce(S) -> State) -> Self {
        match progress {
            Progress::More(stage) => Self::Continue(state(stage)),
            Progress::Done(record) => Self::Done(record),
        }
    }
}

/// The preamble.
pub(super) struct PreambleStage {
    bytes: [u8; PREAMBLE_LEN],
    filled: usize,
}

/// Header, its padding and the table of references, into memory that grows as bytes arrive.
pub(super) struct HeaderStage {
    first: [u8; PREAMBLE_LEN],
    preamble: Preamble,
    bytes: Vec<u8>,
    filled: usize,
}

/// Memory for the rest of a record, of which no byte has come.
pub(super) enum RoomStage {
    /// For all that follows the preamble.
    Whole([u8; PREAMBLE_LEN], Preamble),
    /// For the payload, after a header that was accepted; and the checksum of the preamble.
    Payload(Preamble, Header, u32),
}

/// Header, padding, payload and checksums of a small record, in one region: the payload is aligned in it as it is in the
/// record.
pub(super) struct WholeStage {
    first: [u8; PREAMBLE_LEN],
    preamble: Preamble,
    region: Box<dyn BufferMut>,
    filled: usize,
}

/// The payload.
pub(super) struct PayloadStage {
    preamble: Preamble,
    header: Header,
    region: Box<dyn BufferMut>,
    filled: usize,
    sums: Option<Chunks>,
}

/// The checksums after the payload.
pub(super) struct TrailerStage {
    preamble: Preamble,
    header: Header,
    payload: Buffer<'static>,
    sums: Chunks,
    table: Vec<u8>,
    filled: usize,
}

impl State {
    /// Waits for the first byte of a record.
    pub(super) fn new() -> Self {
        Self::Preamble(PreambleStage {
            bytes: [0; PREAMBLE_LEN],
            filled: 0,
        })
    }

    pub(super) fn is_idle(&self) -> bool {
        matches!(self, Self::Preamble(stage) if stage.filled == 0)
    }

    pub(super) fn preamble(&self) -> Option<&Preamble> {
        match self {
            Self::Preamble(_) | Self::Failed => None,
            Self::Control(stage) => Some(stage.preamble()),
            Self::Skip(stage) => Some(stage.preamble()),
            Self::Header(HeaderStage { preamble, .. })
            | Self::Whole(WholeStage { preamble, .. })
            | Self::Payload(PayloadStage { preamble, .. })
            | Self::Trailer(TrailerStage { preamble, .. })
            | Self::Room(RoomStage::Whole(_, preamble) | RoomStage::Payload(preamble, ..)) => {
                Some(preamble)
            }
        }
    }

    pub(super) fn payload_len(&self) -> Option<u64> {
        match self {
            Self::Room(RoomStage::Payload(preamble, ..))
            | Self::Payload(PayloadStage { preamble, .. })
            | Self::Trailer(TrailerStage { preamble, .. }) => Some(preamble.payload_len),
            _ => None,
        }
    }

    pub(super) fn missing(&self) -> usize {
        let (len, filled) = match self {
            Self::Preamble(stage) => (PREAMBLE_LEN, stage.filled),
            Self::Control(stage) => (stage.missing(), 0),
            Self::Skip(stage) => (stage.missing(), 0),
            Self::Header(stage) => (stage.preamble.head_len(), stage.filled),
            Self::Room(stage) => (stage.wanted(), 0),
            Self::Whole(stage) => (stage.preamble.rest_len(), stage.filled),
            Self::Payload(stage) => (to_usize(stage.preamble.payload_len), stage.filled),
            Self::Trailer(stage) => (stage.table.len(), stage.filled),
            Self::Failed => (0, 0),
        };
        len.saturating_sub(filled)
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "each `filled` is below the length it indexes: the stages end where it reaches it"
    )]
    pub(super) fn spare(&mut self) -> Result<&mut [u8], DecodeError> {
        match self {
            Self::Preamble(stage) => Ok(&mut stage.bytes[stage.filled..]),
            Self::Control(stage) => Ok(stage.spare()),
            Self::Skip(stage) => Ok(stage.spare()),
            Self::Header(stage) => Ok(&mut stage.bytes[stage.filled..]),
            Self::Whole(stage) => Ok(&mut stage.region.as_mut_slice()[stage.filled..]),
            Self::Payload(stage) => {
                let rest = &mut stage.region.as_mut_slice()[stage.filled..];
                let step = match stage.sums {
                    Some(_) => rest.len().min(SUM_STEP),
                    None => rest.len(),
                };
                Ok(&mut rest[..step])
            }
            Self::Trailer(stage) => Ok(&mut stage.table[stage.filled..]),
            Self::Room(_) | Self::Failed => Err(DecodeError::Truncated { missing: 0 }),
        }
    }

    /// Makes room for the next bytes. True if the stage is another one now, which may need no more bytes.
    pub(super) fn find_room(
        &mut self,
        allocator: &mut dyn BufferAllocator,
    ) -> Result<bool, AllocError> {
        match self {
            Self::Room(stage) => {
                let region = stage.find(allocator)?;
                *self = match std::mem::replace(self, Self::Failed) {
                    Self::Room(stage) => stage.fill(region),
                    state => state,
                };
                Ok(true)
            }
            Self::Payload(stage) => {
                if stage.is_short() {
                    stage.region.ensure(stage.filled.saturating_add(1))?;
                }
                Ok(false)
            }
            _ => Ok(false),
        }
    }

    /// Takes in `count` more bytes.
    pub(super) fn filled(
        self,
        count: usize,
        limits: &Limits,
        seen: &mut Seen,
    ) -> Result<Step, DecodeError> {
        match self {
            Self::Preamble(stage) => stage.filled(count, limits, seen),
            Self::Control(stage) => Ok(Step::of(stage.filled(count)?, Self::Control)),
            Self::Skip(stage) => Ok(Step::of(stage.filled(count)?, Self::Skip)),
            Self::Header(stage) => stage.filled(count, seen),
            Self::Room(stage) => Ok(Step::Continue(Self::Room(stage))),
            Self::Whole(stage) => stage.filled(count, seen),
            Self::Payload(stage) => stage.filled(count),
            Self::Trailer(stage) => stage.filled(count),
            Self::Failed => Err(DecodeError::Truncated { missing: 0 }),
        }
    }
}

impl PreambleStage {
    fn filled(
        mut self,
        count: usize,
        limits: &Limits,
        seen: &mut Seen,
    ) -> Result<Step, DecodeError> {
        self.filled = self.filled.saturating_add(count);
        if self.filled < PREAMBLE_LEN {
            // A peer that speaks another protocol may never send 64 bytes. Its first bytes identify it.
            let known = self.filled.min(MAGIC.len());
            if self.bytes.get(..known) != MAGIC.get(..known) {
                Preamble::decode(&self.bytes)?;
            }
            return Ok(Step::Continue(State::Preamble(self)));
        }
        let (first, preamble) = (self.bytes, Preamble::decode(&self.bytes)?);
        if !preamble.kind.is_message() {
            let stage = ControlStage::new(first, preamble);
            return Ok(Step::of(stage.filled(0)?, State::Control));
        }
        preamble.check(limits)?;
        if preamble.kind.is_ancillary() {
            let stage = SkipStage::new(&first, preamble);
            return Ok(Step::of(stage.filled(0)?, State::Skip));
        }
        let rest = preamble.rest_len();
        if rest <= SMALL && !preamble.flags.references {
            let stage = RoomStage::Whole(first, preamble);
            return Ok(Step::Continue(State::Room(stage)));
        }
        // The header has something to wait for, unless nothing follows.
        let stage = HeaderStage {
            first,
            preamble,
            bytes: vec![0; preamble.head_len().min(HEADER_STEP)],
            filled: 0,
        };
        stage.filled(0, seen)
    }
}

impl HeaderStage {
    fn filled(mut self, count: usize, seen: &mut Seen) -> Result<Step, DecodeError> {
        self.filled = self.filled.saturating_add(count);
        let preamble = self.preamble;
        let len = preamble.head_len();
        if self.filled < len {
            if self.filled == self.bytes.len() {
                let next = len.min(self.filled.saturating_add(HEADER_STEP));
                self.bytes.resize(next, 0);
            }
            return Ok(Step::Continue(State::Header(self)));
        }
        let (bytes, rest) = self.bytes.split_at(preamble.header_len as usize);
        Preamble::check_sum(&self.first, bytes)?;
        let header = Header::decode(&preamble, bytes, seen)?;
        header.check_whole()?;
        let (padding, table) = rest.split_at(preamble.header_gap());
        check_padding(padding, 0)?;
        if preamble.flags.references {
            let references = Reference::decode_table(written_sum(&self.first), table)?;
            return Ok(Step::Done(Record::Referenced(preamble, header, references)));
        }
        // The payload is allocated only after the header is accepted.
        let stage = RoomStage::Payload(preamble, header, written_sum(&self.first));
        Ok(Step::Continue(State::Room(stage)))
    }
}

impl RoomStage {
    /// Bytes of the region.
    fn wanted(&self) -> usize {
        match self {
            Self::Whole(_, preamble) => preamble.rest_len(),
            Self::Payload(preamble, ..) => to_usize(preamble.payload_len),
        }
    }

    /// A region that has room for the first bytes. What a peer claims is not allocated on its word.
    fn find(&self, allocator: &mut dyn BufferAllocator) -> Result<Box<dyn BufferMut>, AllocError> {
        let len = self.wanted();
        match self {
            Self::Whole(..) => allocator.allocate(len),
            Self::Payload(..) => {
                let mut region = allocator.claim(len)?;
                region.ensure(len.min(1))?;
                Ok(region)
            }
        }
    }

    fn fill(self, region: Box<dyn BufferMut>) -> State {
        match self {
            Self::Whole(first, preamble) => State::Whole(WholeStage {
                first,
                preamble,
                region,
                filled: 0,
            }),
            Self::Payload(preamble, header, sum) => State::Payload(PayloadStage {
                preamble,
                header,
                region,
                filled: 0,
                sums: preamble.flags.checksums.then(|| Chunks::new(sum)),
            }),
        }
    }
}

impl WholeStage {
    fn filled(mut self, count: usize, seen: &mut Seen) -> Result<Step, DecodeError> {
        self.filled = self.filled.saturating_add(count);
        let preamble = self.preamble;
        if self.filled < preamble.rest_len() {
            return Ok(Step::Continue(State::Whole(self)));
        }
        let bytes = self.region.as_mut_slice();
        let start = preamble.head_len();
        let (head, rest) = bytes.split_at(start);
        let (payload, table) = rest.split_at(to_usize(preamble.payload_len));
        let (header, padding) = head.split_at(preamble.header_len as usize);
        Preamble::check_sum(&self.first, header)?;
        let header = Header::decode(&preamble, header, seen)?;
        check_padding(padding, 0)?;
        if preamble.flags.checksums {
            let mut sums = Chunks::new(written_sum(&self.first));
            sums.update(payload);
            sums.verify(table)?;
        }
        let message = header.cut(&self.region.freeze(), start)?;
        Ok(Step::Done(Record::Message(preamble, message)))
    }
}

impl PayloadStage {
    /// True if there is no room for the next byte.
    fn is_short(&mut self) -> bool {
        self.region.as_mut_slice().len() <= self.filled
            && (self.filled as u64) < self.preamble.payload_len
    }

    fn filled(mut self, count: usize) -> Result<Step, DecodeError> {
        let end = self.filled.saturating_add(count);
        if let Some(sums) = &mut self.sums {
            let new = self.region.as_mut_slice().get(self.filled..end);
            sums.update(new.unwrap_or(&[]));
        }
        self.filled = end;
        let preamble = self.preamble;
        if (end as u64) < preamble.payload_len {
            return Ok(Step::Continue(State::Payload(self)));
        }
        let payload = self.region.freeze();
        match self.sums {
            Some(sums) if preamble.payload_len > 0 => {
                Ok(Step::Continue(State::Trailer(TrailerStage {
                    preamble,
                    header: self.header,
                    payload,
                    sums,
                    table: vec![0; to_usize(preamble.trailer_len())],
                    filled: 0,
                })))
            }
            _ => {
                let message = self.header.cut(&payload, 0)?;
                Ok(Step::Done(Record::Message(preamble, message)))
            }
        }
    }
}

impl TrailerStage {
    fn filled(mut self, count: usize) -> Result<Step, DecodeError> {
        self.filled = self.filled.saturating_add(count);
        if self.filled < self.table.len() {
            return Ok(Step::Continue(State::Trailer(self)));
        }
        self.sums.verify(&self.table)?;
        let message = self.header.cut(&self.payload, 0)?;
        Ok(Step::Done(Record::Message(self.preamble, message)))
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Preamble(_) => "Preamble",
            Self::Control(_) => "Control",
            Self::Skip(_) => "Skip",
            Self::Header(_) => "Header",
            Self::Room(_) => "Room",
            Self::Whole(_) => "Whole",
            Self::Payload(_) => "Payload",
            Self::Trailer(_) => "Trailer",
            Self::Failed => "Failed",
        };
        f.debug_struct(name)
            .field("missing", &self.missing())
            .finish()
    }
}
