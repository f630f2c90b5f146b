//! Segments on both sides of a unix connection: which the peer knows, which are lent, and when they come back.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use numpush_message::{Buffer, BufferAllocator, DecodeError, Message, Reference};
use numpush_os::SameUser;

use crate::socket::{Announcement, Medium, Plan, Terms};
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
    const KEEPS_SENT: bool = true;

    fn release_wait(&mut self, message: &Message<'_>) -> Option<Duration> {
        self.lender.release_wait(message)
    }

    fn plan(&mut self, message: &Message<'_>, terms: Terms) -> Plan {
        self.lender.plan(message, terms)
    }

    fn commit(&mut self, plan: Plan, id: u64) {
        self.lender.commit(&plan, id);
    }

    fn announced(&mut self, announcement: &Announcement) {
        self.lender.announced(announcement);
    }

    fn take_forgets(&mut self) -> Vec<u32> {
        self.lender.take_forgets()
    }

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

    fn released(&mut self, id: u64) -> Result<(), &'static str> {
        self.lender.released(id)
    }

    fn take_releases(&mut self) -> Vec<u64> {
        self.borrower.take_releases()
    }
}
