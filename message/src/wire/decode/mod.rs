#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use crate::model::allocator::{BufferAllocator, BufferMut};
use crate::model::buffer::Buffer;
use crate::model::message::Message;
use crate::wire::checksum::Chunks;
use crate::wire::error::DecodeError;
use crate::wire::header::Header;
use crate::wire::layout::{ALIGNMENT, CHECKSUM_CHUNK, checksum_table_len, gap};
use crate::wire::limits::Limits;
use crate::wire::preamble::{PREAMBLE_LEN, Preamble};

/// Bytes on their way in: says where the next ones belong, and is told how many came.
///
/// However the bytes are split, the records are the same. Large payloads go to the allocator in place. A record whose
/// bytes behind the preamble are at most [`Decoder::SMALL`] lands whole, so that two reads take it.
///
/// After an error the decoder is of no more use: the stream has lost its frame.
pub struct Decoder {
    limits: Limits,
    preamble_bytes: [u8; PREAMBLE_LEN],
    state: State,
}

/// A whole record.
#[non_exhaustive]
#[derive(Debug)]
pub enum Record {
    /// A message whose payload has landed, checked.
    Message(Preamble, Message<'static>),
    /// A message whose payload lies in segments; [`Header::resolve`] makes the message of it.
    Referenced(Preamble, Header, Vec<Reference>),
    /// A control record.
    Control(Preamble),
}

/// Where a buffer lies: its length is in the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Number of the segment, as its record said.
    pub segment: u32,
    /// Byte offset of the buffer in the segment.
    pub offset: u64,
}

enum State {
    /// The preamble, and how much of it is there.
    Preamble(usize),
    /// Header, its padding and the table of references, into memory that grows as bytes arrive.
    Header {
        preamble: Preamble,
        bytes: Vec<u8>,
        filled: usize,
    },
    /// Header, padding, payload and checksums of a small record, in one region behind room for the preamble.
    Small {
        preamble: Preamble,
        region: Box<dyn BufferMut>,
        filled: usize,
    },
    /// The payload.
    Payload {
        preamble: Preamble,
        summary: Header,
        region: Box<dyn BufferMut>,
        filled: usize,
        sums: Option<Chunks>,
    },
    /// The checksums behind the payload.
    Trailer {
        preamble: Preamble,
        summary: Header,
        payload: Buffer<'static>,
        sums: Chunks,
        table: Vec<u8>,
        filled: usize,
    },
    /// An error was returned, or `filled` is at work.
    Failed,
}

impl Decoder {
    /// Records with at most so many bytes behind their preamble land whole, header and all.
    pub const SMALL: usize = 64 << 10;

    /// Bytes of one reference.
    pub const REFERENCE_LEN: usize = 16;

    /// Header bytes are asked for in steps of this size.
    const HEADER_STEP: usize = 64 << 10;

