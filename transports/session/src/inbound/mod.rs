//! What comes in.

mod ahead;
mod credit;
mod event;
mod pace;
mod patience;
mod promise;

use std::collections::VecDeque;
use std::time::Instant;

use numpush_message::{
    BufferAllocator, DecodeError, Decoder, Hello, Limits, PREAMBLE_LEN, Preamble, Record,
    RecordKind, VERSION,
};

use crate::config::{Acknowledge, Config};
use crate::fault::Fault;
use crate::inbound::ahead::{AHEAD, Ahead};
use crate::inbound::credit::Credit;
use crate::inbound::pace::Pace;
use crate::numbers::Numbers;
use crate::receipt::{Confirmations, Receipt};
use crate::refusal::Refusal;

pub use event::{Arrival, Debt, Event};

/// The direction in which messages come.
///
/// The driver reads into [`Self::spare`], reports with [`Self::filled`], and takes what came out of [`Self::next`] until that
/// returns `None`. After a [`Fault`] that is not recoverable every call returns a fault again: nobody knows where the next
/// record begins.
#[derive(Debug)]
pub struct Inbound<D> {
    decoder: Decoder,
    ahead: Ahead,
    /// A record that was completed by a read in place.
    ready: Option<Record>,
    /// Descriptors that came, each with the position in the stream behind the read that brought it.
    descriptors: VecDeque<(u64, D)>,
    /// Position in the stream of the first byte of the record at hand, and of the next byte to decode.
    record: u64,
    position: u64,
    pace: Pace,
    credit: Credit,
    /// The credit of the record at hand is charged.
    charged: bool,
    /// A part of the record at hand was read to where it stays.
    has_landed: bool,
    /// Bytes of the record at hand, behind its preamble, that were copied out of the read-ahead.
    copied: u64,
    next_id: u64,
    their_ack: u64,
    acknowledge: Acknowledge,
    confirmations: Confirmations,
    /// Messages that the program has taken, and those of them that it is done with since its last call.
    taken: Numbers,
    finished: Numbers,
    /// Longest header of a message in bytes.
    longest_header: u64,
    state: State,
    is_greeted: bool,
}

/// How far the peer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Its hello has not come.
    Greeting,
    Open,
    /// It sends no more messages.
    Closed,
    /// A fault was returned.
    Failed,
}

impl<D> Inbound<D> {
    /// The direction of a session of which nothing has come yet.
    pub fn new(config: &Config) -> Self {
        let limits = Limits::default().with_payload(config.hello.max);
        Self {
            decoder: Decoder::new(limits),
            ahead: Ahead::default(),
            ready: None,
            descriptors: VecDeque::new(),
            record: 0,
            position: 0,
            pace: Pace::new(config),
            credit: Credit::new(config.hello.credit),
            charged: false,
            has_landed: false,
            copied: 0,
            next_id: 1,
            their_ack: 0,
            acknowledge: config.acknowledge,
            confirmations: Confirmations::default(),
            taken: Numbers::default(),
            finished: Numbers::default(),
            longest_header: config.hello.header.into(),
            state: State::Greeting,
            is_greeted: false,
        }
    }

    /// Where the next bytes of the peer belong: the read-ahead, or the memory of a large payload.
    ///
    /// # Errors
    /// After a fault that is not recoverable, and while there is no room for what has come.
    pub fn spare(&mut self) -> Result<&mut [u8], Fault> {
        self.alive()?;
        // Without room for what has come, nothing more is to be read.
        if self.decoder.wants_room() || self.reads_in_place()? {
            return Ok(self.decoder.spare()?);
        }
        Ok(self.ahead.spare())
    }

    /// Reports that `count` bytes were read into [`Self::spare`], and the descriptor that came with them.
    ///
    /// # Errors
    /// The fault of the peer; [`Fault::NoRoom`], after which the same bytes wait for room.
    pub fn filled(
        &mut self,
        count: usize,
        descriptor: Option<D>,
        now: Instant,
        allocator: &mut dyn BufferAllocator,
    ) -> Result<(), Fault> {
        self.alive()?;
        if let Some(descriptor) = descriptor {
            let held = self.hold(count, descriptor);
            self.note(held)?;
        }
        self.pace.look(now, count > 0);
        if self.reads_in_place()? {
            self.position += count as u64;
            self.has_landed = true;
            self.decode(count, allocator)?;
        } else {
            self.ahead.filled(count);
        }
        Ok(())
    }

