//! Memory of the program that the session has let go of.

use numpush_message::{Buffer, Encoder};

use crate::outbound::Outbound;

/// Memory of the program that nothing needs any more. To drop it may run code of the program, which may make calls on the
/// connection: a driver does it while it holds no lock.
#[derive(Debug, Default)]
#[must_use]
#[expect(
    clippy::vec_box,
    reason = "they come in boxes and are moved twice: an encoder is large"
)]
pub struct Spent {
    records: Vec<Box<Encoder<'static>>>,
    buffers: Vec<Buffer<'static>>,
}

impl<D> Outbound<D> {
    /// True if [`Self::take_spent`] has something to move.
    pub fn has_spent(&self) -> bool {
        !self.queue.spent.is_empty() || !self.in_flight.spent.is_empty()
    }

    /// Moves what was let go of into `spent`.
    pub fn take_spent(&mut self, spent: &mut Spent) {
        spent.records.append(&mut self.queue.spent);
        spent.buffers.append(&mut self.in_flight.spent);
    }
}