    /// A decoder that waits for the first byte of a record.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            preamble_bytes: [0; PREAMBLE_LEN],
            state: State::Preamble(0),
        }
    }

    /// True if no byte of the next record has come.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Preamble(0))
    }

    /// Payload bytes of the record at hand, once its header has been accepted.
    pub fn payload_len(&self) -> Option<u64> {
        match &self.state {
            State::Payload { preamble, .. } | State::Trailer { preamble, .. } => {
                Some(preamble.payload_len)
            }
            _ => None,
        }
    }

    /// Bytes that are known to be missing from the record at hand.
    pub fn missing(&self) -> u64 {
        let (len, filled) = match &self.state {
            State::Preamble(filled) => (PREAMBLE_LEN, *filled),
            State::Header {
                preamble, filled, ..
            } => (header_room(preamble), *filled),
            State::Small {
                preamble, filled, ..
            } => (behind_preamble(preamble), *filled),
            State::Payload {
                preamble, filled, ..
            } => (to_usize(preamble.payload_len), *filled),
            State::Trailer { table, filled, .. } => (table.len(), *filled),
            State::Failed => (0, 0),
        };
        len.saturating_sub(filled) as u64
    }

    /// Where the next bytes belong: never empty, and never past the end of the record.
    ///
    /// # Errors
    /// None today but those of an earlier call: a failed decoder has no place for more.
    #[expect(
        clippy::indexing_slicing,
        reason = "each `filled` is below the length it indexes: `filled` keeps it so"
    )]
    pub fn spare(&mut self) -> Result<&mut [u8], DecodeError> {
        match &mut self.state {
            State::Preamble(filled) => Ok(&mut self.preamble_bytes[*filled..]),
            State::Header { bytes, filled, .. } => Ok(&mut bytes[*filled..]),
            State::Small { region, filled, .. } => {
                Ok(&mut region.bytes()[PREAMBLE_LEN.saturating_add(*filled)..])
            }
            State::Payload {
                region,
                filled,
                sums,
                ..
            } => {
                let rest = &mut region.bytes()[*filled..];
                // A quarter of a chunk is still in the second-level cache when it is summed.
                let step = if sums.is_some() {
                    rest.len().min(CHECKSUM_CHUNK / 4)
                } else {
                    rest.len()
                };
                Ok(&mut rest[..step])
            }
            State::Trailer { table, filled, .. } => Ok(&mut table[*filled..]),
            State::Failed => Err(DecodeError::Truncated { missing: 0 }),
        }
    }

    /// Reports that `count` bytes were written to the front of [`Self::spare`]; payloads land in `allocator`.
    ///
    /// # Errors
    /// [`DecodeError`]: what is wrong with the bytes, or that the allocator has no room.
    pub fn filled(
        &mut self,
        count: usize,
        allocator: &mut dyn BufferAllocator,
    ) -> Result<Option<Record>, DecodeError> {
        let (state, record) = match std::mem::replace(&mut self.state, State::Failed) {
            State::Preamble(filled) => self.preamble(filled.saturating_add(count), allocator)?,
            State::Header {
                preamble,
                bytes,
                filled,
            } => self.header(preamble, bytes, filled.saturating_add(count), allocator)?,
            State::Small {
                preamble,
                region,
                filled,
            } => {
                let filled = filled.saturating_add(count);
                if filled < behind_preamble(&preamble) {
                    (
                        State::Small {
                            preamble,
                            region,
                            filled,
                        },
                        None,
                    )
                } else {
                    (State::Preamble(0), Some(self.small(preamble, region)?))
                }
            }
            State::Payload {
                preamble,
                summary,
                mut region,
                filled,
                mut sums,
            } => {
                let end = filled.saturating_add(count);
                if let Some(sums) = &mut sums {
                    sums.update(region.bytes().get(filled..end).unwrap_or(&[]));
                }
                if (end as u64) < preamble.payload_len {
                    (
                        State::Payload {
                            preamble,
                            summary,
                            region,
                            filled: end,
                            sums,
                        },
                        None,
                    )
                } else {
                    landed(preamble, summary, region.finish(), sums)?
                }
            }
            State::Trailer {
                preamble,
                summary,
                payload,
                sums,
                table,
                filled,
            } => {
                let filled = filled.saturating_add(count);
                if filled < table.len() {
                    (
                        State::Trailer {
                            preamble,
                            summary,
                            payload,
                            sums,
                            table,
                            filled,
                        },
                        None,
                    )
                } else {
                    verify(sums, &table)?;
                    (
                        State::Preamble(0),
                        Some(Record::Message(preamble, cut(summary, &payload, 0)?)),
                    )
                }
            }
            State::Failed => return Err(DecodeError::Truncated { missing: 0 }),
        };
        self.state = state;
        Ok(record)
    }

    fn preamble(
        &mut self,
        filled: usize,
        allocator: &mut dyn BufferAllocator,
    ) -> Result<(State, Option<Record>), DecodeError> {
        if filled < PREAMBLE_LEN {
            // A foreign protocol is told by its first bytes; it may never send 32.
            if filled >= crate::wire::preamble::MAGIC.len()
                && !self
                    .preamble_bytes
                    .starts_with(&crate::wire::preamble::MAGIC)
            {
                Preamble::decode(&self.preamble_bytes)?;
            }
            return Ok((State::Preamble(filled), None));
        }
        let preamble = Preamble::decode(&self.preamble_bytes)?;
        if !preamble.kind.is_message() {
            return Ok((State::Preamble(0), Some(Record::Control(preamble))));
        }
        self.limits.check(&preamble)?;
        let whole = behind_preamble(&preamble);
        if whole <= Self::SMALL && !preamble.flags.references {
            let region = allocator.allocate(PREAMBLE_LEN.saturating_add(whole))?;
            return Ok((
                State::Small {
                    preamble,
                    region,
                    filled: 0,
                },
                None,
            ));
        }
        let first = header_room(&preamble).min(Self::HEADER_STEP);
        Ok((
            State::Header {
                preamble,
                bytes: vec![0; first],
                filled: 0,
            },
            None,
        ))
    }

    fn header(
        &mut self,
        preamble: Preamble,
        mut bytes: Vec<u8>,
        filled: usize,
        allocator: &mut dyn BufferAllocator,
    ) -> Result<(State, Option<Record>), DecodeError> {
        let room = header_room(&preamble);
        if filled < room {
            if filled == bytes.len() {
                bytes.resize(room.min(filled.saturating_add(Self::HEADER_STEP)), 0);
            }
            return Ok((
                State::Header {
                    preamble,
                    bytes,
                    filled,
                },
                None,
            ));
        }
        let (header, rest) = bytes.split_at(preamble.header_len as usize);
        Preamble::check_sum(&self.preamble_bytes, header)?;
        let summary = Header::decode(&preamble, header)?;
        let (padding, table) = rest.split_at(header_gap(&preamble));
        check_zero(padding, 0)?;
        if preamble.flags.references {
            let references = table
                .chunks_exact(Self::REFERENCE_LEN)
                .map(reference)
                .collect();
            return Ok((
                State::Preamble(0),
                Some(Record::Referenced(preamble, summary, references)),
            ));
        }
        let len = to_usize(preamble.payload_len);
        let region = allocator.allocate(len)?;
        let sums = preamble.flags.checksums.then(Chunks::new);
        if len == 0 {
            return landed(preamble, summary, region.finish(), sums);
        }
        Ok((
            State::Payload {
                preamble,
                summary,
                region,
                filled: 0,
                sums,
            },
            None,
        ))
    }

    fn small(
        &self,
        preamble: Preamble,
        mut region: Box<dyn BufferMut>,
    ) -> Result<Record, DecodeError> {
        let bytes = region.bytes();
        let (head, rest) = bytes.split_at(PREAMBLE_LEN.saturating_add(header_room(&preamble)));
        let (payload, table) = rest.split_at(to_usize(preamble.payload_len));
        let (header, padding) =
            head.split_at(PREAMBLE_LEN.saturating_add(preamble.header_len as usize));
        let header = header.get(PREAMBLE_LEN..).unwrap_or(&[]);
        Preamble::check_sum(&self.preamble_bytes, header)?;
        let summary = Header::decode(&preamble, header)?;
        check_zero(padding, 0)?;
        if preamble.flags.checksums {
            let mut sums = Chunks::new();
            sums.update(payload);
            verify(sums, table)?;
        }
        let start = head.len();
        Ok(Record::Message(
            preamble,
            cut(summary, &region.finish(), start)?,
        ))
    }
}