    /// Reports that nothing was there to be read.
    ///
    /// # Errors
    /// [`Fault::Stalled`] if the record at hand is overdue.
    pub fn found_nothing(&mut self, now: Instant) -> Result<(), Fault> {
        self.alive()?;
        if self.is_idle() {
            self.pace.rest();
            self.ahead.shrink();
            return Ok(());
        }
        self.pace.look(now, false);
        let checked = self.pace.check(self.decoder.payload_len());
        self.note(checked)
    }

    /// Reports the end of the stream.
    ///
    /// # Errors
    /// [`Fault::Ended`] unless the peer had closed.
    pub fn ended(&mut self) -> Result<(), Fault> {
        let missing = self.missing();
        let ended = match self.state {
            State::Closed if self.is_idle() => Ok(()),
            _ => Err(Fault::Ended { missing }),
        };
        self.state = State::Failed;
        ended
    }

    /// A call of the program begins: it is done with the messages that it has taken.
    pub fn finish(&mut self) {
        self.finished.insert_all(self.taken.up_to());
    }

    /// The next thing that came; `None` if more bytes are needed for it.
    ///
    /// # Errors
    /// The fault of the peer; [`Fault::NoRoom`], after which the call may be made again.
    pub fn next(
        &mut self,
        allocator: &mut dyn BufferAllocator,
    ) -> Result<Option<Arrival<D>>, Fault> {
        self.alive()?;
        if self.decoder.wants_room() {
            self.decode(0, allocator)?;
        }
        loop {
            if let Some(record) = self.ready.take() {
                self.pace.rest();
                let arrival = self.arrive(record);
                if let Err(fault) = &arrival {
                    self.note_fault(fault);
                }
                return arrival;
            }
            if self.ahead.is_empty() {
                // A driver that waits in its reads never finds nothing.
                let checked = self.pace.check(self.decoder.payload_len());
                return self.note(checked).map(|()| None);
            }
            let is_past_preamble = self.decoder.preamble().is_some();
            let count = self.ahead.take(self.decoder.spare()?);
            self.position += count as u64;
            if is_past_preamble {
                self.copied += count as u64;
            }
            self.decode(count, allocator)?;
        }
    }

    /// True if no byte of the next record has come.
    pub fn is_idle(&self) -> bool {
        self.decoder.is_idle() && self.ahead.is_empty() && self.ready.is_none()
    }

    /// True if [`Self::next`] may return something without another read.
    pub fn has_bytes(&self) -> bool {
        !self.ahead.is_empty() || self.ready.is_some() || self.decoder.wants_room()
    }

    /// Bytes that the record at hand still lacks, as far as that is known.
    pub fn missing(&self) -> u64 {
        if self.decoder.is_idle() {
            0
        } else {
            self.decoder.missing()
        }
    }

    /// True once the peer's hello has come.
    pub fn has_hello(&self) -> bool {
        self.is_greeted
    }

    /// True if the peer sends no more messages.
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// The program takes a message that came: its credit goes back to the peer.
    ///
    /// A message that was skipped is taken by the driver, perhaps before the program takes those in front of it. It is
    /// acknowledged after them, and needs no receipt.
    pub fn take(&mut self, preamble: &Preamble) {
        self.credit.take(preamble.charge());
        self.taken.insert(preamble.id);
        if preamble.kind.is_ancillary() {
            self.finished.insert(preamble.id);
            self.confirmations.confirm(preamble.id);
        }
    }

    /// The receipt of a message, where messages are confirmed by hand.
    pub fn receipt(&self, id: u64) -> Option<Receipt> {
        (self.acknowledge == Acknowledge::OnConfirm).then(|| self.confirmations.receipt(id))
    }

