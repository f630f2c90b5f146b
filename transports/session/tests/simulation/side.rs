//! One side of a connection: its session, its simulated driver, and its program.

use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use numpush_message::{Encoder, Hello, Message, Preamble};
use numpush_session::{Acknowledge, Config, Fault, Inbound, Outbound, Receipt};

use crate::content::Content;
use crate::ledger::{Check, Ledger, expect};
use crate::network::Pipe;
use crate::plant::Plant;
use crate::random::Random;
use crate::room::Stingy;

/// The most that is promised later than at the start.
const MOST_PROMISED: u64 = 65_536;

/// How long a record may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Side {
    pub(crate) config: Config,
    pub(crate) inbound: Inbound<u32>,
    pub(crate) outbound: Outbound<u32>,
    pub(crate) allocator: Stingy,
    pub(crate) random: Random,
    pub(crate) plant: Option<Plant>,
    /// Messages that were begun and are with the driver.
    pub(crate) writing: VecDeque<(Encoder<'static>, Content)>,
    /// What the program is still to send.
    pub(crate) plan: VecDeque<Content>,
    pub(crate) inbox: VecDeque<Queued>,
    pub(crate) receipts: Vec<Receipt>,
    /// Messages that lent us memory, which we have not given back.
    pub(crate) lent: Vec<u64>,
    /// Segments that the peer knows.
    pub(crate) segments: Vec<u32>,
    pub(crate) next_descriptor: u32,
    /// A descriptor that the planted fault holds back.
    pub(crate) late: Option<u32>,
    /// Why nothing more comes.
    pub(crate) end: Option<Fault>,
    /// Nothing more comes, and that is in order.
    pub(crate) is_over: bool,
    pub(crate) has_left: bool,
    /// A call that receives waits.
    pub(crate) is_waiting: bool,
    /// How often there was no room.
    pub(crate) refused: usize,
    /// What it promises the peer changes as messages are taken.
    pub(crate) varies: bool,
    pub(crate) promise: u64,
}

/// A message that waits for the program.
pub(crate) struct Queued {
    pub(crate) preamble: Preamble,
    pub(crate) message: Message<'static>,
}

/// What a side works on.
pub(crate) struct Wires<'w> {
    pub(crate) out: &'w mut Pipe,
    pub(crate) coming: &'w mut Pipe,
    pub(crate) ours: &'w mut Ledger,
    pub(crate) theirs: &'w mut Ledger,
    pub(crate) now: Instant,
}

impl Side {
    pub(crate) fn new(mut random: Random, plant: Option<Plant>) -> Self {
        let config = configure(&mut random);
        let allocator = Stingy::new(random.split());
        let count = random.pick(&[0, 1, 3, 10, 30]);
        let varies = random.once_in(2);
        let plan = (0..count).map(|_| Content::new(&mut random)).collect();
        Self {
            inbound: Inbound::new(&config),
            outbound: Outbound::new(&config),
            promise: config.hello.credit,
            config,
            allocator,
            random,
            plant,
            writing: VecDeque::new(),
            plan,
            inbox: VecDeque::new(),
            receipts: Vec::new(),
            lent: Vec::new(),
            segments: Vec::new(),
            next_descriptor: 1,
            late: None,
            end: None,
            is_over: false,
            has_left: false,
            is_waiting: false,
            refused: 0,
            varies,
        }
    }

    /// The driver has this fault, now.
    pub(crate) fn has(&mut self, plant: Plant) -> bool {
        self.plant == Some(plant) && self.random.once_in(4)
    }

    pub(crate) fn refuse_room(&mut self, refuses: bool) {
        self.allocator.refuses.store(refuses, Relaxed);
    }

    /// A call of the program begins: it is done with what it had.
    pub(crate) fn settle(&mut self, wires: &mut Wires<'_>) {
        self.inbound.finish();
        wires.theirs.finish();
        self.outbound.owe(self.inbound.debt());
    }

