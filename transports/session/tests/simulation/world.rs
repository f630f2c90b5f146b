//! Two sides, a network, a clock and what goes wrong: all of it from one seed.

use std::time::{Duration, Instant};

use numpush_session::{Acknowledge, Fault};

use crate::ledger::{Check, Ledger, expect};
use crate::network::Pipe;
use crate::plant::Plant;
use crate::random::Random;
use crate::reading::Found;
use crate::side::{PATIENCE, Side, Wires};
use crate::trouble::Trouble;

/// What came to pass in a run.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) trouble: Option<Trouble>,
    pub(crate) messages: usize,
    pub(crate) ends: [Option<Fault>; 2],
    pub(crate) refused: usize,
    pub(crate) cancelled: usize,
    pub(crate) kept: usize,
}

/// Runs a seed. The side that makes trouble is 0; side 1 has the planted fault, if there is one.
pub(crate) fn run(seed: u64, plant: Option<Plant>) -> Check<Outcome> {
    let mut random = Random::new(seed);
    // Planted faults are to be found without trouble from outside, which excuses much.
    let trouble = match plant {
        None => Trouble::new(&mut random),
        Some(Plant::HidesEnd) => Trouble::Cut(random.of(0..=2_000) as u64),
        Some(_) => Trouble::Nothing,
    };
    let mut world = World::new(random, trouble, plant);
    let steps = world.random.pick(&[20, 100, 400]);
    for step in 0..steps {
        world
            .step(step)
            .map_err(|why| format!("{trouble:?}: {why}"))?;
    }
    world
        .settle()
        .map_err(|why| format!("{trouble:?}: {why}"))?;
    world.verdict()
}

struct World {
    random: Random,
    trouble: Trouble,
    /// The trouble has come to pass.
    happened: bool,
    sides: [Side; 2],
    /// From side 0, and from side 1.
    pipes: [Pipe; 2],
    ledgers: [Ledger; 2],
    start: Instant,
    now: Instant,
    outcome: Outcome,
}

impl World {
    fn new(mut random: Random, trouble: Trouble, plant: Option<Plant>) -> Self {
        let mut sides = [None, plant].map(|plant| Side::new(random.split(), plant));
        let mut pipes = [(); 2].map(|()| Pipe::new(random.split()));
        match trouble {
            Trouble::Flip(at, bits) => pipes[0].flip = Some((at, bits)),
            Trouble::Slow(at, rate) => pipes[0].slow = Some((at, rate)),
            Trouble::Narrow(max) => sides[1].allocator.max = max,
            _ => {}
        }
        let mut ledgers = [Ledger::default(), Ledger::default()];
        ledgers[0].is_changed = matches!(trouble, Trouble::Flip(..));
        let start = Instant::now();
        Self {
            random,
            trouble,
            happened: false,
            sides,
            pipes,
            ledgers,
            start,
            now: start,
            outcome: Outcome::default(),
        }
    }

    /// A side, its peer, and what they work on.
    fn parts(&mut self, index: usize) -> (&mut Side, &mut Side, Wires<'_>) {
        let [zero, one] = &mut self.sides;
        let [from_zero, from_one] = &mut self.pipes;
        let [of_zero, of_one] = &mut self.ledgers;
        let now = self.now;
        if index == 0 {
            let (out, coming, ours, theirs) = (from_zero, from_one, of_zero, of_one);
            let wires = Wires {
                out,
                coming,
                ours,
                theirs,
                now,
            };
            (zero, one, wires)
        } else {
            let (out, coming, ours, theirs) = (from_one, from_zero, of_one, of_zero);
            let wires = Wires {
                out,
                coming,
                ours,
                theirs,
                now,
            };
            (one, zero, wires)
        }
    }

    /// Something happens.
    fn step(&mut self, step: usize) -> Check {
        self.make_trouble(step)?;
        let index = self.random.of(0..=1);
        let action = self.random.of(0..=15);
        let begins = self.random.once_in(2);
        let refuses = self.random.once_in(2);
        let count = self.random.pick(&[1, 10, 64, 1_000, 1 << 20]);
        if self.sides[index].has_left {
            return Ok(());
        }
        let (side, _, mut wires) = self.parts(index);
        side.refuse_room(refuses);
        match action {
            0 | 1 if !side.is_failed() => {
                for _ in 0..if begins { 1 } else { 4 } {
                    side.begin(&mut wires)?;
                }
            }
            2..=4 => side.write(&mut wires),
            5 => {
                side.give_up(begins, &mut wires);
                self.outcome.kept += usize::from(begins);
                self.outcome.cancelled += usize::from(!begins);
            }
            6 | 7 => drop(side.receive(&mut wires, begins)?),
            8 => drop(side.take_in(&mut wires)?),
            9 => side.pay(&mut wires),
            10 => drop(side.drain(&mut wires)),
            11 => side.confirm_one(&mut wires),
            12 => side.release_one(),
            13 if begins && refuses => side.ping(&mut wires),
            13 if refuses => side.close(&mut wires),
            13 if side.outbound.peer().is_some() && !side.outbound.is_busy() => {
                side.announce(9, &mut wires);
            }
            15 if begins => side.forget(9, &mut wires),
            14 => self.now += Duration::from_millis(10),
            _ => {}
        }
        self.pipes[1 - index].deliver(count);
        self.pipes[index].deliver(count / 2);
        self.check()
    }

