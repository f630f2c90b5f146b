//! Segments on both sides of a unix connection: which the peer knows, which are lent, and when they come back.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use numpush_message::{Buffer, BufferAllocator, DecodeError, Message, Reference};
use numpush_os::SameUser;

use crate::socket::{Borrow, Lend, Medium, Plan, Terms};
use crate::transfer::Transfer;
use crate::unix::borrower::Borrower;
use crate::unix::lender::Lender;
use crate::unix::share::Share;

/// The medium of a unix connection.
pub(crate) struct Segments {
    lender: Lender,
    borrower: Borrower,
    share: Share,
}

impl Segments {
    pub(super) fn new(trusted: Option<SameUser>, budget: u64) -> Self {
        let share = Share::take();
        Self {
            lender: Lender::new(budget, trusted.is_some()),
            borrower: Borrower::new(trusted, share.segments() as usize),
            share,
        }
    }

    /// How many segments of the peer's this side keeps.
    pub(super) fn limit(&self) -> u32 {
        self.share.segments()
    }
}

impl Medium for Segments {
    const DESCRIPTORS: bool = true;
    const NETWORK: bool = false;
    const KEEPS_SENT: bool = true;

    type Lender = Lender;
    type Borrower = SharedBorrower;

    fn split(self) -> (Lender, SharedBorrower) {
        let borrower = SharedBorrower {
            borrower: self.borrower,
            _share: self.share,
        };
        (self.lender, borrower)
    }
}

/// The borrower, and its share of what this process may keep.
pub(crate) struct SharedBorrower {
    borrower: Borrower,
    _share: Share,
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

    fn released(&mut self, id: u64) -> Result<(), &'static str> {
        Self::released(self, id)
    }
}

impl Borrow for SharedBorrower {
    fn accept_segment(&mut self, segment: u32, descriptor: Option<OwnedFd>) -> io::Result<()> {
        self.borrower.accept_segment(segment, descriptor)
    }

    fn resolve(
        &mut self,
        id: u64,
        lens: &[u64],
        references: &[Reference],
        allocator: &mut dyn BufferAllocator,
    ) -> Result<(Vec<Buffer<'static>>, Transfer), DecodeError> {
        self.borrower.resolve(id, lens, references, allocator)
    }

    fn copies(&self) -> bool {
        self.borrower.copies()
    }

    fn take_releases(&mut self) -> Vec<u64> {
        self.borrower.take_releases()
    }
}
