//! The lock's algorithm as a model: every interleaving of a few processes, each of which may die at every step.
//!
//! A step is one access to a shared word or one operation on a mutex, in the order of `rw.rs` and `guards.rs`; where those
//! change, this changes. A mutex whose holder died can be taken, as a robust one can. What is looked for in every state: a
//! reader inside while a write is unfinished, a writer beside anybody, a worker beside a reader, and a state in which
//! somebody lives and nobody can move.

use std::collections::HashSet;

const FREE: u8 = 255;
const DEAD: u8 = 254;
const OPEN: u8 = 1;
const CLOSING: u8 = 2;
const DONE: u8 = 99;
const KILLED: u8 = 100;
const SLOTS: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Role {
    /// Refuses poison.
    Reader,
    /// Accepts it, and then may see an unfinished write, but nobody who goes on with it.
    Accepting,
    /// Refuses poison.
    Writer,
    /// Accepts it and writes everything.
    Repairer,
    /// Hands out parts and takes them back.
    Coordinator,
    /// Works on a part.
    Worker,
    /// Commits three times.
    Committer,
    CommitReader,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Process {
    role: Role,
    step: u8,
    slot: u8,
    word: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    writer: u8,
    slots: [u8; SLOTS],
    gate: bool,
    odd: bool,
    parts: u8,
    /// Writes begun and not finished.
    unfinished: u8,
    commits: u8,
    reads: [u8; SLOTS],
    processes: Vec<Process>,
}

impl State {
    fn new(roles: &[Role]) -> Self {
        let process = |&role| Process {
            role,
            step: 0,
            slot: 0,
            word: 0,
        };
        let (writer, slots, reads) = (FREE, [FREE; SLOTS], [0; SLOTS]);
        let processes = roles.iter().map(process).collect();
        Self {
            writer,
            slots,
            gate: false,
            odd: false,
            parts: 0,
            unfinished: 0,
            commits: 0,
            reads,
            processes,
        }
    }

    /// The states after the next step of process `me`; none if it waits or has ended.
    fn steps(&self, me: usize) -> Vec<Self> {
        let Process {
            role,
            step,
            slot,
            word,
        } = self.processes[me];
        let id = u8::try_from(me).unwrap();
        let mut next = self.clone();
        let mut out = Vec::new();
        macro_rules! go {
            ($to:expr $(, $change:expr)*) => {{
                $($change;)*
                next.processes[me].step = $to;
                out.push(next);
            }};
        }
        let can_take = |mutex: u8| mutex == FREE || mutex == DEAD;
        macro_rules! take {
            ($mutex:expr, $to:expr) => {
                if can_take($mutex) {
                    go!($to, $mutex = id)
                }
            };
        }
        match (role, step) {
            (_, DONE | KILLED) => {}
            // `pass_writer`, at steps from 50 on, and back to 1.
            (_, 50) => take!(next.writer, 51),
            (_, 51) => {
                let closing = self.parts != 0;
                go!(
                    if closing { 52 } else { 56 },
                    next.parts = if closing { CLOSING } else { 0 }
                )
            }
            (_, 52) => take!(next.slots[0], 53),
            (_, 53) => go!(54, next.slots[0] = FREE),
            (_, 54) => take!(next.slots[1], 55),
            (_, 55) => go!(56, next.slots[1] = FREE, next.parts = 0),
            (_, 56) => go!(57, next.gate = false),
            (_, 57) => go!(1, next.writer = FREE),
            (Role::Reader | Role::Accepting, 0) => go!(if self.gate { 50 } else { 1 }),
            (Role::Reader | Role::Accepting | Role::Worker | Role::CommitReader, 1) => {
                for at in 0..SLOTS {
                    if can_take(self.slots[at]) {
                        let mut taken = self.clone();
                        taken.slots[at] = id;
                        taken.processes[me].slot = u8::try_from(at).unwrap();
                        taken.processes[me].step = 2;
                        out.push(taken);
                    }
                }
            }
            (Role::Reader | Role::Accepting, 2) => go!(if self.odd { 3 } else { 4 }),
            (Role::Accepting, 3) if self.parts == 0 => go!(6),
            (Role::Accepting, 6) => go!(DONE, next.slots[usize::from(slot)] = FREE),
            // Odd: parts, or a writer that is dead, which is reported.
            (Role::Reader | Role::Accepting, 3) => {
                go!(
                    if self.parts == 0 { DONE } else { 50 },
                    next.slots[usize::from(slot)] = FREE
                )
            }
            (Role::Reader | Role::Accepting, 4) => go!(DONE, next.slots[usize::from(slot)] = FREE),
            (Role::Writer | Role::Repairer | Role::Coordinator, 0) => take!(next.writer, 1),
            (Role::Writer | Role::Repairer | Role::Coordinator, 1) => go!(2, next.gate = true),
            (Role::Writer | Role::Repairer | Role::Coordinator, 2) => take!(next.slots[0], 3),
            (Role::Writer | Role::Repairer | Role::Coordinator, 3) => take!(next.slots[1], 4),
            (Role::Writer | Role::Repairer | Role::Coordinator, 4) => go!(5, next.parts = 0),
            (Role::Repairer, 5) => go!(6, next.odd = true),
            // Poison is refused: out by the way of an ended write.
            (Role::Writer | Role::Coordinator, 5) if self.odd => go!(9),
            (Role::Writer, 5) => go!(6, next.odd = true),
            (Role::Writer | Role::Repairer, 6) => go!(7, next.unfinished += 1),
            (Role::Writer, 7) => go!(8, next.unfinished -= 1),
            (Role::Repairer, 7) => go!(8, next.unfinished = 0),
            (Role::Writer | Role::Repairer, 8) => go!(9, next.odd = false),
            (Role::Coordinator, 5) => go!(30, next.odd = true),
            (Role::Coordinator, 30) => go!(31, next.parts = OPEN),
            (Role::Coordinator, 31) => go!(32, next.slots[1] = FREE),
            (Role::Coordinator, 32) => go!(33, next.slots[0] = FREE),
            (Role::Coordinator, 33) => go!(34, next.parts = CLOSING),
            (Role::Coordinator, 34) => take!(next.slots[0], 35),
            (Role::Coordinator, 35) => take!(next.slots[1], 36),
            (Role::Coordinator, 36) => go!(37, next.parts = 0),
            // A part that was not finished leaves the whole poisoned.
            (Role::Coordinator, 37) => go!(9, next.odd = self.unfinished > 0),
            (_, 9) => go!(10, next.gate = false),
            (_, 10) => go!(11, next.slots[1] = FREE),
            (_, 11) => go!(12, next.slots[0] = FREE),
            (_, 12) => go!(DONE, next.writer = FREE),
            (Role::Worker, 0) => go!(1),
            (Role::Worker, 2) if self.parts == OPEN => go!(3),
            (Role::Worker, 2) => go!(DONE, next.slots[usize::from(slot)] = FREE),
            (Role::Worker, 3) => go!(4, next.unfinished += 1),
            (Role::Worker, 4) => go!(5, next.unfinished -= 1),
            (Role::Worker, 5) => go!(DONE, next.slots[usize::from(slot)] = FREE),
            (Role::CommitReader, 0) => go!(1),
            (Role::CommitReader, 2) => go!(3, next.processes[me].word = self.commits),
            (Role::CommitReader, 3) => go!(4, next.reads[usize::from(slot)] = word),
            // Inside: the buffer it reads is that of the last commit when it looks.
            (Role::CommitReader, 4) => go!(5, next.processes[me].word = self.commits),
            (Role::CommitReader, 5) => go!(DONE, next.slots[usize::from(slot)] = FREE),
            (Role::Committer, 0) => take!(next.writer, 1),
            (Role::Committer, 1) => go!(2, next.processes[me].word = self.commits),
            (Role::Committer, 2 | 3) => {
                let at = usize::from(step - 2);
                // `drain_slot`: a slot that can be had was let go since; one that reads the last commit is left alone.
                if can_take(self.slots[at]) {
                    go!(step + 1, next.slots[at] = FREE)
                } else if self.reads[at] == word {
                    go!(step + 1)
                }
            }
            // Inside: writes the other buffer.
            (Role::Committer, 4) => go!(5),
            (Role::Committer, 5) => go!(6, next.commits = word + 1),
            (Role::Committer, 6) => go!(if word < 2 { 0 } else { DONE }, next.writer = FREE),
            (role, step) => panic!("{role:?} has no step {step}"),
        }
        out
    }

    fn killed(&self, me: usize) -> Option<Self> {
        let id = u8::try_from(me).unwrap();
        let alive = !matches!(self.processes[me].step, DONE | KILLED);
        alive.then(|| {
            let mut next = self.clone();
            let held = std::iter::once(&mut next.writer).chain(&mut next.slots);
            held.filter(|mutex| **mutex == id)
                .for_each(|mutex| *mutex = DEAD);
            next.processes[me].step = KILLED;
            next
        })
    }

    fn check(&self) {
        let inside = |roles: &[Role], steps: std::ops::RangeInclusive<u8>| {
            let is_in =
                |process: &&Process| roles.contains(&process.role) && steps.contains(&process.step);
            self.processes.iter().filter(is_in).count()
        };
        let readers = inside(&[Role::Reader, Role::Accepting], 4..=4);
        let accepting = inside(&[Role::Accepting], 6..=6);
        let writers = inside(&[Role::Writer, Role::Repairer], 6..=8);
        let workers = inside(&[Role::Worker], 3..=5);
        assert!(
            readers == 0 || self.unfinished == 0,
            "a reader sees an unfinished write: {self:?}"
        );
        assert!(
            writers <= 1 && (writers == 0 || readers + accepting + workers == 0),
            "a writer is not alone: {self:?}"
        );
        assert!(
            workers == 0 || readers + accepting == 0,
            "a reader beside workers: {self:?}"
        );
        let writing = self
            .processes
            .iter()
            .find(|p| p.role == Role::Committer && p.step == 4);
        let reads_it = |p: &&Process| {
            let written = writing.is_some_and(|committer| (committer.word + 1) & 1 == p.word & 1);
            p.role == Role::CommitReader && p.step == 5 && written
        };
        assert!(
            !self.processes.iter().any(|p| reads_it(&p)),
            "a commit is written while it is read: {self:?}"
        );
    }
}

/// Visits every state that can be reached, and returns their number.
fn explore(roles: &[Role]) -> usize {
    let first = State::new(roles);
    let mut seen = HashSet::from([first.clone()]);
    let mut open = vec![first];
    while let Some(state) = open.pop() {
        state.check();
        let mut moves = Vec::new();
        for me in 0..roles.len() {
            moves.extend(state.steps(me));
        }
        let lives = state
            .processes
            .iter()
            .any(|process| !matches!(process.step, DONE | KILLED));
        assert!(
            !lives || !moves.is_empty(),
            "somebody lives and nobody can move: {state:?}"
        );
        moves.extend((0..roles.len()).filter_map(|me| state.killed(me)));
        for next in moves {
            if seen.insert(next.clone()) {
                open.push(next);
            }
        }
    }
    seen.len()
}

#[test]
fn readers_and_writers_survive_every_death() {
    for roles in [
        &[Role::Reader, Role::Reader, Role::Writer][..],
        &[Role::Reader, Role::Writer, Role::Writer],
        &[Role::Reader, Role::Reader, Role::Writer, Role::Repairer],
        &[Role::Accepting, Role::Reader, Role::Writer, Role::Repairer],
    ] {
        println!("{roles:?}: {} states", explore(roles));
    }
}

#[test]
fn parts_survive_every_death() {
    for roles in [
        &[Role::Coordinator, Role::Worker, Role::Worker, Role::Reader][..],
        &[
            Role::Coordinator,
            Role::Worker,
            Role::Reader,
            Role::Repairer,
        ],
        &[Role::Coordinator, Role::Worker, Role::Writer, Role::Reader],
        &[
            Role::Coordinator,
            Role::Worker,
            Role::Accepting,
            Role::Accepting,
        ],
        &[
            Role::Coordinator,
            Role::Worker,
            Role::Accepting,
            Role::Reader,
        ],
    ] {
        println!("{roles:?}: {} states", explore(roles));
    }
}

#[test]
fn commits_survive_every_death() {
    for roles in [
        &[Role::Committer, Role::CommitReader, Role::CommitReader][..],
        &[Role::Committer, Role::Committer, Role::CommitReader],
    ] {
        println!("{roles:?}: {} states", explore(roles));
    }
}

/// A model that finds nothing wrong with a wrong lock is worth nothing.
#[test]
#[should_panic = "a reader sees an unfinished write"]
fn a_reader_that_ignores_the_epoch_is_caught() {
    let mut state = State::new(&[Role::Reader, Role::Writer]);
    (state.odd, state.unfinished) = (true, 1);
    state.processes[0].step = 4;
    state.check();
}
