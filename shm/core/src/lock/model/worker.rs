//! Work on a part, after `join_parts`.

use super::state::{Hold, Step};
use super::steps::Moves;

impl Moves<'_> {
    pub(super) fn work(&mut self, step: Step) {
        let (byte, record) = (self.byte(), usize::from(self.process().record));
        match step {
            Step::BeginPart => self.go(Step::EndPart, |state| state.torn |= byte),
            Step::EndPart => self.go(Step::LeavePart, |state| state.torn &= !byte),
            Step::LeavePart => self.then(|state, process| {
                state.set_hold(record, Hold::Nothing);
                process.end_round()
            }),
            step => unreachable!("{step:?}"),
        }
    }
}