    fn make_trouble(&mut self, step: usize) -> Check {
        match self.trouble {
            Trouble::Cut(at) if !self.happened && self.pipes[0].written >= at => {
                self.pipes.iter_mut().for_each(Pipe::cut);
                self.happened = true;
            }
            Trouble::Leave(when) if !self.happened && step >= when => {
                let (side, _, mut wires) = self.parts(0);
                side.outbound.owe(side.inbound.debt());
                side.pay(&mut wires);
                side.leave(&mut wires);
                self.happened = true;
            }
            Trouble::Lie(lie, when) if !self.happened && step >= when => {
                let (side, peer, mut wires) = self.parts(0);
                self.happened = lie.tell(side, peer, &mut wires)?;
            }
            Trouble::Flip(..) => self.happened = self.pipes[0].is_flipped,
            _ => {}
        }
        Ok(())
    }

    /// Both programs keep calling, until nothing is left to do.
    fn settle(&mut self) -> Check {
        let mut idle = 0;
        self.pipes.iter_mut().for_each(Pipe::widen);
        let is_slow = matches!(self.trouble, Trouble::Slow(..));
        for round in 0..if is_slow { 1_000 } else { 20_000 } {
            let before = self.position();
            for index in 0..2 {
                if !self.sides[index].has_left {
                    self.call(index)?;
                }
                self.make_trouble(1_000 + round)?;
                for pipe in &mut self.pipes {
                    pipe.deliver(1 << 30);
                }
                self.check()?;
            }
            self.hang_up(idle > 2);
            if self.sides.iter().all(|side| side.has_left) {
                return Ok(());
            }
            if self.position() != before {
                idle = 0;
                continue;
            }
            idle += 1;
            // Nothing moves: time passes, and slow bytes come.
            self.now += Duration::from_secs(1);
            for pipe in &mut self.pipes {
                pipe.trickle();
            }
            if idle > 3 * PATIENCE.as_secs() {
                return self.stuck();
            }
        }
        expect(is_slow, || {
            format!("the programs call for ever: {}", self.describe())
        })
    }

    /// What a program does that wants everything sent, received, acknowledged and closed.
    fn call(&mut self, index: usize) -> Check {
        let (side, _, mut wires) = self.parts(index);
        side.refuse_room(false);
        if !side.is_failed() {
            side.begin(&mut wires)?;
            side.begin(&mut wires)?;
        }
        side.write(&mut wires);
        for _ in 0..1_000 {
            let begins = !side.is_waiting;
            let found = side.receive(&mut wires, begins)?;
            side.is_waiting = found == Found::Nothing;
            if found != Found::Something {
                break;
            }
        }
        side.confirm_one(&mut wires);
        side.release_one();
        side.pay(&mut wires);
        if side.outbound.status().in_flight == 0 {
            side.close(&mut wires);
        }
        Ok(())
    }

    /// Sides hang up that are done, or can do no more. With `lingered`, they have waited long enough for the peer to read.
    fn hang_up(&mut self, lingered: bool) {
        for index in 0..2 {
            let (side, peer, mut wires) = self.parts(index);
            if side.has_left {
                continue;
            }
            let is_drained = side.outbound.is_drained() && !side.outbound.is_busy();
            let is_failed = side.is_failed() || side.is_over;
            let is_idle = side.inbox.is_empty() && side.receipts.is_empty();
            let is_told = !side.outbound.owes_ack() && side.outbound.status().in_flight == 0;
            let is_done =
                is_idle && is_told && side.outbound.is_closed() && side.inbound.is_closed();
            if is_failed && !is_drained && !side.outbound.is_broken() && !lingered {
                side.give_up(false, &mut wires);
            } else if is_failed || is_done && is_drained && peer.inbound.is_closed() {
                side.leave(&mut wires);
            } else if side.outbound.is_broken() && wires.coming.is_empty() {
                side.plan.clear();
            }
        }
    }

    /// Nobody can go on. That is in order only if the network stands still.
    fn stuck(&self) -> Check {
        let excused = match self.trouble {
            Trouble::Slow(..) => true,
            // A changed length, or half a message of a liar: the rest of it never comes, and time would tell.
            _ => self.ledgers[0].is_changed && self.happened,
        };
        expect(excused, || format!("nobody can go on: {}", self.describe()))
    }