impl Message<'static> {
    /// The message whose record, and nothing else, fills `bytes`: a mapped file, say. Copies nothing.
    ///
    /// # Errors
    /// [`DecodeError`]: what is wrong with the bytes.
    pub fn open(bytes: &Buffer<'static>, limits: &Limits) -> Result<Self, DecodeError> {
        let (preamble, summary) = Header::parse(bytes, limits)?;
        if preamble.flags.references {
            return Err(DecodeError::UnknownFlags { flags: 2 });
        }
        let start = PREAMBLE_LEN.saturating_add(header_room(&preamble));
        let len = PREAMBLE_LEN.saturating_add(behind_preamble(&preamble));
        if bytes.len() > len {
            return Err(DecodeError::TrailingBytes {
                count: bytes.len().saturating_sub(len) as u64,
            });
        }
        let missing = DecodeError::Truncated {
            missing: len.saturating_sub(bytes.len()) as u64,
        };
        let end = start.saturating_add(to_usize(preamble.payload_len));
        let (Some(payload), Some(table)) = (bytes.get(start..end), bytes.get(end..len)) else {
            return Err(missing);
        };
        if preamble.flags.checksums {
            let mut sums = Chunks::new();
            sums.update(payload);
            verify(sums, table)?;
        }
        cut(summary, bytes, start)
    }
}

impl Header {
    /// Reads preamble and header of the record that `bytes` begin with; the payload need not be there.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] says how many bytes are missing for that; else what is wrong with them.
    pub fn parse(bytes: &[u8], limits: &Limits) -> Result<(Preamble, Self), DecodeError> {
        let missing = |len: usize| DecodeError::Truncated {
            missing: len.saturating_sub(bytes.len()) as u64,
        };
        let first = bytes.first_chunk().ok_or_else(|| missing(PREAMBLE_LEN))?;
        let preamble = Preamble::decode(first)?;
        if !preamble.kind.is_message() {
            return Err(DecodeError::UnknownKind {
                kind: preamble.kind as u8,
            });
        }
        limits.check(&preamble)?;
        let end = PREAMBLE_LEN.saturating_add(preamble.header_len as usize);
        let header = bytes.get(PREAMBLE_LEN..end).ok_or_else(|| missing(end))?;
        Preamble::check_sum(first, header)?;
        let summary = Self::decode(&preamble, header)?;
        let padding = bytes.get(end..end.saturating_add(header_gap(&preamble)));
        check_zero(padding.unwrap_or(&[]), 0)?;
        Ok((preamble, summary))
    }

