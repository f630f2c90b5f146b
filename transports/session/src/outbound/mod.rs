//! What goes out.

mod account;
mod blocked;
mod in_flight;
mod queue;
mod run;
mod spent;
mod status;

use numpush_message::{Buffer, Encoder, Hello, PREAMBLE_LEN, Preamble, RecordKind, Stamp};

use crate::config::Config;
use crate::fault::Fault;
use crate::inbound::{Arrival, Debt, Event};
use crate::outbound::account::Account;
use crate::outbound::in_flight::InFlight;
use crate::outbound::queue::Queue;
use crate::outbound::run::Run;
use crate::refusal::Refusal;

pub use blocked::Blocked;
pub use queue::Front;
pub use spent::Spent;
pub use status::{OutboundStatus, Tag};

/// The direction in which our messages go.
///
/// The driver writes [`Self::front`] until that is `None`, and then messages: [`Self::begin`] numbers one, and after that it
/// belongs to the driver until its last byte is written ([`Self::done`]), until no byte of it was ([`Self::cancel`]), or until
/// the driver hands over the rest of it ([`Self::keep`]). A driver that writes several messages in one call begins the others
/// behind the first ([`Self::begin_next`]): they are done in order, and cancelled last first.
#[derive(Debug)]
pub struct Outbound<D> {
    queue: Queue<D>,
    in_flight: InFlight,
    window: u64,
    next_id: u64,
    /// What the peer said of itself.
    peer: Option<Hello>,
    wants_checksums: bool,
    /// Charges of all messages so far, and the credit that the peer has granted for them.
    charged: u64,
    granted: u64,
    /// The peer's program has taken every message up to this number.
    taken: u64,
    account: Account,
    /// What waits until the queue is shorter: an answer to the peer's last ping, and what we owe.
    pong: Option<u64>,
    pays_later: bool,
    state: State,
    /// Messages that were begun and are with the driver.
    run: Run,
    /// The peer was asked for credit and has not answered.
    is_asking: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// We have said that no more messages come.
    Closed,
    /// The peer cannot be reached any more.
    Broken,
}

impl<D> Outbound<D> {
    /// Control records that a peer which reads never lets come together.
    const FLOOD: u64 = 16 << 20;

    /// The direction of a new session. Its hello waits to be written.
    pub fn new(config: &Config) -> Self {
        let mut queue = Queue::new();
        queue.push_control(&config.hello.encode());
        Self {
            queue,
            in_flight: InFlight::default(),
            window: config.window,
            next_id: 1,
            peer: None,
            wants_checksums: config.hello.checksums,
            charged: 0,
            granted: 0,
            taken: 0,
            account: Account::new(config.hello.credit),
            pong: None,
            pays_later: false,
            is_asking: false,
            state: State::Open,
            run: Run::default(),
        }
    }

    /// Takes in what the peer has said: every arrival must be shown here, in order.
    ///
    /// # Errors
    /// [`Fault`] if the peer speaks of messages that were never sent, or takes credit back.
    pub fn hear(&mut self, arrival: &Arrival<impl Sized>) -> Result<(), Fault> {
        let unsent = self.next_id - self.unsent();
        self.in_flight.acknowledged(arrival.ack, unsent)?;
        match &arrival.event {
            Event::Hello(hello) => {
                self.granted = hello.credit;
                self.peer = Some(hello.clone());
            }
            Event::Credit { total, taken } => {
                if *total < self.granted || *taken < self.taken {
                    return Err(Fault::Violation("it takes credit back"));
                }
                if *taken >= unsent {
                    let fault = "it has taken a message that was never sent";
                    return Err(Fault::Violation(fault));
                }
                (self.granted, self.taken) = (*total, *taken);
                self.is_asking = false;
            }
            Event::Released { id } if *id >= unsent => {
                return Err(Fault::Violation(
                    "it releases a message that was never sent",
                ));
            }
            Event::Ping { argument } => self.answer(*argument),
            _ => {}
        }
        Ok(())
    }

