//! Where connections through a spool arrive.

use std::io;
use std::sync::Arc;

use numpush_os::{self as os, Folder};

use crate::deadline::poll_with;
use crate::error::{Error, Operation};
use crate::file::spool::calls::established;
use crate::file::spool::connection::Spool;
use crate::file::spool::link::{Claim, Known, Link};
use crate::file::spool::names::LINK;
use crate::file::spool::wait::Waiter;
use crate::options::Options;
use crate::transport::{AcceptContext, Acceptor, Established};

pub(super) struct SpoolAcceptor {
    /// As the user wrote it.
    path: String,
    root: Arc<Folder>,
    options: Options,
    known: Known,
    waiter: Waiter,
}

impl SpoolAcceptor {
    pub(super) fn new(path: &str, root: Arc<Folder>, options: &Options) -> Self {
        Self {
            path: path.to_owned(),
            root,
            options: options.clone(),
            known: Known::default(),
            waiter: Waiter::default(),
        }
    }

    /// Removes the connections that have nothing for a listener, and takes the oldest that no listener has.
    fn take(&self) -> io::Result<Option<Claim>> {
        let mut links: Vec<String> = match self.root.names() {
            Err(error) if is_short(&error) => return Ok(None),
            names => names?,
        };
        links.retain_mut(|name| match name.strip_prefix(LINK) {
            Some(rest) => {
                *name = rest.to_owned();
                true
            }
            None => false,
        });
        if links.is_empty() && os::is_removed(&*self.root)? {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the folder was removed",
            ));
        }
        links.sort();
        let mut known = os::lock(&self.known);
        known.retain(|name| links.binary_search(name).is_ok());
        links.retain(|name| !known.contains(name));
        drop(known);
        // What cannot be opened is none of ours, or may be opened the next time.
        Ok(links
            .iter()
            .find_map(|name| self.take_link(name).unwrap_or(None)))
    }

    fn take_link(&self, name: &str) -> io::Result<Option<Claim>> {
        let Some(claim) = Link::claim(&self.root, name)? else {
            return Ok(None);
        };
        if !claim.is_for_us() {
            claim.remove_if_over()?;
            return Ok(None);
        }
        claim.accept()?;
        Ok(Some(claim))
    }
}

impl Acceptor for SpoolAcceptor {
    fn accept(&mut self, cx: &AcceptContext<'_>) -> Result<Established, Error> {
        let mut waiter = std::mem::take(&mut self.waiter);
        let pause = |time| waiter.pause(&self.root, time);
        let taken = poll_with(cx.deadline, || self.take(), pause);
        self.waiter = waiter;
        let taken = taken.map_err(Error::io(Operation::Accept, cx.address))?;
        let claim = taken.ok_or_else(|| cx.deadline.error(Operation::Accept, cx.address))?;
        os::lock(&self.known).insert(claim.link.name().to_owned());
        let known = Arc::clone(&self.known);
        let spool = Spool::accepted(&self.path, claim, known, &self.options);
        Ok(established(spool))
    }
}

/// True for a lack of memory or descriptors, which others may give back.
fn is_short(error: &io::Error) -> bool {
    // EMFILE and ENFILE have no kind of their own.
    matches!(error.raw_os_error(), Some(23 | 24)) || error.kind() == io::ErrorKind::OutOfMemory
}
