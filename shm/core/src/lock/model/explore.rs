//! The search: every state that can be reached, and whether everybody can come to an end from it.

use std::collections::HashMap;

use super::state::{FREE, Hold, MOST, Process, Role, State, Step};
use super::steps::{Fault, Move, Moves};

/// Who meets whom, and how often each does what its role says.
pub(super) struct Case {
    processes: Vec<Process>,
    pub(super) records: usize,
    pub(super) fault: Option<Fault>,
}

impl Case {
    pub(super) fn new(roles: &[(Role, u8)]) -> Self {
        let process = |&(role, rounds): &(Role, u8)| Process::new(role, rounds, Step::Register(0));
        Self {
            processes: roles.iter().map(process).collect(),
            records: roles.len(),
            fault: None,
        }
    }

    /// Adds those who come in the lock's next life.
    pub(super) fn next_life(mut self, roles: &[(Role, u8)]) -> Self {
        let process = |&(role, rounds): &(Role, u8)| Process::new(role, rounds, Step::Unborn);
        self.processes.extend(roles.iter().map(process));
        self.records = self.processes.len();
        self
    }

    /// Has fewer records than processes: one comes by the record of another that is gone.
    pub(super) fn with_records(self, records: usize) -> Self {
        Self { records, ..self }
    }

    pub(super) fn with(self, fault: Fault) -> Self {
        let fault = Some(fault);
        Self { fault, ..self }
    }

    fn first(&self) -> State {
        let nobody = Process::new(Role::Reader, 0, Step::Done);
        State {
            writer: FREE,
            life: [FREE; MOST],
            hold: [Hold::Nothing; MOST],
            waited: 0,
            watched: 0,
            seen: 0,
            gate: false,
            epoch: 0,
            generation: 1,
            parts: 0,
            commits: 0,
            dirty: 0,
            torn: 0,
            began: 1,
            processes: std::array::from_fn(|at| *self.processes.get(at).unwrap_or(&nobody)),
        }
    }

    /// Visits every state, and returns their number.
    pub(super) fn explore(&self) -> usize {
        let mut found = Found::default();
        found.number(self.first());
        let mut moves = Vec::new();
        while let Some((at, state)) = found.open.pop() {
            state.check();
            for me in 0..self.processes.len() {
                let out = &mut moves;
                Moves {
                    case: self,
                    state: &state,
                    me,
                    out,
                }
                .add_all();
            }
            for Move { state, is_step } in moves.drain(..) {
                let to = found.number(state);
                if is_step {
                    found.steps.push((to, at));
                }
            }
            for killed in (0..self.processes.len()).filter_map(|me| state.killed(me)) {
                found.number(killed);
            }
        }
        found.check_ends()
    }
}

/// The states found so far.
#[derive(Default)]
struct Found {
    numbers: HashMap<State, u32>,
    /// Not yet visited.
    open: Vec<(u32, State)>,
    /// Steps that are no deaths and no timeouts, each from the second to the first.
    steps: Vec<(u32, u32)>,
}

impl Found {
    fn number(&mut self, state: State) -> u32 {
        let next = u32::try_from(self.numbers.len()).unwrap();
        *self.numbers.entry(state).or_insert_with(|| {
            self.open.push((next, state));
            next
        })
    }

    /// Checks that from every state everybody who lives can come to an end, without a death and without a timeout.
    /// Returns the number of states.
    fn check_ends(mut self) -> usize {
        self.steps.sort_unstable();
        let mut ends = vec![false; self.numbers.len()];
        let mut open = Vec::new();
        for (state, number) in &self.numbers {
            let born = |process: &Process| process.step != Step::Unborn || state.began == 1;
            let over = |process: &Process| process.is_over() && born(process);
            if state.processes.iter().all(over) {
                ends[*number as usize] = true;
                open.push(*number);
            }
        }
        while let Some(to) = open.pop() {
            let first = self.steps.partition_point(|step| step.0 < to);
            let before = self.steps[first..].iter().take_while(|step| step.0 == to);
            for (_, from) in before {
                if !std::mem::replace(&mut ends[*from as usize], true) {
                    open.push(*from);
                }
            }
        }
        let stuck = self
            .numbers
            .iter()
            .find(|(_, number)| !ends[**number as usize]);
        assert!(stuck.is_none(), "somebody waits forever: {stuck:?}");
        ends.len()
    }
}