    /// What changes when anything happens.
    fn position(&self) -> impl PartialEq + use<> {
        let of_side = |side: &Side| {
            let ended = (side.is_failed(), side.is_over, side.has_left);
            let status = side.outbound.status();
            (side.acknowledged(), side.plan.len(), status.credit, ended)
        };
        let of_pipe = |pipe: &Pipe| (pipe.written, pipe.is_empty());
        (
            self.sides.each_ref().map(of_side),
            self.pipes.each_ref().map(of_pipe),
            self.ledgers.each_ref().map(Ledger::is_settled),
        )
    }

    fn check(&self) -> Check {
        let [zero, one] = &self.sides;
        let [of_zero, of_one] = &self.ledgers;
        let is_lying = matches!(self.trouble, Trouble::Lie(..));
        // What the liar says by hand, and what it sends in a flood, its own session does not know.
        if !is_lying {
            zero.check(one, of_one)?;
        }
        if is_lying && self.happened {
            return one.check_memory();
        }
        one.check(zero, of_zero)
    }

    fn verdict(mut self) -> Check<Outcome> {
        let [zero, one] = self.sides.each_ref().map(|side| side.end.clone());
        self.trouble.check(one.as_ref(), self.happened)?;
        let heard = match (self.trouble, &zero) {
            (_, None) => true,
            (Trouble::Lie(lie, _), Some(fault)) if self.happened => {
                lie.comes_back_as(fault) || matches!(fault, Fault::Ended { .. })
            }
            (Trouble::Cut(_), Some(fault)) => matches!(fault, Fault::Ended { .. }),
            (Trouble::Nothing | Trouble::Leave(_) | Trouble::Lie(..), Some(_)) => false,
            (_, Some(fault)) => match one.as_ref().and_then(Fault::refusal) {
                Some(reason) => matches!(fault, Fault::Refused(told) if *told == reason),
                None => matches!(fault, Fault::Ended { .. }),
            },
        };
        expect(heard, || {
            format!("{:?}: side 0 hears {zero:?} of {one:?}", self.trouble)
        })?;
        if matches!(self.trouble, Trouble::Flip(..)) && self.happened {
            let is_seen = one.is_some() || self.ledgers[0].mismatches > 0;
            expect(is_seen || self.is_excused(), || {
                format!("a changed byte was not seen: {}", self.describe())
            })?;
        }
        if self.is_whole() {
            for (ledger, side) in self.ledgers.iter().zip(&self.sides) {
                expect(ledger.is_settled(), || {
                    format!("not all arrived: {}", self.describe())
                })?;
                let last = ledger.last() as u64;
                expect(side.acknowledged() == last, || {
                    "not all acknowledged".into()
                })?;
            }
        }
        self.outcome.trouble = Some(self.trouble);
        self.outcome.messages = self.ledgers.iter().map(Ledger::last).sum();
        self.outcome.refused = self.sides.iter().map(|side| side.refused).sum();
        self.outcome.ends = [zero, one];
        Ok(self.outcome)
    }

    /// A changed byte that nobody has read, or that makes its reader wait for more than comes.
    fn is_excused(&self) -> bool {
        self.sides.iter().any(|side| !side.has_left) || !self.sides[1].is_over
    }

    /// Nothing went wrong that could keep a message from its receiver.
    fn is_whole(&self) -> bool {
        match self.trouble {
            Trouble::Nothing => true,
            Trouble::Narrow(_) | Trouble::Flip(..) | Trouble::Slow(..) => {
                self.sides.iter().all(|side| side.is_over)
            }
            Trouble::Lie(..) => !self.happened,
            _ => false,
        }
    }

    fn describe(&self) -> String {
        let of = |index: usize| {
            let (side, pipe) = (&self.sides[index], &self.pipes[index]);
            let ledger = &self.ledgers[index];
            format!(
                "side {index}: {:?}, {:?}, credit {}, window {}, {} of {} acknowledged, all arrived {}, {} to send, midway {}, \
                 in pipe {}, end {:?}, left {}",
                side.outbound.status(),
                side.config.acknowledge,
                side.config.hello.credit,
                side.config.window,
                side.acknowledged(),
                ledger.last(),
                ledger.is_settled(),
                side.plan.len(),
                side.outbound.is_midway(),
                !pipe.is_empty(),
                side.end,
                side.has_left,
            )
        };
        let on_confirm = self.sides[0].config.acknowledge == Acknowledge::OnConfirm;
        format!(
            "{}; {}; {on_confirm}; after {:?}",
            of(0),
            of(1),
            self.now - self.start
        )
    }
}
