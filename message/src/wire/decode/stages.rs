//! The stages of reading a record: one for each part, in the order in which the parts come.
//!
//! They change in place. A stage that is moved costs more than a small record is worth, so the large ones lie in boxes, and
//! what all of them need lies beside them.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::fmt;

use crate::model::{AllocError, Buffer, BufferAllocator, BufferMut};
use crate::wire::checksum::Chunks;
use crate::wire::decode::skip::SkipStage;
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

/// A record that is being read.
pub(super) struct Stages {
    /// The bytes of its preamble.
    first: [u8; PREAMBLE_LEN],
    /// What they say, behind the first stage.
    preamble: Preamble,
    /// Bytes of the stage that have come.
    filled: usize,
    stage: Stage,
}

/// What the decoder waits for.
enum Stage {
    Preamble,
    /// The body of a control record and its padding.
    Control(Vec<u8>),
    /// A message that is dropped.
    Skip(Box<SkipStage>),
    /// Header, its padding and the table of references, into memory that grows as bytes arrive.
    Header(Vec<u8>),
    /// Memory for all that follows the preamble.
    RoomForAll,
    /// Memory for the payload, after a header that was accepted.
    RoomForPayload(Box<Header>),
    /// Header, padding, payload and checksums of a small record, in one region: the payload is aligned in it as it is in the
    /// record.
    All(Box<dyn BufferMut>),
    Payload(Box<PayloadStage>),
    Trailer(Box<TrailerStage>),
    /// An error was returned.
    Failed,
}

/// The payload.
struct PayloadStage {
    header: Header,
    region: Box<dyn BufferMut>,
    sums: Option<Chunks>,
}

/// The checksums after the payload.
struct TrailerStage {
    header: Header,
    payload: Buffer<'static>,
    sums: Chunks,
    table: Vec<u8>,
}

