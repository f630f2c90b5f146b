//! Messages that the program confirms by hand, in any order and on any thread.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::numbers::Numbers;

/// Which messages are confirmed. Its clones are one and the same.
#[derive(Clone, Debug, Default)]
pub struct Confirmations(Arc<Mutex<Numbers>>);

impl Confirmations {
    /// The number up to which every message is confirmed.
    pub fn up_to(&self) -> u64 {
        self.lock().up_to()
    }

    /// A receipt for message `id`.
    pub fn receipt(&self, id: u64) -> Receipt {
        Receipt {
            id,
            confirmations: self.clone(),
        }
    }

    /// Confirms message `id`. Returns the number up to which all are confirmed now.
    pub(crate) fn confirm(&self, id: u64) -> u64 {
        let mut numbers = self.lock();
        numbers.insert(id);
        numbers.up_to()
    }

    fn lock(&self) -> MutexGuard<'_, Numbers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to confirm one message. Dropped without [`Self::confirm`], it leaves the message unacknowledged forever, and
/// those after it too.
#[derive(Debug)]
#[must_use = "a message that is not confirmed is never acknowledged"]
pub struct Receipt {
    id: u64,
    confirmations: Confirmations,
}

impl Receipt {
    /// Number of the message in its session.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Records that the program is done with the message. Returns the number up to which all messages are confirmed now,
    /// and may be acknowledged.
    pub fn confirm(self) -> u64 {
        self.confirmations.confirm(self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_holds_back_what_follows() {
        let confirmations = Confirmations::default();
        let [one, two, three] = [1, 2, 3].map(|id| confirmations.receipt(id));
        three.confirm();
        assert_eq!(confirmations.up_to(), 0);
        one.confirm();
        assert_eq!(confirmations.up_to(), 1);
        two.confirm();
        assert_eq!(confirmations.up_to(), 3);
    }

    #[test]
    fn a_dropped_receipt_confirms_nothing() {
        let confirmations = Confirmations::default();
        drop(confirmations.receipt(1));
        confirmations.receipt(2).confirm();
        assert_eq!(confirmations.up_to(), 0);
    }
}