    /// What the peer said of itself, once its hello has come.
    pub fn peer(&self) -> Option<&Hello> {
        self.peer.as_ref()
    }

    /// True if payloads carry checksums.
    pub fn has_checksums(&self) -> bool {
        self.wants_checksums || self.peer.as_ref().is_some_and(|peer| peer.checksums)
    }

    /// Says why a message of `payload` bytes whose record takes `charge` bytes of credit cannot begin.
    ///
    /// # Errors
    /// [`Blocked`].
    pub fn check(&self, payload: u64, header: u64, charge: u64) -> Result<(), Blocked> {
        self.check_limits(payload, header)?;
        if self.is_busy() {
            return Err(Blocked::Busy);
        }
        self.check_room(payload, charge)
    }

    fn check_limits(&self, payload: u64, header: u64) -> Result<(), Blocked> {
        match self.state {
            State::Open => {}
            State::Closed => return Err(Blocked::Closed),
            State::Broken => return Err(Blocked::Broken),
        }
        let peer = self.peer.as_ref().ok_or(Blocked::Greeting)?;
        let (len, limit) = (payload, peer.max);
        if len > limit {
            return Err(Blocked::TooLarge { len, limit });
        }
        let (len, limit) = (header, u64::from(peer.header));
        if len > limit {
            return Err(Blocked::HeaderTooLong { len, limit });
        }
        Ok(())
    }

    fn check_room(&self, payload: u64, charge: u64) -> Result<(), Blocked> {
        if self.queue.is_backed_up() {
            return Err(Blocked::Busy);
        }
        let all_taken = self.taken == self.last_id();
        if !all_taken && self.charged.saturating_add(charge) > self.granted {
            return Err(Blocked::Credit);
        }
        if !self.in_flight.has_room(payload, self.window) {
            return Err(Blocked::Window);
        }
        Ok(())
    }

    /// Numbers a message and stamps its record, which then belongs to the driver. Returns the number.
    ///
    /// # Errors
    /// [`Blocked`] if it cannot begin; nothing has changed then.
    pub fn begin(&mut self, encoder: &mut Encoder<'_>, tag: Tag) -> Result<u64, Blocked> {
        if self.is_busy() {
            return Err(Blocked::Busy);
        }
        self.begin_next(encoder, tag)
    }

    /// As [`Self::begin`], behind the messages that the driver has begun and not written whole. They go in the order in which
    /// they began, each of them after the queue: what was queued while one was half written goes before the next.
    ///
    /// # Errors
    /// [`Blocked`] if it cannot begin; nothing has changed then, also for those before it.
    pub fn begin_next(&mut self, encoder: &mut Encoder<'_>, tag: Tag) -> Result<u64, Blocked> {
        let preamble = *encoder.preamble();
        let charge = encoder.charge();
        self.check_limits(preamble.payload_len, preamble.header_len.into())?;
        self.check_room(preamble.payload_len, charge)?;
        let id = self.next_id;
        encoder.stamp(Stamp {
            id,
            ack: self.account.owed().ack,
            reply_to: tag.reply_to,
            channel: tag.channel,
        });
        self.next_id += 1;
        self.charged = self.charged.saturating_add(charge);
        self.in_flight.push(id, preamble.payload_len);
        self.run.push();
        Ok(id)
    }

    /// Before the first byte of the message that was begun is written: stamps it again if the peer has been told more since.
    ///
    /// It is stamped with what was told, not with what is owed: a message that was begun behind it may know less than that.
    pub fn refresh(&self, encoder: &mut Encoder<'_>) {
        let preamble = *encoder.preamble();
        let told = self.account.told_ack();
        if preamble.ack < told {
            encoder.stamp(Stamp {
                id: preamble.id,
                ack: told,
                reply_to: preamble.reply_to,
                channel: preamble.channel,
            });
        }
    }