    /// What we owe the peer now.
    pub fn debt(&self) -> Debt {
        let ack = match self.acknowledge {
            Acknowledge::OnReturn => self.taken.up_to(),
            Acknowledge::OnNextCall => self.finished.up_to(),
            Acknowledge::OnConfirm => self.confirmations.up_to(),
        };
        Debt {
            ack,
            credit: self.credit.granted(),
            taken: self.taken.up_to(),
            promise: Some(self.credit.promise_now()),
        }
    }

    /// Bytes of records that came and that the program has not taken.
    pub fn held(&self) -> u64 {
        self.credit.held()
    }

    /// A payload that is longer than the read-ahead is read to where it stays.
    fn reads_in_place(&mut self) -> Result<bool, Fault> {
        if !self.ahead.is_empty() || self.ready.is_some() || self.decoder.preamble().is_none() {
            return Ok(false);
        }
        let len = self.decoder.spare()?.len();
        // Nor is the end of one that has landed copied, however short it is.
        Ok(len >= AHEAD / 4 || self.has_landed && len > 0)
    }

    fn alive(&self) -> Result<(), Fault> {
        match self.state {
            State::Failed => Err(Fault::Ended { missing: 0 }),
            _ => Ok(()),
        }
    }

    /// Ends the direction if `result` is a fault that is not recoverable. After one that is, time is not the peer's.
    fn note<T>(&mut self, result: Result<T, Fault>) -> Result<T, Fault> {
        if let Err(fault) = &result {
            self.note_fault(fault);
        }
        result
    }

    fn note_fault(&mut self, fault: &Fault) {
        if fault.is_recoverable() {
            self.pace.pause();
        } else {
            self.state = State::Failed;
            self.ready = None;
        }
    }

    /// Gives the decoder `count` bytes, and charges the record at hand once its preamble has come.
    fn decode(&mut self, count: usize, allocator: &mut dyn BufferAllocator) -> Result<(), Fault> {
        let decoded = self.decoder.fill(count, allocator, &mut self.ready);
        let decoded = self.note(decoded.map_err(Fault::from));
        // Also if there is no room: what the peer may not send needs none.
        if !self.charged && self.alive().is_ok() {
            let preamble = match &self.ready {
                Some(record) => Some(*record.preamble()),
                None => self.decoder.preamble().copied(),
            };
            if let Some(preamble) = preamble {
                self.charged = true;
                let charged = self.admit(&preamble);
                self.note(charged)?;
            }
        }
        decoded
    }

    /// Checks the preamble of a record before more than that is taken in.
    fn admit(&mut self, preamble: &Preamble) -> Result<(), Fault> {
        let first = matches!(preamble.kind, RecordKind::Hello | RecordKind::Refuse);
        if self.state == State::Greeting && !first {
            return Err(Fault::Violation("its first record is not a hello"));
        }
        if preamble.kind.is_message() {
            let (len, max) = (preamble.header_len.into(), self.longest_header);
            if len > max {
                return Err(DecodeError::HeaderTooLong { len, max }.into());
            }
            if self.state == State::Closed {
                return Err(Fault::Violation("a message came after it had closed"));
            }
            if preamble.id != self.next_id {
                return Err(Fault::Violation("a message is missing or came twice"));
            }
            self.credit.charge(preamble.charge())?;
        }
        Ok(())
    }

    /// What a whole record means.
    fn arrive(&mut self, record: Record) -> Result<Option<Arrival<D>>, Fault> {
        let descriptor = self.descriptor()?;
        let copied = std::mem::take(&mut self.copied);
        self.charged = false;
        self.has_landed = false;
        let preamble = *record.preamble();
        if preamble.ack < self.their_ack {
            return Err(Fault::Violation("it takes an acknowledgement back"));
        }
        self.their_ack = preamble.ack;
        if descriptor.is_some() && preamble.kind != RecordKind::Segment {
            return Err(Fault::Violation("a descriptor came with no segment"));
        }
        if preamble.kind.is_message() {
            self.next_id += 1;
        }
        let event = match record {
            Record::Message(preamble, message) => Event::Message {
                preamble,
                message,
                // The header comes first, and is no payload.
                copied: copied
                    .saturating_sub(
                        preamble.record_len() - preamble.payload_len - PREAMBLE_LEN as u64,
                    )
                    .min(preamble.payload_len),
            },
            Record::Referenced(preamble, header, references) => Event::Referenced {
                preamble,
                header,
                references,
            },
            Record::Skipped(preamble) => Event::Skipped { preamble },
            Record::Control(preamble, body) => self.control(&preamble, &body, descriptor)?,
            _ => return Err(Fault::Violation("a record that has no place here")),
        };
        Ok(Some(Arrival {
            ack: preamble.ack,
            event,
        }))
    }

