//! What we owe the peer, and what it has been told.

use crate::inbound::Debt;

/// So many small messages, or so many bytes, share one acknowledgement.
const DUE_MESSAGES: u64 = 64;
const DUE_BYTES: u64 = 128 << 10;

#[derive(Debug)]
pub(super) struct Account {
    owed: Debt,
    told: Debt,
    /// The acknowledgement that had been told when a message was kept of which no byte was written.
    told_before_kept: u64,
    /// The credit when the peer was last told of an acknowledgement: what was taken since is what it may wait to hear of.
    credit_at_ack: u64,
    /// What we make the peer's credit up to.
    promise: u64,
}

impl Account {
    /// The peer is told of `credit` by our hello.
    pub(super) fn new(credit: u64) -> Self {
        let told = Debt {
            credit,
            ..Debt::default()
        };
        Self {
            owed: told,
            told,
            told_before_kept: 0,
            credit_at_ack: credit,
            promise: credit,
        }
    }

    /// Notes what is owed now. It never falls.
    pub(super) fn owe(&mut self, debt: Debt) {
        self.owed.ack = self.owed.ack.max(debt.ack);
        self.owed.credit = self.owed.credit.max(debt.credit);
        self.owed.taken = self.owed.taken.max(debt.taken);
        self.promise = debt.promise.unwrap_or(self.promise);
    }

    /// What is owed.
    pub(super) fn owed(&self) -> Debt {
        self.owed
    }

    /// The acknowledgement that the peer has been told.
    pub(super) fn told_ack(&self) -> u64 {
        self.told.ack
    }

    /// True if the peer does not know of messages that are acknowledged.
    pub(super) fn owes_ack(&self) -> bool {
        self.owed.ack > self.told.ack
    }

    /// True if the peer does not know of credit that it has, or of messages that are taken.
    pub(super) fn owes_credit(&self) -> bool {
        self.owed.credit > self.told.credit || self.owed.taken > self.told.taken
    }

    /// True if so much is owed that the peer should hear of it now.
    pub(super) fn is_due(&self) -> bool {
        let messages = self.owed.ack - self.told.ack;
        let taken = self.owed.credit - self.credit_at_ack;
        messages >= DUE_MESSAGES
            || messages > 0 && taken >= DUE_BYTES
            || (self.owed.credit - self.told.credit) >= self.promise / 2
    }

    /// The peer is told of this acknowledgement.
    pub(super) fn tell_ack(&mut self, ack: u64) {
        if ack > self.told.ack {
            self.told.ack = ack;
            self.credit_at_ack = self.owed.credit;
        }
    }

    /// The peer is told of all credit, and of all messages that are taken.
    pub(super) fn tell_credit(&mut self) {
        (self.told.credit, self.told.taken) = (self.owed.credit, self.owed.taken);
    }

    /// The peer is told of this acknowledgement by a message that waits.
    pub(super) fn tell_with_kept(&mut self, ack: u64) {
        self.told_before_kept = self.told.ack;
        self.tell_ack(ack);
    }

    /// That message is taken back, and nothing was queued behind it: the peer is not told.
    pub(super) fn take_back(&mut self) {
        self.told.ack = self.told_before_kept;
    }
}