    /// The first byte of the message that was begun first is written: nothing else may be until its last one is.
    pub fn departed(&mut self, encoder: &Encoder<'_>) {
        self.account.tell_ack(encoder.preamble().ack);
        self.run.depart();
    }

    /// The message that was begun first is written whole; `held` is kept until the peer acknowledges it.
    pub fn done(&mut self, held: Vec<Buffer<'static>>) {
        let id = self.next_id - self.run.len();
        self.run.pop_first();
        if !held.is_empty() {
            self.in_flight.hold(id, held);
        }
    }

    /// No byte of the message that was begun last is written, and none will be.
    pub fn cancel(&mut self, encoder: &Encoder<'_>) {
        self.run.pop_last();
        self.next_id -= 1;
        self.charged = self.charged.saturating_sub(encoder.charge());
        self.in_flight.pop_last();
    }

    /// Takes over the only message that was begun, or the rest of it: it is written with the queue.
    pub fn keep(&mut self, mut encoder: Encoder<'static>, held: Vec<Buffer<'static>>) {
        if self.state == State::Broken {
            return self.done(held);
        }
        if encoder.is_begun() {
            self.queue.push_rest(encoder);
        } else {
            self.refresh(&mut encoder);
            self.account.tell_with_kept(encoder.preamble().ack);
            self.queue.push_record(encoder);
        }
        self.done(held);
    }

    /// Takes back the last message that was kept, if no byte of it is written. Its number will be another message's.
    pub fn take_back(&mut self) -> bool {
        let Some(encoder) = self.queue.take_back() else {
            return false;
        };
        self.account.take_back();
        self.run.push();
        self.cancel(&encoder);
        true
    }

