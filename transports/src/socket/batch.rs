//! Sending many messages in one call: small ones that follow each other share their system calls.

use std::collections::VecDeque;
use std::io;
use std::sync::MutexGuard;

use numpush_message::{Encoder, Flags, Message};
use numpush_session::Tag;

use crate::batch::{Batch, BatchError};
use crate::error::{Error, Operation};
use crate::socket::deliver::Terms;
use crate::socket::ending::ends_the_way;
use crate::socket::link::{Link, Sending, Side};
use crate::socket::medium::{Lend, Medium, Plan, SMALL, Way};
use crate::socket::write::Progress;
use crate::transfer::PathReason;

/// So many messages, and so many bytes of records, are begun before they are written. More would only wait in memory: a socket
/// takes some hundred KiB at once.
const RUN_MESSAGES: usize = 128;
const RUN_BYTES: u64 = 256 << 10;

impl<M: Medium> Link<M> {
    /// Writes messages in order. Small ones go together, borrowed from where they lie; a large one goes as it does alone.
    pub(super) fn send_messages(
        &self,
        messages: &[Message<'_>],
        tag: Tag,
        terms: Terms,
    ) -> Result<Batch, BatchError> {
        let mut batch = Batch::default();
        while let Some(rest) = messages.get(batch.count..)
            && let Some(first) = rest.first()
        {
            if batch.count > 0 && !terms.keeps_rest {
                // A peer that keeps up lets no run wait, and a wait is where others look.
                let in_time = match terms.deadline.has_passed() {
                    true => Err(terms.deadline.error(Operation::Send, &self.peer)),
                    false => self.check_cancelled(),
                };
                if let Err(error) = in_time {
                    return Err(batch.error(error));
                }
            }
            let before = self.sending().session.last_id();
            let sent = if first.payload_len() < SMALL {
                self.send_run(rest, tag, terms, &mut batch)
            } else {
                self.send_message(first.into(), tag, terms)
                    .map(|transfer| batch.add(&transfer))
            };
            if let Err(error) = sent {
                // One that was begun and not taken back is sent, too: its rest is kept.
                let session = &self.sending().session;
                let id = session.last_id();
                if !session.is_broken() && id > before && id > batch.last_id {
                    (batch.count, batch.last_id) = (batch.count + 1, id);
                    batch.bytes += first.payload_len();
                    if let Error::Unfinished { copied, .. } = &error {
                        batch.copied += copied;
                    }
                }
                return Err(batch.error(error));
            }
        }
        Ok(batch)
    }

    /// Begins the small messages at the front of `messages`, as many as may go now and at least one, and writes them. The first
    /// is small.
    fn send_run(
        &self,
        messages: &[Message<'_>],
        tag: Tag,
        terms: Terms,
        batch: &mut Batch,
    ) -> Result<(), Error> {
        let mut sending = self.ready_to_send(terms.deadline)?;
        let flags = Flags::with_checksums(sending.session.has_checksums());
        let mut run = Run::for_up_to(messages.len().min(RUN_MESSAGES));
        for message in messages.iter().take(RUN_MESSAGES) {
            let is_first = run.encoders.is_empty();
            let mut encoder = match sending.last_head.encoder(message, flags) {
                Ok(encoder) => encoder,
                Err(error) if is_first => return Err(Error::Message(error)),
                // It is the first of the next run, and reported there.
                Err(_) => break,
            };
            let preamble = encoder.preamble();
            let bytes = run.bytes + preamble.record_len();
            if !is_first && (preamble.payload_len >= SMALL || bytes > RUN_BYTES) {
                break;
            }
            if is_first {
                let charge = encoder.charge();
                sending = self.make_room(sending, message, &encoder, charge, terms.deadline)?;
                sending.system_calls = 0;
            }
            // The next run waits until there is room for it.
            let Ok(id) = sending.session.begin_next(&mut encoder, tag) else {
                break;
            };
            sending.since_look += 1;
            // Small messages are written, whatever they lie in.
            let plan = Plan::new(Way::Write(PathReason::Small));
            sending.lender.commit(plan, id);
            run.push(encoder, message);
        }
        self.deliver_run(sending, run, terms, batch)
    }

    /// Writes messages that were begun together, with what waits before them.
    fn deliver_run<'l>(
        &'l self,
        mut sending: MutexGuard<'l, Sending<M>>,
        mut run: Run<'_>,
        terms: Terms,
        batch: &mut Batch,
    ) -> Result<(), Error> {
        let mut waited = false;
        loop {
            let written = sending.write_run(&self.socket, &mut run.encoders);
            batch.system_calls += u64::from(std::mem::take(&mut sending.system_calls));
            match written {
                Ok(Progress::Done) => {
                    run.count_sent(batch);
                    drop(sending);
                    if waited {
                        // Meanwhile the other side of this connection found the stream in the middle of a record.
                        self.wake(Side::Receive);
                    }
                    return Ok(());
                }
                Ok(Progress::Full) => {}
                Err(error) => return Err(self.run_not_written(sending, run, batch, error)),
            }
            drop(sending);
            let room = self.wait_on(terms);
            waited = true;
            sending = self.sending();
            if let Err(error) = room {
                return self.run_not_in_time(sending, run, batch, terms, error);
            }
        }
    }

    /// The error of messages that could not be written.
    fn run_not_written(
        &self,
        mut sending: MutexGuard<'_, Sending<M>>,
        mut run: Run<'_>,
        batch: &mut Batch,
        error: io::Error,
    ) -> Error {
        let kept = match ends_the_way(&error) {
            true => {
                run.abandon(&mut sending);
                None
            }
            false => run.take_back(&mut sending, false),
        };
        run.count_sent(batch);
        drop(sending);
        let error = self.write_failed(error);
        match kept {
            Some(id) => self.kept(error, id, run.copied_last()),
            None => error,
        }
    }

    /// What becomes of messages that the socket did not take before a wait ended with `error`.
    fn run_not_in_time(
        &self,
        mut sending: MutexGuard<'_, Sending<M>>,
        mut run: Run<'_>,
        batch: &mut Batch,
        terms: Terms,
        error: Error,
    ) -> Result<(), Error> {
        if sending.session.is_broken() {
            run.abandon(&mut sending);
            run.count_sent(batch);
            return Err(error);
        }
        let keeps = terms.keeps_rest && error.is_timeout();
        let kept = run.take_back(&mut sending, keeps);
        run.count_sent(batch);
        match kept {
            // The next run finds that nothing more can begin.
            Some(_) if keeps => Ok(()),
            Some(id) if error.is_recoverable() => Err(self.kept(error, id, run.copied_last())),
            _ => Err(error),
        }
    }
}

/// Messages that were begun together, and those of them that are not written whole.
#[derive(Default)]
struct Run<'m> {
    encoders: VecDeque<Encoder<'m>>,
    messages: VecDeque<Counted>,
    /// Bytes of all their records.
    bytes: u64,
    /// Bytes that were copied to keep the rest of one.
    copied: u64,
}

