//! Segments on both sides of a unix connection: which the peer knows, which are lent, and when they come back.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use numpush_message::{BufferAllocator, DecodeError, Header, Message, Preamble, Reference};

use numpush_os::SameUser;

use crate::socket::{Medium, Plan};
use crate::transfer::Transfer;
use crate::unix::borrower::Borrower;
use crate::unix::lender::Lender;

/// The medium of a unix connection.
pub(crate) struct Segments {
    lender: Lender,
    borrower: Borrower,
}

impl Segments {
    pub(super) fn new(trusted: Option<SameUser>, budget: u64) -> Self {
        Self {
            lender: Lender::new(budget),
            borrower: Borrower::new(trusted),
        }
    }
}

impl Medium for Segments {
    const DESCRIPTORS: bool = true;
    const KEEPS_SENT: bool = true;

    fn release_wait(&self, message: &Message<'_>) -> Option<Duration> {
        self.lender.release_wait(message)
    }

    fn plan(&mut self, message: &Message<'_>, id: u64, checksums: bool) -> Plan {
        self.lender.plan(message, id, checksums)
    }

    fn accept_segment(&mut self, record: &Preamble, descriptor: Option<OwnedFd>) -> io::Result<()> {
        self.borrower.accept_segment(record, descriptor)
    }

    fn resolve(
        &mut self,
        record: &Preamble,
        header: Header,
        references: &[Reference],
        allocator: &mut dyn BufferAllocator,
    ) -> Result<(Message<'static>, Transfer), DecodeError> {
        self.borrower.resolve(record, header, references, allocator)
    }

    fn released(&mut self, id: u64) {
        self.lender.released(id);
    }

    fn take_releases(&mut self) -> Vec<u64> {
        self.borrower.take_releases()
    }
}