    /// What is to be written next. `None` also while the driver is in the middle of a message.
    pub fn front(&mut self) -> Option<Front<'_, D>> {
        match self.run.is_departed() {
            true => None,
            false => self.queue.front(),
        }
    }

    /// True if more waits to be written than [`Self::front`]: a message that was begun goes after all of it.
    pub fn has_more(&self) -> bool {
        self.queue.has_more()
    }

    /// `count` bytes of [`Self::front`] are written.
    pub fn written(&mut self, count: usize) {
        self.queue.written(count);
        if self.queue.is_long() {
            return;
        }
        if let Some(argument) = self.pong.take() {
            self.answer(argument);
        }
        if std::mem::take(&mut self.pays_later) {
            self.pay();
        }
    }

    /// True if nothing waits to be written but what is with the driver.
    pub fn is_drained(&self) -> bool {
        self.queue.is_empty()
    }

    /// True while a message that was begun is with the driver: only it may write.
    pub fn is_busy(&self) -> bool {
        self.run.len() > 0
    }

    /// Notes what we owe the peer. Messages carry the acknowledgement with them; [`Self::pay`] writes it alone.
    pub fn owe(&mut self, debt: Debt) {
        self.account.owe(debt);
    }

    /// True if the peer does not know of messages that are acknowledged.
    pub fn owes_ack(&self) -> bool {
        self.state != State::Broken && self.account.owes_ack()
    }

    /// True if the peer does not know of credit that it has, or of messages that are taken.
    pub fn owes_credit(&self) -> bool {
        self.state != State::Broken && self.account.owes_credit()
    }

    /// True if so much is owed that the peer should hear of it now, and not with the next message that goes there.
    pub fn is_due(&self) -> bool {
        self.account.is_due()
    }

    /// Queues a record that tells the peer all we owe, once the queue is short. Returns true if there was anything to tell.
    pub fn pay(&mut self) -> bool {
        if !self.owes_ack() && !self.owes_credit() {
            return false;
        }
        if self.queue.is_long() {
            self.pays_later = true;
            return true;
        }
        let Debt { taken, credit, .. } = self.account.owed();
        self.queue_control(RecordKind::Ack, taken, credit);
        self.account.tell_credit();
        true
    }

    /// Queues a record that names a segment and brings its descriptor.
    pub fn announce(&mut self, number: u64, descriptor: D) {
        if self.state != State::Broken {
            let record = self.control(RecordKind::Segment, number, 1);
            self.queue.push_descriptor(descriptor, record);
        }
    }

    /// Queues a record that takes a segment's name back.
    pub fn forget(&mut self, number: u64) {
        self.queue_control(RecordKind::Segment, number, 0);
    }

    /// Queues a record that lets go of what message `id` of the peer lent us.
    pub fn release(&mut self, id: u64) {
        self.queue_control(RecordKind::Release, id, 0);
    }

    /// Asks the peer to tell us of credit that it has not told, unless it was asked and has not answered.
    pub fn ask_for_credit(&mut self) {
        if !self.is_asking {
            self.is_asking = true;
            self.ping(0);
        }
    }

    /// Queues a question to which the peer answers with the same argument.
    pub fn ping(&mut self, argument: u64) {
        self.queue_control(RecordKind::Ping, 0, argument);
    }

    /// Queues the reason why we do not go on. Nothing can be sent after it.
    pub fn refuse(&mut self, reason: Refusal) {
        self.queue_control(RecordKind::Refuse, reason.to_wire(), 0);
        if self.state == State::Open {
            self.state = State::Closed;
        }
    }

    /// Queues the record after which we send no more messages.
    ///
    /// # Errors
    /// [`Blocked::Busy`] while a message is being written; [`Blocked::Broken`].
    pub fn close(&mut self) -> Result<(), Blocked> {
        match self.state {
            State::Broken => return Err(Blocked::Broken),
            State::Closed => return Ok(()),
            State::Open if self.is_busy() => return Err(Blocked::Busy),
            State::Open => {}
        }
        self.queue_control(RecordKind::Close, self.next_id - 1, 0);
        self.state = State::Closed;
        Ok(())
    }

    /// The peer cannot be reached any more: nothing is written from now on.
    pub fn broken(&mut self) {
        self.state = State::Broken;
        self.queue.clear();
        (self.pong, self.pays_later) = (None, false);
    }

    /// True if the peer cannot be reached any more.
    pub fn is_broken(&self) -> bool {
        self.state == State::Broken
    }

    /// True if we have said that no more messages come.
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// True if so much waits for the peer that it cannot mean to read it.
    pub fn is_flooded(&self) -> bool {
        self.queue.len() > Self::FLOOD
    }

    /// True if a record is half written, so that the stream cannot end here without damage.
    pub fn is_midway(&self) -> bool {
        self.run.is_departed() || self.queue.is_midway()
    }

    /// Number of the last message that was begun; 0 before the first.
    pub fn last_id(&self) -> u64 {
        self.next_id - 1
    }

    /// Answers a ping. A peer that asks and does not read is answered its last one only.
    fn answer(&mut self, argument: u64) {
        if self.queue.is_long() {
            self.pong = Some(argument);
        } else {
            self.queue_control(RecordKind::Pong, 0, argument);
        }
    }

    /// Messages that were begun and are not written whole.
    fn unsent(&self) -> u64 {
        self.run.len() + self.queue.messages()
    }

    fn queue_control(&mut self, kind: RecordKind, id: u64, argument: u64) {
        if self.state == State::Broken {
            return;
        }
        let record = self.control(kind, id, argument);
        self.queue.push_control(&record);
    }

    /// A control record with our latest acknowledgement.
    fn control(&mut self, kind: RecordKind, id: u64, argument: u64) -> [u8; PREAMBLE_LEN] {
        let ack = self.account.owed().ack;
        self.account.tell_ack(ack);
        Preamble::control(kind, id, argument)
            .with_ack(ack)
            .encode(&[])
    }
}