impl Stages {
    /// Waits for the first byte of a record.
    pub(super) fn new() -> Self {
        Self {
            first: [0; PREAMBLE_LEN],
            preamble: Preamble::NONE,
            filled: 0,
            stage: Stage::Preamble,
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        matches!(self.stage, Stage::Preamble) && self.filled == 0
    }

    pub(super) fn preamble(&self) -> Option<&Preamble> {
        match self.stage {
            Stage::Preamble | Stage::Failed => None,
            _ => Some(&self.preamble),
        }
    }

    pub(super) fn payload_len(&self) -> Option<u64> {
        match self.stage {
            Stage::RoomForPayload(_) | Stage::Payload(_) | Stage::Trailer(_) => {
                Some(self.preamble.payload_len)
            }
            _ => None,
        }
    }

    pub(super) fn missing(&self) -> usize {
        let len = match &self.stage {
            Stage::Preamble => PREAMBLE_LEN,
            Stage::Control(bytes) => bytes.len(),
            Stage::Skip(_) | Stage::RoomForAll | Stage::All(_) => self.preamble.rest_len(),
            Stage::Header(_) => self.preamble.head_len(),
            Stage::RoomForPayload(_) | Stage::Payload(_) => to_usize(self.preamble.payload_len),
            Stage::Trailer(stage) => stage.table.len(),
            Stage::Failed => 0,
        };
        len.saturating_sub(self.filled)
    }

    #[expect(
        clippy::indexing_slicing,
        reason = "`filled` is below the length it indexes: each stage ends where it reaches it"
    )]
    pub(super) fn spare(&mut self) -> Result<&mut [u8], DecodeError> {
        let filled = self.filled;
        match &mut self.stage {
            Stage::Preamble => Ok(&mut self.first[filled..]),
            Stage::Control(bytes) | Stage::Header(bytes) => Ok(&mut bytes[filled..]),
            Stage::Skip(stage) => Ok(stage.spare()),
            Stage::All(region) => Ok(&mut region.as_mut_slice()[filled..]),
            Stage::Payload(stage) => {
                let rest = &mut stage.region.as_mut_slice()[filled..];
                let step = match stage.sums {
                    Some(_) => rest.len().min(SUM_STEP),
                    None => rest.len(),
                };
                Ok(&mut rest[..step])
            }
            Stage::Trailer(stage) => Ok(&mut stage.table[filled..]),
            Stage::RoomForAll | Stage::RoomForPayload(_) | Stage::Failed => {
                Err(DecodeError::Truncated { missing: 0 })
            }
        }
    }

    /// Makes room for the next bytes. True if the stage is another one now, which may need no more bytes. What a peer claims
    /// is not allocated on its word.
    pub(super) fn find_room(
        &mut self,
        allocator: &mut dyn BufferAllocator,
    ) -> Result<bool, AllocError> {
        match &mut self.stage {
            Stage::RoomForAll => {
                let region = allocator.allocate(self.preamble.rest_len())?;
                self.enter(Stage::All(region));
                Ok(true)
            }
            Stage::RoomForPayload(_) => {
                let len = to_usize(self.preamble.payload_len);
                let mut region = allocator.claim(len)?;
                region.ensure(len.min(1))?;
                self.enter_payload(region);
                Ok(true)
            }
            Stage::Payload(stage) => {
                let is_short = stage.region.as_mut_slice().len() <= self.filled
                    && (self.filled as u64) < self.preamble.payload_len;
                if is_short {
                    stage.region.ensure(self.filled.saturating_add(1))?;
                }
                Ok(false)
            }
            _ => Ok(false),
        }
    }

    /// Takes in `count` more bytes, and returns the record if it is whole. After an error nobody knows where the next record
    /// begins.
    pub(super) fn filled(
        &mut self,
        count: usize,
        limits: &Limits,
        seen: &mut Seen,
        record: &mut Option<Record>,
    ) -> Result<(), DecodeError> {
        let before = self.filled;
        self.filled = before.saturating_add(count);
        let done = match &self.stage {
            Stage::Preamble => self.take_preamble(limits, seen, record),
            Stage::Control(_) => self.take_control(record),
            Stage::Skip(_) => self.take_skipped(before, record),
            Stage::Header(_) => self.take_header(seen, record),
            Stage::RoomForAll | Stage::RoomForPayload(_) => Ok(()),
            Stage::All(_) => self.take_all(seen, record),
            Stage::Payload(_) => self.take_payload(before, record),
            Stage::Trailer(_) => self.take_trailer(record),
            Stage::Failed => Err(DecodeError::Truncated { missing: 0 }),
        };
        if done.is_err() {
            self.enter(Stage::Failed);
        } else if record.is_some() {
            self.enter(Stage::Preamble);
        }
        done
    }

    fn enter(&mut self, stage: Stage) {
        self.filled = 0;
        self.stage = stage;
    }

    /// Takes what the stage holds. The caller enters another one, or returns.
    fn leave(&mut self) -> Stage {
        std::mem::replace(&mut self.stage, Stage::Failed)
    }

    fn take_preamble(
        &mut self,
        limits: &Limits,
        seen: &mut Seen,
        record: &mut Option<Record>,
    ) -> Result<(), DecodeError> {
        if self.filled < PREAMBLE_LEN {
            // A peer that speaks another protocol may never send 64 bytes. Its first bytes identify it.
            let known = self.filled.min(MAGIC.len());
            if self.first.get(..known) != MAGIC.get(..known) {
                // What the last record left there is none of it.
                if let Some(rest) = self.first.get_mut(self.filled..) {
                    rest.fill(0);
                }
                Preamble::decode(&self.first)?;
            }
            return Ok(());
        }
        let preamble = Preamble::decode(&self.first)?;
        self.preamble = preamble;
        if !preamble.kind.is_message() {
            self.enter(Stage::Control(vec![0; preamble.head_len()]));
            return self.take_control(record);
        }
        preamble.check(limits)?;
        if preamble.kind.is_ancillary() {
            let stage = SkipStage::new(&self.first, &preamble);
            self.enter(Stage::Skip(Box::new(stage)));
            return self.take_skipped(0, record);
        }
        if preamble.rest_len() <= SMALL && !preamble.flags.references {
            self.enter(Stage::RoomForAll);
            return Ok(());
        }
        // The header has something to wait for, unless nothing follows.
        self.enter(Stage::Header(vec![0; preamble.head_len().min(HEADER_STEP)]));
        self.take_header(seen, record)
    }

    fn take_control(&mut self, record: &mut Option<Record>) -> Result<(), DecodeError> {
        let Stage::Control(bytes) = &mut self.stage else {
            return Ok(());
        };
        if self.filled < bytes.len() {
            return Ok(());
        }
        let mut body = std::mem::take(bytes);
        let len = self.preamble.header_len as usize;
        // Without a body the sum was checked with the preamble.
        if len > 0 {
            let (bytes, padding) = body.split_at(len);
            Preamble::check_sum(&self.first, bytes)?;
            check_padding(padding, 0)?;
            body.truncate(len);
        }
        *record = Some(Record::Control(self.preamble, body));
        Ok(())
    }

    fn take_skipped(
        &mut self,
        before: usize,
        record: &mut Option<Record>,
    ) -> Result<(), DecodeError> {
        let Stage::Skip(stage) = &mut self.stage else {
            return Ok(());
        };
        stage.filled(self.filled.saturating_sub(before))?;
        let is_whole = self.filled >= self.preamble.rest_len();
        *record = is_whole.then_some(Record::Skipped(self.preamble));
        Ok(())
    }

    fn take_header(
        &mut self,
        seen: &mut Seen,
        record: &mut Option<Record>,
    ) -> Result<(), DecodeError> {
        let Stage::Header(all) = &mut self.stage else {
            return Ok(());
        };
        let preamble = &self.preamble;
        let len = preamble.head_len();
        if self.filled < len {
            if self.filled == all.len() {
                all.resize(len.min(self.filled.saturating_add(HEADER_STEP)), 0);
            }
            return Ok(());
        }
        let (bytes, rest) = all.split_at(preamble.header_len as usize);
        Preamble::check_sum(&self.first, bytes)?;
        let header = Header::decode(preamble, bytes, seen)?;
        header.body.check_whole()?;
        let (padding, table) = rest.split_at(preamble.header_gap());
        check_padding(padding, 0)?;
        if preamble.flags.references {
            let references = Reference::decode_table(written_sum(&self.first), table)?;
            *record = Some(Record::Referenced(*preamble, header, references));
            return Ok(());
        }
        // The payload is allocated only after the header is accepted.
        self.enter(Stage::RoomForPayload(Box::new(header)));
        Ok(())
    }

    fn take_all(
        &mut self,
        seen: &mut Seen,
        record: &mut Option<Record>,
    ) -> Result<(), DecodeError> {
        let preamble = &self.preamble;
        if self.filled < preamble.rest_len() {
            return Ok(());
        }
        let start = preamble.head_len();
        let Stage::All(mut region) = std::mem::replace(&mut self.stage, Stage::Failed) else {
            return Ok(());
        };
        let (head, rest) = region.as_mut_slice().split_at(start);
        let (payload, table) = rest.split_at(to_usize(preamble.payload_len));
        let (header, padding) = head.split_at(preamble.header_len as usize);
        Preamble::check_sum(&self.first, header)?;
        let header = Header::decode(preamble, header, seen)?;
        check_padding(padding, 0)?;
        if preamble.flags.checksums {
            let mut sums = Chunks::new(written_sum(&self.first));
            sums.update(payload);
            sums.verify(table)?;
        }
        let message = header.cut(region.freeze(), start)?;
        *record = Some(Record::Message(*preamble, message));
        Ok(())
    }

    fn enter_payload(&mut self, region: Box<dyn BufferMut>) {
        if let Stage::RoomForPayload(header) = self.leave() {
            let has_sums = self.preamble.flags.checksums;
            let stage = PayloadStage {
                header: *header,
                region,
                sums: has_sums.then(|| Chunks::new(written_sum(&self.first))),
            };
            self.enter(Stage::Payload(Box::new(stage)));
        }
    }

    fn take_payload(
        &mut self,
        before: usize,
        record: &mut Option<Record>,
    ) -> Result<(), DecodeError> {
        let Stage::Payload(stage) = &mut self.stage else {
            return Ok(());
        };
        if let Some(sums) = &mut stage.sums {
            let new = stage.region.as_mut_slice().get(before..self.filled);
            sums.update(new.unwrap_or(&[]));
        }
        if (self.filled as u64) < self.preamble.payload_len {
            return Ok(());
        }
        let Stage::Payload(stage) = self.leave() else {
            return Ok(());
        };
        let PayloadStage {
            header,
            region,
            sums,
        } = *stage;
        let payload = region.freeze();
        match sums {
            Some(sums) if self.preamble.payload_len > 0 => {
                let stage = TrailerStage {
                    header,
                    payload,
                    sums,
                    table: vec![0; to_usize(self.preamble.trailer_len())],
                };
                self.enter(Stage::Trailer(Box::new(stage)));
                Ok(())
            }
            _ => {
                let message = header.cut(payload, 0)?;
                *record = Some(Record::Message(self.preamble, message));
                Ok(())
            }
        }
    }

    fn take_trailer(&mut self, record: &mut Option<Record>) -> Result<(), DecodeError> {
        let is_whole =
            matches!(&self.stage, Stage::Trailer(stage) if self.filled >= stage.table.len());
        if !is_whole {
            return Ok(());
        }
        let Stage::Trailer(stage) = self.leave() else {
            return Ok(());
        };
        let TrailerStage {
            header,
            payload,
            sums,
            table,
        } = *stage;
        sums.verify(&table)?;
        let message = header.cut(payload, 0)?;
        *record = Some(Record::Message(self.preamble, message));
        Ok(())
    }
}

impl fmt::Debug for Stages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.stage {
            Stage::Preamble => "Preamble",
            Stage::Control(_) => "Control",
            Stage::Skip(_) => "Skip",
            Stage::Header(_) => "Header",
            Stage::RoomForAll | Stage::RoomForPayload(_) => "Room",
            Stage::All(_) => "All",
            Stage::Payload(_) => "Payload",
            Stage::Trailer(_) => "Trailer",
            Stage::Failed => "Failed",
        };
        f.debug_struct(name)
            .field("missing", &self.missing())
            .finish()
    }
}
