//! One end of a conversation.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Instant;

use numpush_os::{Ready, wait};
use serde::Serialize;

use super::frame::{Inbox, Outbox};
use super::{Frame, Greeting, WireError};

/// A socket with what was received and not read, and what is to be sent.
#[derive(Debug)]
pub(crate) struct Link {
    socket: Arc<UnixStream>,
    inbox: Inbox,
    outbox: Outbox,
    is_greeted: bool,
}

impl Link {
    /// A link that begins with our greeting. It is not sent yet.
    pub(crate) fn new(socket: UnixStream, greeting: Greeting) -> Self {
        let mut outbox = Outbox::default();
        outbox.push_greeting(greeting.encode());
        Self {
            socket: Arc::new(socket),
            inbox: Inbox::default(),
            outbox,
            is_greeted: false,
        }
    }

    pub(crate) fn socket(&self) -> &Arc<UnixStream> {
        &self.socket
    }

    /// Puts a frame behind those that are to be sent.
    pub(crate) fn queue<T: Serialize>(
        &mut self,
        number: u64,
        value: &T,
        descriptor: Option<Arc<OwnedFd>>,
    ) -> Result<(), WireError> {
        self.outbox.push(number, value, descriptor)
    }

    /// True if everything is sent.
    pub(crate) fn is_flushed(&self) -> bool {
        self.outbox.is_empty()
    }

    /// True if what is to be sent waits until fewer descriptors are on their way, which no socket reports.
    pub(crate) fn is_crowded(&self) -> bool {
        self.outbox.is_crowded()
    }

    /// Sends what there is room for, without waiting. True if all of it is sent.
    pub(crate) fn flush(&mut self) -> Result<bool, WireError> {
        self.outbox.flush(&self.socket)
    }

    /// The next frame, if all of it is there, without waiting. It checks the greeting on the way.
    pub(crate) fn poll(&mut self) -> Result<Option<Frame>, WireError> {
        loop {
            if !self.is_greeted
                && let Some(greeting) = self.inbox.greeting()
            {
                Greeting::check(greeting)?;
                self.is_greeted = true;
            }
            if self.is_greeted
                && let Some(frame) = self.inbox.frame()?
            {
                return Ok(Some(frame));
            }
            match self.inbox.fill(&self.socket) {
                Ok(true) => {}
                Ok(false) => return Ok(None),
                Err(WireError::Closed) if !self.is_greeted => return Err(WireError::Unserved),
                Err(error) => return Err(error),
            }
        }
    }

    /// The next frame. Waits until `deadline`, and sends meanwhile.
    pub(crate) fn next(&mut self, deadline: Instant) -> Result<Frame, WireError> {
        loop {
            let flushed = self.flush();
            // Whoever closed the socket may have said why.
            if let Some(frame) = self.poll()? {
                return Ok(frame);
            }
            let flushed = flushed?;
            let want = Ready {
                read: true,
                write: !flushed,
            };
            let ready = wait(&[(self.socket.as_fd(), want)], Some(deadline))?;
            if !ready.iter().any(|ready| ready.any()) {
                return Err(WireError::TimedOut);
            }
        }
    }
}