    /// What the janitor does: pays, if nobody else did.
    pub(crate) fn pay(&mut self, wires: &mut Wires<'_>) {
        if self.plant != Some(Plant::NeverPays) {
            self.outbound.pay();
        }
        if self.plant == Some(Plant::PaysTwice) {
            let mut debt = self.inbound.debt();
            debt.credit += 100;
            self.outbound.owe(debt);
        }
        if !self.outbound.is_busy() {
            self.drain(wires);
        }
    }

    pub(crate) fn confirm_one(&mut self, wires: &mut Wires<'_>) {
        if self.receipts.is_empty() {
            return;
        }
        let index = self.random.of(0..=self.receipts.len() - 1);
        let receipt = self.receipts.swap_remove(index);
        wires.theirs.confirm(receipt.id());
        let ack = receipt.confirm();
        self.outbound.owe(numpush_session::Debt {
            ack,
            ..Default::default()
        });
    }

    /// A message was taken: promises the peer what it has, or more, or less.
    pub(crate) fn vary_promise(&mut self, theirs: &mut Ledger) {
        theirs.grant(self.promise);
        if self.varies && self.random.once_in(3) {
            self.promise = self.random.pick(&[0, 500, 3_000, MOST_PROMISED]);
            self.inbound.promise(self.promise);
        }
        theirs.grant(self.promise);
    }

    pub(crate) fn release_one(&mut self) {
        if let Some(id) = self.lent.pop() {
            self.outbound.release(id);
        }
    }

    /// What holds at any time.
    pub(crate) fn check(&self, peer: &Self, theirs: &Ledger) -> Check {
        let acknowledged = peer.acknowledged();
        let (credit, most) = (
            peer.outbound.status().credit,
            theirs.credit(self.config.hello.credit),
        );
        expect(credit <= most, || {
            format!("the peer believes in {credit} bytes of credit, and has {most}")
        })?;
        let policy = self.config.acknowledge;
        let most = theirs.acknowledgeable(policy);
        expect(acknowledged <= most, || {
            format!("{acknowledged} messages are acknowledged, and {most} may be ({policy:?})")
        })?;
        self.check_memory()
    }

    /// What is held is bounded, whatever the peer does.
    pub(crate) fn check_memory(&self) -> Check {
        let waiting: u64 = self.inbox.iter().map(|one| one.preamble.charge()).sum();
        let held = self.inbound.held();
        expect(self.is_failed() || held >= waiting, || {
            format!("{waiting} bytes wait for the program, and {held} are charged")
        })?;
        let (credit, max) = (self.config.hello.credit, self.config.hello.max);
        let most = credit.max(MOST_PROMISED).max(max + (9 << 20));
        expect(held <= most, || {
            format!("{held} bytes are held of {credit}")
        })?;
        // Heads of messages have less than 6,000 bytes.
        let status = self.outbound.status();
        let most = 100_000 + status.in_flight_bytes + 6_000 * status.in_flight as u64;
        expect(status.queued < most, || {
            format!("{status:?}: too much waits to be written")
        })
    }

    /// Number of the last message of ours that the peer has acknowledged.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.outbound.last_id() - self.outbound.status().in_flight as u64
    }

    pub(crate) fn is_failed(&self) -> bool {
        self.end.is_some()
    }
}

fn configure(random: &mut Random) -> Config {
    let mut hello = Hello::new(random.pick(&[1_000, 20_000, 1 << 20]));
    hello.credit = random.pick(&[0, 1, 500, 3_000, 65_536, 1 << 20]);
    hello.header = random.pick(&[200, 4_000, 1 << 20]);
    hello.checksums = random.once_in(4);
    hello.segments = 4;
    let window = random.pick(&[0, 500, 10_000, 256 << 20]);
    let policy = random.pick(&[
        Acknowledge::OnReturn,
        Acknowledge::OnReturn,
        Acknowledge::OnNextCall,
        Acknowledge::OnConfirm,
    ]);
    Config::new(hello)
        .window(window)
        .acknowledge(policy)
        .patience(PATIENCE)
}
