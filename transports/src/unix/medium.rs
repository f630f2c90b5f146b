//! Segments on both sides of a unix connection: which the peer knows, which are lent, and when they come back.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use numpush_message::{Buffer, BufferAllocator, DecodeError, Message, Reference};
use numpush_os::SameUser;

use crate::budget::{Budget, Share};
use crate::socket::{Borrow, Lend, Medium, Plan, Terms};
use crate::transfer::Transfer;
use crate::unix::borrower::Borrower;
use crate::unix::lender::Lender;

/// The medium of a unix connection.
pub(crate) struct Segments {
    lender: Lender,
    borrower: Borrower,
    limit: u32,
}

impl Segments {
    /// Segments of up to `bytes` on our side, and what `budget` has left of the peer's.
    pub(super) fn new(trusted: Option<SameUser>, bytes: u64, budget: &Budget) -> Self {
        let share = Share::take(budget);
        Self {
            lender: Lender::new(bytes, trusted.is_some()),
            limit: share.count(),
            borrower: Borrower::new(trusted, share),
        }
    }

    /// How many segments of the peer's this side keeps.
    pub(super) fn limit(&self) -> u32 {
        self.limit
    }
}

impl Medium for Segments {
    const DESCRIPTORS: bool = true;
    const NETWORK: bool = false;
    const KEEPS_SENT: bool = true;

    type Lender = Lender;
    type Borrower = Borrower;

    fn split(self) -> (Lender, Borrower) {
        (self.lender, self.borrower)
    }
}

impl Lend for Lender {
    fn plan(&mut self, message: &Message<'_>, terms: Terms) -> Plan {
        Self::plan(self, message, terms)
    }

    fn commit(&mut self, plan: Plan, id: u64) {
        Self::commit(self, &plan, id);
    }

    fn take_forgets(&mut self) -> Vec<u32> {
        Self::take_forgets(self)
    }

    fn release_wait(&mut self, message: &Message<'_>, terms: Terms) -> Option<Duration> {
        Self::release_wait(self, message, terms)
    }

    fn lends(&self) -> u64 {
        Self::lends(self)
    }

    fn released(&mut self, id: u64) -> Result<(), &'static str> {
        Self::released(self, id)
    }

    fn take_returned(&mut self) -> Vec<Buffer<'static>> {
        Self::take_returned(self)
    }
}

impl Borrow for Borrower {
    fn accept_segment(&mut self, segment: u32, descriptor: Option<OwnedFd>) -> io::Result<()> {
        Self::accept_segment(self, segment, descriptor)
    }

    fn resolve(
        &mut self,
        id: u64,
        lens: &[u64],
        references: &[Reference],
        allocator: &mut dyn BufferAllocator,
    ) -> Result<(Vec<Buffer<'static>>, Transfer), DecodeError> {
        Self::resolve(self, id, lens, references, allocator)
    }

    fn end(&mut self) {
        Self::end(self);
    }

    fn copies(&self) -> bool {
        Self::copies(self)
    }

    fn take_releases(&mut self) -> Vec<u64> {
        Self::take_releases(self)
    }
}
