//! Messages that were begun and are with the driver, in order.

/// How many there are. Only the first of them can be half written.
#[derive(Debug, Default)]
pub(super) struct Run {
    len: u64,
    /// The first byte of the first message is written: nothing else may be until its last one is.
    is_departed: bool,
}

impl Run {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn is_departed(&self) -> bool {
        self.is_departed
    }

    /// A message begins behind the others.
    pub(super) fn push(&mut self) {
        self.len += 1;
    }

    /// The first byte of the first message is written.
    pub(super) fn depart(&mut self) {
        self.is_departed = true;
    }

    /// The first message is written whole, or the session takes it over.
    pub(super) fn pop_first(&mut self) {
        self.len = self.len.saturating_sub(1);
        self.is_departed = false;
    }

    /// The last message is not sent after all.
    pub(super) fn pop_last(&mut self) {
        self.len = self.len.saturating_sub(1);
        self.is_departed &= self.len > 0;
    }
}
