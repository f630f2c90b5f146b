//! How much the peer may send, as the driver asks and tells.

use numpush_message::{AllocError, Decoder, Limits, Preamble};

use crate::fault::Fault;
use crate::inbound::ahead::Ahead;
use crate::inbound::{Inbound, State};

impl<D> Inbound<D> {
    /// From now on the peer's credit is made up to `bytes` each time the program takes a message. What was granted stays
    /// granted.
    pub fn promise(&mut self, bytes: u64) {
        self.credit.promise(bytes);
    }

    /// Bytes that the peer may still send, and of records that it has sent and the program has not taken.
    pub fn promised(&self) -> u64 {
        self.credit.promised()
    }

    /// Bytes of records that the program has taken since the session began.
    pub fn taken_bytes(&self) -> u64 {
        self.credit.taken()
    }

    /// The bytes of a record that has begun to come and is larger than the credit was, if there is one that the program has
    /// not taken; there is never a second. It is within no promise, so the driver may let it wait.
    pub fn beyond_credit(&self) -> Option<u64> {
        self.credit.is_exceeded().then(|| self.credit.held())
    }

    /// Number of the last message that has begun to come.
    pub fn last_begun(&self) -> u64 {
        let is_begun = self.charged
            && self
                .decoder
                .preamble()
                .is_some_and(|one| one.kind.is_message());
        self.next_id - u64::from(!is_begun)
    }

    /// The preamble of the record at hand, once it has come.
    pub fn at_hand(&self) -> Option<&Preamble> {
        self.decoder.preamble().filter(|_| self.charged)
    }

    /// Bytes that have come of the record at hand.
    pub fn come(&self) -> u64 {
        self.position - self.record
    }

    /// The driver has no room for more of the record at hand. Nothing more is read, and the time until there is some is not the
    /// peer's. Returns how that is reported.
    pub fn no_room(&mut self, error: AllocError) -> Fault {
        let fault = Fault::NoRoom(error);
        let _ = self.note::<()>(Err(fault.clone()));
        fault
    }

    /// True if the record at hand does not become whole with the `unread` bytes that are still to be read.
    pub fn is_cut(&self, unread: u64) -> bool {
        let waiting = self.ahead.bytes().len() as u64;
        // Before its header has come, the decoder asks for no more than that.
        let missing = match self.at_hand() {
            Some(preamble) => preamble.record_len().saturating_sub(self.come()),
            None => self.missing(),
        };
        self.ready.is_none() && missing > unread.saturating_add(waiting)
    }

    /// Nothing more is read: lets go of what has come of the record at hand. What was taken is owed as before.
    pub fn give_up(&mut self) {
        self.state = State::Failed;
        self.decoder = Decoder::new(Limits::default());
        (self.ahead, self.ready) = (Ahead::default(), None);
        self.descriptors.clear();
    }
}
