//! What is true of one direction, told by nobody: the programs write it down as it happens.

use std::collections::VecDeque;

use numpush_message::{Message, Preamble};
use numpush_session::Acknowledge;

use crate::content::{Content, Way};

/// An invariant that does not hold.
pub(crate) type Check<T = ()> = Result<T, String>;

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Messages that were begun and not taken back, by number.
    sent: Vec<Content>,
    charges: Vec<u64>,
    /// How many of them have arrived, and how many the receiver is done with: by number, and all before it.
    arrived: usize,
    handed: usize,
    done: Vec<bool>,
    confirmed: Vec<bool>,
    /// What [`Acknowledge::OnNextCall`] allows.
    finished: usize,
    /// Segments that were named and taken back, each with its descriptor.
    pub(crate) segments: VecDeque<(u64, Option<u32>)>,
    pub(crate) pings: VecDeque<u64>,
    /// Bytes of this direction were changed on the way: one message may be another one than was sent.
    pub(crate) is_changed: bool,
    pub(crate) mismatches: usize,
    /// Credit that was granted in all, beyond that of the start.
    granted: u64,
}

impl Ledger {
    pub(crate) fn begin(&mut self, content: Content, number: u64, charge: u64) -> Check {
        self.charges.push(charge);
        self.sent.push(content);
        self.done.push(false);
        self.confirmed.push(false);
        expect(number == self.sent.len() as u64, || {
            format!("message {} begins as {number}", self.sent.len())
        })
    }

    pub(crate) fn cancel(&mut self) -> Option<Content> {
        self.charges.pop();
        self.done.pop();
        self.confirmed.pop();
        self.sent.pop()
    }

    pub(crate) fn last(&self) -> usize {
        self.sent.len()
    }

    /// A message is here. Returns what was sent under its number.
    pub(crate) fn arrive(&mut self, preamble: &Preamble) -> Check<Content> {
        self.arrived += 1;
        let (number, next) = (preamble.id, self.arrived);
        expect(number == next as u64, || {
            format!("message {number} arrived in place of {next}")
        })?;
        self.sent
            .get(next - 1)
            .copied()
            .ok_or_else(|| format!("message {next} arrived and was never sent"))
    }

    /// The program gets a message.
    pub(crate) fn hand_over(&mut self, number: u64, message: &Message<'static>) -> Check {
        while self.sent.get(self.handed).is_some_and(is_ancillary) {
            self.handed += 1;
        }
        self.handed += 1;
        let next = self.handed;
        expect(number == next as u64, || {
            format!("the program got message {number} in place of {next}")
        })?;
        let content = self.sent[next - 1];
        self.done[next - 1] = true;
        if matches!(content.way, Way::Refer(_)) || content.message() == *message {
            return Ok(());
        }
        self.mismatches += 1;
        expect(self.is_changed && self.mismatches == 1, || {
            format!("message {number} has other bytes than were sent")
        })
    }

    pub(crate) fn skip(&mut self, number: u64) {
        let index = usize::try_from(number).unwrap() - 1;
        self.done[index] = true;
        self.confirmed[index] = true;
    }

    pub(crate) fn confirm(&mut self, number: u64) {
        self.confirmed[usize::try_from(number).unwrap() - 1] = true;
    }

    /// The receiver calls: it is done with what it has.
    pub(crate) fn finish(&mut self) {
        self.finished = prefix(&self.done);
    }

    /// Number of the last message that may be acknowledged.
    pub(crate) fn acknowledgeable(&self, policy: Acknowledge) -> u64 {
        let count = match policy {
            Acknowledge::OnReturn => prefix(&self.done),
            // What is skipped has no program that is not done with it.
            Acknowledge::OnNextCall => {
                let new = &self.sent[self.finished..];
                self.finished + new.iter().take_while(|sent| is_ancillary(sent)).count()
            }
            _ => prefix(&self.confirmed),
        };
        count as u64
    }

    /// The credit is made up to `promise`.
    pub(crate) fn grant(&mut self, promise: u64) {
        let done = self.charges.iter().zip(&self.done);
        let taken: u64 = done.filter(|done| *done.1).map(|done| done.0).sum();
        self.granted = self.granted.max(taken + promise);
    }

    /// Credit that is left of what was granted, `initial` at the start.
    pub(crate) fn credit(&self, initial: u64) -> u64 {
        let all: u64 = self.charges.iter().sum();
        self.granted.max(initial).saturating_sub(all)
    }

    /// True if everything that was sent has reached the program.
    pub(crate) fn is_settled(&self) -> bool {
        self.arrived == self.sent.len() && prefix(&self.done) == self.sent.len()
    }
}

fn is_ancillary(content: &Content) -> bool {
    content.way == Way::Ancillary
}

fn prefix(flags: &[bool]) -> usize {
    flags.iter().take_while(|&&flag| flag).count()
}

/// Fails with what `otherwise` says unless `holds`.
pub(crate) fn expect(holds: bool, otherwise: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err(otherwise()) }
}
