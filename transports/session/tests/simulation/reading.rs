//! How the driver reads: as `transports/src/socket/{read,recv}.rs` do.

use numpush_message::{Header, Message, Reference};
use numpush_session::{Arrival, Event, Fault};

use crate::content::Way;
use crate::ledger::{Check, expect};
use crate::network::Read;
use crate::plant::Plant;
use crate::side::{Queued, Side, Wires};

/// What came of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Something,
    Nothing,
    /// There is no room: the call failed, and may be made again.
    NoRoom,
    /// Nothing more comes.
    End,
}

impl Side {
    /// A call that receives. `begins`: it begins now; else it goes on after a wait.
    pub(crate) fn receive(&mut self, wires: &mut Wires<'_>, begins: bool) -> Check<Found> {
        if begins {
            self.settle(wires);
            if !self.inbound.is_idle() {
                self.inbound.resume(wires.now);
            }
        }
        loop {
            if !self.inbox.is_empty() {
                self.hand_over(wires)?;
                return Ok(Found::Something);
            }
            if self.end.is_some() || self.is_over {
                return Ok(Found::End);
            }
            match self.obey_next(wires)? {
                Found::Something => continue,
                Found::Nothing => {}
                found => return Ok(found),
            }
            match self.read(wires)? {
                Found::Something => {}
                Found::Nothing => {
                    self.pay(wires);
                    return Ok(Found::Nothing);
                }
                found => return Ok(found),
            }
        }
    }

    /// Takes in all that is there, as calls that send do while they wait.
    pub(crate) fn take_in(&mut self, wires: &mut Wires<'_>) -> Check<Found> {
        loop {
            loop {
                match self.obey_next(wires)? {
                    Found::Something => {}
                    Found::Nothing => break,
                    found => return Ok(found),
                }
            }
            match self.read(wires)? {
                Found::Something => {}
                found => return Ok(found),
            }
        }
    }

    fn obey_next(&mut self, wires: &mut Wires<'_>) -> Check<Found> {
        if self.end.is_some() || self.is_over {
            return Ok(Found::End);
        }
        match self.inbound.next(&mut self.allocator) {
            Ok(None) => Ok(Found::Nothing),
            Ok(Some(arrival)) => self.obey(arrival, wires),
            Err(fault) => Ok(self.fail(fault, wires)),
        }
    }

    fn read(&mut self, wires: &mut Wires<'_>) -> Check<Found> {
        let spare = match self.inbound.spare() {
            Ok(spare) => spare,
            Err(fault) => return Ok(self.fail(fault, wires)),
        };
        let len = spare.len();
        expect(len > 0, || "there is no place for a read".into())?;
        let read = match wires.coming.read(spare) {
            Read::Bytes(count, descriptor) => {
                let (count, descriptor) = self.report(count, len, descriptor);
                self.inbound
                    .filled(count, descriptor, wires.now, &mut self.allocator)
                    .map(|()| Found::Something)
            }
            Read::Nothing => self
                .inbound
                .found_nothing(wires.now)
                .map(|()| Found::Nothing),
            Read::End if self.plant == Some(Plant::HidesEnd) => return Ok(Found::Nothing),
            Read::End => self.inbound.ended().map(|()| {
                self.is_over = true;
                Found::End
            }),
        };
        Ok(read.unwrap_or_else(|fault| self.fail(fault, wires)))
    }

    /// What the driver reports of a read.
    fn report(
        &mut self,
        mut count: usize,
        len: usize,
        mut descriptor: Option<u32>,
    ) -> (usize, Option<u32>) {
        if count < len && self.has(Plant::CountsByteTwice) {
            count += 1;
        }
        if self.plant == Some(Plant::LateDescriptor) {
            std::mem::swap(&mut self.late, &mut descriptor);
        }
        (count, descriptor)
    }

    /// Notes a fault, and reports it to a peer that made it.
    fn fail(&mut self, fault: Fault, wires: &mut Wires<'_>) -> Found {
        if fault.is_recoverable() {
            self.refused += 1;
            if self.has(Plant::GivesUpWithoutRoom) {
                wires.coming.read(&mut [0; 64]);
            }
            return Found::NoRoom;
        }
        if let Some(reason) = fault.refusal() {
            self.outbound.refuse(reason);
            self.drain(wires);
        }
        self.end = Some(fault);
        Found::End
    }

