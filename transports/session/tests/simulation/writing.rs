//! How the driver writes: as `transports/src/socket/{write,send,batch,finish}.rs` do.

use std::io::IoSlice;

use numpush_message::{Encoder, Flags, PREAMBLE_LEN, Preamble, RecordKind, Reference};
use numpush_session::{Blocked, Front, Tag};

use crate::content::{Content, Way};
use crate::ledger::{Check, expect};
use crate::plant::Plant;
use crate::side::{Side, Wires};

/// How far writing came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    Done,
    Full,
}

impl Side {
    /// Writes as much of the queue as the network takes.
    pub(crate) fn drain(&mut self, wires: &mut Wires<'_>) -> Progress {
        while let Some(front) = self.outbound.front() {
            let written = match front {
                Front::Control(bytes) => wires.out.write(bytes, None),
                Front::Descriptor(descriptor, bytes) => wires.out.write(bytes, Some(*descriptor)),
                Front::Record(encoder) => wires
                    .out
                    .write(encoder.next().map_or(&[], |next| next.bytes), None),
            };
            match written {
                Ok(0) => return Progress::Full,
                Ok(count) => self.outbound.written(count),
                Err(_) => {
                    self.outbound.broken();
                    return Progress::Done;
                }
            }
        }
        Progress::Done
    }

    /// Begins the next message of the program, if it can.
    pub(crate) fn begin(&mut self, wires: &mut Wires<'_>) -> Check {
        let Some(&content) = self.plan.front() else {
            return Ok(());
        };
        // Only what is written can go behind a message that was begun.
        if !self.writing.is_empty() && content.way != Way::Write {
            return Ok(());
        }
        let message = content.message();
        let flags = Flags::with_checksums(self.outbound.has_checksums());
        let encoder = Encoder::new(&message, flags).map_err(|error| error.to_string())?;
        let (mut encoder, _) = match content.way {
            Way::Refer(segment) => {
                let offset = content.offset();
                let references = [Reference { segment, offset }];
                encoder.by_reference(&references).into_owned()
            }
            _ => encoder.into_owned(),
        };
        if content.way == Way::Ancillary
            && (self.outbound.is_busy() || self.drain(wires) == Progress::Full)
        {
            return Ok(());
        }
        let begun = match self.writing.is_empty() {
            true => self.outbound.begin(&mut encoder, Tag::default()),
            false => self.outbound.begin_next(&mut encoder, Tag::default()),
        };
        let number = match begun {
            Ok(number) => number,
            Err(blocked) => return self.blocked(blocked, wires),
        };
        wires.ours.begin(content, number, encoder.charge())?;
        self.plan.pop_front();
        match content.way {
            Way::Write if self.has(Plant::SwapsRun) => self.writing.push_front((encoder, content)),
            Way::Write => self.writing.push_back((encoder, content)),
            Way::Refer(segment) => self.refer(encoder, segment, wires),
            Way::Ancillary => self.write_ancillary(encoder, wires),
        }
        Ok(())
    }

