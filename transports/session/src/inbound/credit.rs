//! The credit that we grant: bytes of records that the peer may send before the program takes them.

use crate::fault::Fault;

#[derive(Debug)]
pub(super) struct Credit {
    /// What the peer's credit is made up to when the program takes a message.
    promise: u64,
    /// Granted in all. It never falls, so that a smaller promise counts from the next messages on.
    granted: u64,
    /// Sum of the charges of all messages that have begun.
    charged: u64,
    /// Sum of the charges of those that the program has taken.
    taken: u64,
}

impl Credit {
    pub(super) fn new(initial: u64) -> Self {
        Self {
            promise: initial,
            granted: initial,
            charged: 0,
            taken: 0,
        }
    }

    /// Charges a message that begins. One message may always come, whatever its size, if nothing waits.
    pub(super) fn charge(&mut self, charge: u64) -> Result<(), Fault> {
        let charged = self.charged.saturating_add(charge);
        if charged > self.granted && self.charged != self.taken {
            let left = self.granted.saturating_sub(self.charged);
            return Err(Fault::OverCredit { charge, left });
        }
        self.charged = charged;
        Ok(())
    }

    /// The program has taken a message.
    pub(super) fn take(&mut self, charge: u64) {
        self.taken = self.taken.saturating_add(charge).min(self.charged);
        self.promise(self.promise);
    }

    /// Makes up the credit to `bytes`, now and when the program takes messages.
    pub(super) fn promise(&mut self, bytes: u64) {
        self.promise = bytes;
        self.granted = self.granted.max(self.taken.saturating_add(bytes));
    }

    /// What the peer's credit is made up to.
    pub(super) fn promise_now(&self) -> u64 {
        self.promise
    }

    /// The credit granted in all.
    pub(super) fn granted(&self) -> u64 {
        self.granted
    }

    /// Bytes that the program has taken.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// Bytes that the program has not taken.
    pub(super) fn held(&self) -> u64 {
        self.charged - self.taken
    }

    /// Bytes that were granted, and that the program has not taken.
    pub(super) fn promised(&self) -> u64 {
        self.granted.saturating_sub(self.taken)
    }

    /// True if a message that the program has not taken is larger than the credit was.
    pub(super) fn is_exceeded(&self) -> bool {
        self.charged > self.granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credit_comes_back_when_the_program_takes() {
        let mut credit = Credit::new(1000);
        credit.charge(600).unwrap();
        assert_eq!(
            credit.charge(600),
            Err(Fault::OverCredit {
                charge: 600,
                left: 400
            })
        );
        credit.charge(400).unwrap();
        credit.take(600);
        assert_eq!((credit.granted(), credit.held()), (1600, 400));
        credit.charge(601).unwrap_err();
        credit.charge(600).unwrap();
    }

    #[test]
    fn one_message_always_comes() {
        let mut credit = Credit::new(10);
        credit.charge(1 << 40).unwrap();
        assert!(credit.is_exceeded());
        credit.charge(1).unwrap_err();
        credit.take(1 << 40);
        assert!(!credit.is_exceeded());
        credit.charge(u64::MAX).unwrap();
        credit.charge(1).unwrap_err();
    }

    #[test]
    fn a_promise_grows_at_once_and_shrinks_as_messages_are_taken() {
        let mut credit = Credit::new(100);
        credit.promise(300);
        assert_eq!((credit.granted(), credit.promised()), (300, 300));
        credit.charge(300).unwrap();
        credit.promise(50);
        assert_eq!(credit.granted(), 300, "what was granted stays granted");
        credit.take(200);
        assert_eq!((credit.granted(), credit.promised()), (300, 100));
        credit.take(100);
        assert_eq!((credit.granted(), credit.promised()), (350, 50));
    }
}