    fn obey(&mut self, arrival: Arrival<u32>, wires: &mut Wires<'_>) -> Check<Found> {
        let forgets = self.outbound.peer().is_some() && self.has(Plant::ForgetsToHear);
        if !forgets && let Err(fault) = self.outbound.hear(&arrival) {
            return Ok(self.fail(fault, wires));
        }
        match arrival.event {
            Event::Message {
                preamble, message, ..
            } => {
                wires.theirs.arrive(&preamble)?;
                self.enqueue(Queued { preamble, message });
            }
            Event::Referenced {
                preamble,
                header,
                references,
            } => {
                let content = wires.theirs.arrive(&preamble)?;
                let Way::Refer(segment) = content.way else {
                    return Err(format!("message {} came by reference", preamble.id));
                };
                let checked = check_references(&header, &references, segment, content.offset());
                // No sum covers the table of references.
                if checked.is_err() && wires.theirs.is_changed {
                    wires.theirs.mismatches += 1;
                } else {
                    checked?;
                }
                self.lent.push(preamble.id);
                let message = Message::new(numpush_message::Buffer::default());
                self.enqueue(Queued { preamble, message });
            }
            Event::Skipped { preamble } => {
                let content = wires.theirs.arrive(&preamble)?;
                expect(
                    content.way == Way::Ancillary || wires.theirs.is_changed,
                    || format!("message {} was dropped", preamble.id),
                )?;
                wires.theirs.skip(preamble.id);
                self.inbound.take(&preamble);
                self.vary_promise(wires.theirs);
                if self.plant != Some(Plant::KeepsCreditOfSkipped) {
                    self.outbound.owe(self.inbound.debt());
                }
            }
            Event::Segment { number, descriptor } => {
                let named = wires.theirs.segments.pop_front();
                let came = Some((number, descriptor));
                expect(named == came, || {
                    format!("segment {came:?} came, and {named:?} was named")
                })?;
            }
            Event::Pong { argument } => {
                while let Some(asked) = wires.ours.pings.pop_front() {
                    if asked == argument {
                        return Ok(Found::Something);
                    }
                }
                return Err(format!("the answer {argument} has no question"));
            }
            Event::Refused(reason) => return Ok(self.fail(Fault::Refused(reason), wires)),
            _ => {}
        }
        Ok(Found::Something)
    }

    fn enqueue(&mut self, queued: Queued) {
        if self.plant == Some(Plant::TakesAtArrival) {
            self.inbound.take(&queued.preamble);
        }
        self.inbox.push_back(queued);
    }

    /// Gives a message to the program, and its credit back to the peer.
    fn hand_over(&mut self, wires: &mut Wires<'_>) -> Check {
        let next = if self.plant == Some(Plant::HandsOverBackwards) {
            self.inbox.pop_back()
        } else {
            self.inbox.pop_front()
        };
        let Some(Queued { preamble, message }) = next else {
            return Ok(());
        };
        wires.theirs.hand_over(preamble.id, &message)?;
        if !self.has(Plant::ForgetsToTake) {
            self.inbound.take(&preamble);
        }
        if self.has(Plant::GivesBackTwice) {
            self.inbound.take(&preamble);
        }
        self.vary_promise(wires.theirs);
        self.receipts.extend(self.inbound.receipt(preamble.id));
        self.outbound.owe(self.inbound.debt());
        if self.outbound.is_due() && self.plant != Some(Plant::NeverPays) {
            self.outbound.pay();
        }
        if !self.outbound.is_busy() {
            self.drain(wires);
        }
        if self.has(Plant::HandsOverTwice) {
            self.inbox.push_front(Queued { preamble, message });
        }
        Ok(())
    }
}

fn check_references(header: &Header, found: &[Reference], segment: u32, offset: u64) -> Check {
    let wanted = vec![Reference { segment, offset }];
    expect(found == wanted, || {
        format!("{found:?} came in place of {wanted:?} ({header:?})")
    })
}