    fn blocked(&mut self, blocked: Blocked, wires: &mut Wires<'_>) -> Check {
        match blocked {
            Blocked::TooLarge { len, limit } | Blocked::HeaderTooLong { len, limit } => {
                if let Some(content) = self.plan.front_mut() {
                    content.shorten();
                }
                expect(len > limit, || format!("{len} bytes are over {limit}"))
            }
            Blocked::Credit if self.random.once_in(4) => {
                self.ping(wires);
                Ok(())
            }
            Blocked::Closed | Blocked::Broken => {
                self.plan.clear();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn ping(&mut self, wires: &mut Wires<'_>) {
        let argument = self.random.number();
        wires.ours.pings.push_back(argument);
        self.outbound.ping(argument);
    }

    /// The record joins the queue behind what the peer must know of its segment.
    fn refer(&mut self, encoder: Encoder<'static>, segment: u32, wires: &mut Wires<'_>) {
        if self.random.once_in(3) {
            self.forget(segment, wires);
        }
        self.announce(segment, wires);
        self.outbound.keep(encoder, Vec::new());
    }

    pub(crate) fn forget(&mut self, segment: u32, wires: &mut Wires<'_>) {
        let before = self.segments.len();
        self.segments.retain(|&other| other != segment);
        if self.segments.len() < before {
            let number = u64::from(segment);
            wires.ours.segments.push_back((number, None));
            self.outbound.forget(number);
        }
    }

    pub(crate) fn announce(&mut self, segment: u32, wires: &mut Wires<'_>) {
        if self.segments.contains(&segment) || self.outbound.is_broken() {
            return;
        }
        self.segments.push(segment);
        let (number, descriptor) = (u64::from(segment), self.next_descriptor);
        self.next_descriptor += 1;
        wires.ours.segments.push_back((number, Some(descriptor)));
        self.outbound.announce(number, descriptor);
    }

    /// A message of a later version. No program of this version can send one: its bytes are made here.
    fn write_ancillary(&mut self, mut encoder: Encoder<'static>, wires: &mut Wires<'_>) {
        self.outbound.refresh(&mut encoder);
        self.outbound.departed(&encoder);
        let preamble = Preamble {
            kind: RecordKind::AncillaryMessage(0x55),
            ..*encoder.preamble()
        };
        let mut record = encoder.copy_rest();
        let (first, rest) = record.split_at_mut(PREAMBLE_LEN);
        first.copy_from_slice(&preamble.encode(&rest[..preamble.header_len as usize]));
        wires.out.put(&record, None);
        self.outbound.done(Vec::new());
    }

    /// Goes on with the messages that were begun.
    pub(crate) fn write(&mut self, wires: &mut Wires<'_>) {
        self.write_out(wires);
        if self.outbound.is_broken() {
            self.writing
                .drain(..)
                .for_each(|_| self.outbound.done(Vec::new()));
        }
    }

    fn write_out(&mut self, wires: &mut Wires<'_>) -> Progress {
        while let Some((first, _)) = self.writing.front() {
            let mut bytes = Vec::new();
            if first.is_begun() {
                if self.has(Plant::WritesMidway) {
                    let ping = Preamble::control(RecordKind::Ping, 0, 7).encode(&[]);
                    wires.out.put(&ping, None);
                }
            } else {
                // Control records go with the messages in one write, if nothing else waits.
                while !self.is_control_alone() {
                    if self.drain(wires) == Progress::Full {
                        return Progress::Full;
                    }
                }
            }
            // There is no front in the middle of a message.
            if let Some(Front::Control(queued)) = self.outbound.front() {
                bytes.extend_from_slice(queued);
            }
            if self.plant != Some(Plant::ForgetsToRefresh) {
                let unsent = self.writing.iter_mut().map(|(encoder, _)| encoder);
                let unsent = unsent.filter(|encoder| !encoder.is_begun());
                unsent.for_each(|encoder| self.outbound.refresh(encoder));
            }
            let queued = bytes.len();
            // What was queued since goes before the messages behind one that is half written.
            let has_departed = self.writing.front().is_some_and(|one| one.0.is_begun());
            let overtakes = self.plant == Some(Plant::OvertakesBehind);
            let alone = has_departed && !self.outbound.is_drained() && !overtakes;
            self.gather(alone, &mut bytes);
            if self.has(Plant::LosesByte) {
                wires.out.lost = Some(wires.out.written);
            }
            match wires.out.write(&bytes, None) {
                Ok(0) => return Progress::Full,
                Ok(count) => {
                    let owed = count.min(queued);
                    if owed > 0 {
                        self.outbound.written(owed);
                    }
                    self.advance(count - owed);
                }
                Err(_) => {
                    self.outbound.broken();
                    return Progress::Full;
                }
            }
        }
        Progress::Done
    }

    /// Appends what comes next of the messages that were begun, or of the first `alone`. The checksums of one are known when the
    /// rest of it is written.
    fn gather(&self, alone: bool, bytes: &mut Vec<u8>) {
        for (encoder, _) in &self.writing {
            let mut slices: Vec<IoSlice<'_>> = Vec::new();
            encoder.gather(&mut slices, usize::MAX, |_| false);
            slices
                .iter()
                .for_each(|slice| bytes.extend_from_slice(slice));
            if alone || encoder.preamble().flags.checksums {
                return;
            }
        }
    }

    /// `count` bytes of the messages that were begun are written.
    fn advance(&mut self, mut count: usize) {
        let mut is_first = true;
        while count > 0
            && let Some((mut encoder, content)) = self.writing.pop_front()
        {
            let forgets = !is_first && self.plant == Some(Plant::ForgetsDeparture);
            if !encoder.is_begun() && !forgets {
                self.outbound.departed(&encoder);
            }
            let step = count.min(usize::try_from(encoder.rest_len()).unwrap());
            encoder.advance(step);
            count -= step;
            if encoder.next().is_some() {
                self.writing.push_front((encoder, content));
                return;
            }
            self.outbound.done(Vec::new());
            is_first = false;
        }
    }

    fn is_control_alone(&mut self) -> bool {
        let overtakes = self.plant == Some(Plant::OvertakesQueue);
        let has_more = self.outbound.has_more() && !overtakes;
        matches!(self.outbound.front(), None | Some(Front::Control(_))) && !has_more
    }

    /// The time of the call is over: messages of which nothing has gone are taken back, the last one first, or the first of them
    /// is left with the session, as the call has it; the rest of one that has begun is left with the session.
    pub(crate) fn give_up(&mut self, keeps: bool, wires: &mut Wires<'_>) {
        if self.writing.is_empty() && !keeps && self.outbound.take_back() {
            wires.ours.cancel();
        }
        while let Some((encoder, content)) = self.writing.pop_back() {
            let is_kept = keeps && self.writing.is_empty();
            let takes_back = !encoder.is_begun() && !is_kept;
            if takes_back || encoder.is_begun() && self.has(Plant::CancelsHalf) {
                self.outbound.cancel(&encoder);
                self.give_back(content, wires);
            } else if self.has(Plant::DropsRest) {
                self.outbound.done(Vec::new());
            } else {
                self.outbound.keep(encoder, Vec::new());
            }
        }
    }

    /// The program sends the message later, or not at all.
    fn give_back(&mut self, content: Content, wires: &mut Wires<'_>) {
        wires.ours.cancel();
        if self.random.once_in(2) {
            self.plan.push_front(content);
        }
    }

    /// Says that no more messages come, if all are sent.
    pub(crate) fn close(&mut self, wires: &mut Wires<'_>) {
        if self.plan.is_empty() && self.outbound.close().is_ok() {
            self.drain(wires);
        }
    }

    /// Hangs up.
    pub(crate) fn leave(&mut self, wires: &mut Wires<'_>) {
        self.has_left = true;
        self.plan.clear();
        wires.out.end();
        wires.coming.abandon();
    }
}