    fn control(
        &mut self,
        preamble: &Preamble,
        body: &[u8],
        descriptor: Option<D>,
    ) -> Result<Event<D>, Fault> {
        Ok(match preamble.kind {
            RecordKind::Hello => return self.greet(preamble, body),
            RecordKind::Ack => Event::Credit {
                total: preamble.payload_len,
                taken: preamble.id,
            },
            RecordKind::Close => {
                if self.state == State::Closed || preamble.id != self.next_id - 1 {
                    return Err(Fault::Violation("it closes twice, or after other messages"));
                }
                self.state = State::Closed;
                Event::Closed
            }
            RecordKind::Refuse => {
                self.state = State::Failed;
                Event::Refused(Refusal::from_wire(preamble.id))
            }
            RecordKind::Segment => {
                if preamble.payload_len != u64::from(descriptor.is_some()) {
                    let fault = "a segment came without its memory, or was forgotten with some";
                    return Err(Fault::Violation(fault));
                }
                Event::Segment {
                    number: preamble.id,
                    descriptor,
                }
            }
            RecordKind::Release => Event::Released { id: preamble.id },
            RecordKind::Ping => Event::Ping {
                argument: preamble.payload_len,
            },
            RecordKind::Pong => Event::Pong {
                argument: preamble.payload_len,
            },
            _ => Event::Nothing,
        })
    }

    fn greet(&mut self, preamble: &Preamble, body: &[u8]) -> Result<Event<D>, Fault> {
        if self.state != State::Greeting {
            return Err(Fault::Violation("a second hello"));
        }
        let hello = Hello::decode(preamble, body)?;
        if !hello.versions.contains(&VERSION) {
            let theirs = (*hello.versions.start(), *hello.versions.end());
            let ours = (VERSION, VERSION);
            return Err(Fault::Version { theirs, ours });
        }
        self.state = State::Open;
        self.is_greeted = true;
        Ok(Event::Hello(hello))
    }

    /// Keeps a descriptor until its record ends: one for each record that can have begun, for they are few to a process.
    fn hold(&mut self, count: usize, descriptor: D) -> Result<(), Fault> {
        let waiting = self.ahead.bytes().len() + count;
        if self.descriptors.len() > waiting.div_ceil(PREAMBLE_LEN) {
            return Err(Fault::Violation("two descriptors came with one record"));
        }
        let end = self.position + waiting as u64;
        self.descriptors.push_back((end, descriptor));
        Ok(())
    }

    /// The descriptor that came with the record that has just ended.
    ///
    /// A read that brings a descriptor ends behind the bytes that carried it, so the descriptor belongs to the last record that
    /// had begun by then.
    fn descriptor(&mut self) -> Result<Option<D>, Fault> {
        let began = std::mem::replace(&mut self.record, self.position);
        let Some((end, _)) = self.descriptors.front() else {
            return Ok(None);
        };
        if *end > self.position {
            return Ok(None);
        }
        let is_here = *end > began;
        let descriptor = self
            .descriptors
            .pop_front()
            .map(|(_, descriptor)| descriptor);
        match self.descriptors.front() {
            Some((end, _)) if *end <= self.position => {
                Err(Fault::Violation("two descriptors came with one record"))
            }
            _ if is_here => Ok(descriptor),
            _ => Err(Fault::Violation("a descriptor came with no record")),
        }
    }
}