/// What a message counts when it is sent.
struct Counted {
    id: u64,
    bytes: u64,
    copied: u64,
}

impl<'m> Run<'m> {
    fn for_up_to(count: usize) -> Self {
        Self {
            encoders: VecDeque::with_capacity(count),
            messages: VecDeque::with_capacity(count),
            ..Self::default()
        }
    }

    fn push(&mut self, encoder: Encoder<'m>, message: &Message<'_>) {
        let preamble = encoder.preamble();
        let counted = Counted {
            id: preamble.id,
            bytes: preamble.payload_len,
            copied: message.copied_bytes(),
        };
        self.bytes += preamble.record_len();
        self.messages.push_back(counted);
        self.encoders.push_back(encoder);
    }

    /// The peer is gone, and nothing more is written.
    fn abandon<M: Medium>(&mut self, sending: &mut Sending<M>) {
        for _ in &self.encoders {
            sending.session.done(Vec::new());
        }
    }

    /// Undoes the messages of which no byte is written: the peer never hears of them. The rest of the one that is half written
    /// goes with later calls, and with `keeps` the first one whether or not a byte of it is written. Returns its number.
    fn take_back<M: Medium>(&mut self, sending: &mut Sending<M>, keeps: bool) -> Option<u64> {
        while let Some(last) = self.encoders.pop_back() {
            let is_first = self.encoders.is_empty();
            if !(last.is_begun() || keeps && is_first) {
                sending.session.cancel(&last);
                self.messages.pop_back();
                continue;
            }
            let id = last.preamble().id;
            let (rest, copied) = last.into_owned();
            sending.session.keep(rest, Vec::new());
            self.copied += copied;
            return Some(id);
        }
        None
    }

    /// Bytes that were copied of the last message and of its rest.
    fn copied_last(&self) -> u64 {
        let last = self.messages.back();
        self.copied + last.map_or(0, |message| message.copied)
    }

    /// Counts the messages that are sent: all but those that are still in `encoders`.
    fn count_sent(&self, batch: &mut Batch) {
        let sent = self.messages.len() - self.encoders.len();
        for message in self.messages.iter().take(sent) {
            batch.count += 1;
            batch.last_id = message.id;
            batch.bytes += message.bytes;
            batch.copied += message.copied;
        }
        batch.copied += self.copied;
    }
}