    /// The message over `buffers`, which lie where the references said.
    ///
    /// # Errors
    /// [`DecodeError`] if a buffer has another length than the header says, or if its contents contradict its type.
    pub fn resolve(self, buffers: Vec<Buffer<'static>>) -> Result<Message<'static>, DecodeError> {
        if buffers.len() != self.buffers.len() {
            return Err(DecodeError::BufferCount {
                found: buffers.len(),
                expected: self.buffers.len(),
            });
        }
        for (index, (buffer, &expected)) in buffers.iter().zip(&self.buffers).enumerate() {
            if buffer.len() as u64 != expected {
                return Err(DecodeError::BufferLength {
                    index,
                    found: buffer.len() as u64,
                    expected,
                });
            }
        }
        self.into_message(buffers.into_iter())
    }
}

fn landed(
    preamble: Preamble,
    summary: Header,
    payload: Buffer<'static>,
    sums: Option<Chunks>,
) -> Result<(State, Option<Record>), DecodeError> {
    match sums {
        Some(sums) if preamble.payload_len > 0 => {
            let table = vec![0; to_usize(checksum_table_len(preamble.payload_len))];
            Ok((
                State::Trailer {
                    preamble,
                    summary,
                    payload,
                    sums,
                    table,
                    filled: 0,
                },
                None,
            ))
        }
        _ => Ok((
            State::Preamble(0),
            Some(Record::Message(preamble, cut(summary, &payload, 0)?)),
        )),
    }
}

/// Cuts the payload that begins at `start` into the message's buffers.
fn cut(
    mut summary: Header,
    payload: &Buffer<'static>,
    start: usize,
) -> Result<Message<'static>, DecodeError> {
    let lengths = std::mem::take(&mut summary.buffers);
    let mut at = start;
    for (index, &len) in lengths.iter().enumerate() {
        let end = at.saturating_add(to_usize(len));
        let next = end.saturating_add(gap(to_usize(len)));
        let padding = payload.get(end..next);
        let missing = DecodeError::Truncated {
            missing: next.saturating_sub(payload.len()) as u64,
        };
        check_zero(padding.ok_or(missing)?, index)?;
        at = next;
    }
    let mut at = start;
    summary.into_message(lengths.iter().map(|&len| {
        let end = at.saturating_add(to_usize(len));
        let range = std::mem::replace(&mut at, end.saturating_add(gap(to_usize(len))))..end;
        if range.is_empty() {
            Buffer::default()
        } else {
            payload.slice(range)
        }
    }))
}

fn verify(sums: Chunks, table: &[u8]) -> Result<(), DecodeError> {
    for (chunk, (computed, claimed)) in sums
        .finish()
        .into_iter()
        .zip(table.chunks_exact(4))
        .enumerate()
    {
        let claimed = claimed.try_into().map_or(0, u32::from_le_bytes);
        if computed != claimed {
            return Err(DecodeError::PayloadChecksum {
                chunk,
                claimed,
                computed,
            });
        }
    }
    Ok(())
}

fn check_zero(padding: &[u8], index: usize) -> Result<(), DecodeError> {
    if padding.iter().all(|&byte| byte == 0) {
        Ok(())
    } else {
        Err(DecodeError::Padding { index })
    }
}

fn reference(bytes: &[u8]) -> Reference {
    let segment = bytes
        .first_chunk()
        .map_or(0, |first| u32::from_le_bytes(*first));
    let offset = bytes
        .last_chunk()
        .map_or(0, |last| u64::from_le_bytes(*last));
    Reference { segment, offset }
}

/// Zero bytes between the header and the payload: the payload begins at a multiple of 64 of the record.
fn header_gap(preamble: &Preamble) -> usize {
    gap(PREAMBLE_LEN.saturating_add(preamble.header_len as usize))
}

/// Bytes between the preamble and the payload, and the references if there are any.
fn header_room(preamble: &Preamble) -> usize {
    let table = if preamble.flags.references {
        preamble.buffers as usize
    } else {
        0
    };
    let table = table.saturating_mul(Decoder::REFERENCE_LEN);
    (preamble.header_len as usize)
        .saturating_add(header_gap(preamble))
        .saturating_add(table)
}

/// Bytes of the record behind its preamble.
fn behind_preamble(preamble: &Preamble) -> usize {
    if preamble.flags.references {
        return header_room(preamble);
    }
    let sums = if preamble.flags.checksums {
        checksum_table_len(preamble.payload_len)
    } else {
        0
    };
    header_room(preamble)
        .saturating_add(to_usize(preamble.payload_len))
        .saturating_add(to_usize(sums))
}

/// Lengths that do not fit an address space are refused elsewhere; here they saturate.
fn to_usize(len: u64) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = match self.state {
            State::Preamble(_) => "preamble",
            State::Header { .. } => "header",
            State::Small { .. } => "small",
            State::Payload { .. } => "payload",
            State::Trailer { .. } => "trailer",
            State::Failed => "failed",
        };
        f.debug_struct("Decoder")
            .field("state", &state)
            .field("missing", &self.missing())
            .finish()
    }
}

const _: () = assert!(PREAMBLE_LEN < ALIGNMENT);
