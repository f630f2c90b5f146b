//! The messages that one side of a connection receives, and of which of them the sender is told.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};

use numpush_os::{self as os, Folder};
use numpush_session::{Acknowledge, Confirmations};

use crate::file::record;
use crate::file::spool::names::Side;
use crate::transfer::Confirmation;

pub(super) struct Incoming {
    acknowledge: Acknowledge,
    unacknowledged: Arc<Unacknowledged>,
    received: u64,
}

/// The messages that were received and whose names are still there: they stay for the next listener if this side ends.
struct Unacknowledged {
    side: &'static Side,
    folder: Arc<Folder>,
    sync: bool,
    /// Messages that somebody else has received before.
    before: u64,
    /// Numbered from 1 behind those.
    confirmations: Confirmations,
    queue: Mutex<Queue>,
    /// A forked child leaves them to its parent.
    forks: u32,
}

#[derive(Default)]
struct Queue {
    /// The number of each, and its bytes of payload, oldest first.
    messages: VecDeque<(u64, u64)>,
    /// A name was taken, and that is not on the disk yet.
    needs_sync: bool,
    /// This side has left: another one may receive them.
    has_left: bool,
}

impl Incoming {
    /// What `side` sends, of which `received` messages were received before.
    pub(super) fn new(
        side: &'static Side,
        folder: Arc<Folder>,
        received: u64,
        acknowledge: Acknowledge,
        sync: bool,
    ) -> Self {
        let unacknowledged = Unacknowledged {
            side,
            folder,
            sync,
            before: received,
            confirmations: Confirmations::default(),
            queue: Mutex::default(),
            forks: os::forks(),
        };
        Self {
            acknowledge,
            unacknowledged: Arc::new(unacknowledged),
            received,
        }
    }

    /// The number of the next message.
    pub(super) fn next(&self) -> u64 {
        self.received + 1
    }

    /// A call begins: what was returned before it, or what the program has confirmed, is acknowledged.
    ///
    /// # Errors
    /// What the removal of a message's name returns; a later call tries again.
    pub(super) fn finish(&self) -> io::Result<()> {
        let up_to = match self.acknowledge {
            Acknowledge::OnConfirm => self.unacknowledged.confirmed(),
            _ => self.received,
        };
        self.unacknowledged.acknowledge(up_to)
    }

    /// The next message was read, with `len` bytes of payload, and is returned: it is acknowledged now, or can be confirmed.
    ///
    /// # Errors
    /// As [`Self::finish`]. The message is not received then. A folder that cannot be synced is reported by the next call: the
    /// name is gone, and the message would be lost.
    pub(super) fn take(&mut self, len: u64) -> io::Result<Option<Confirmation>> {
        let number = self.next();
        self.unacknowledged.push(number, len);
        if !matches!(
            self.acknowledge,
            Acknowledge::OnNextCall | Acknowledge::OnConfirm
        ) {
            match self.unacknowledged.acknowledge(number) {
                Err(error) if self.unacknowledged.take_back(number) => return Err(error),
                _ => {}
            }
        }
        self.received = number;
        let confirms = self.acknowledge == Acknowledge::OnConfirm;
        Ok(confirms.then(|| self.unacknowledged.confirmation(number)))
    }

    /// This side leaves. True if it has received messages that it has not acknowledged.
    pub(super) fn leave(&self) -> bool {
        if self.acknowledge != Acknowledge::OnNextCall {
            // What was confirmed or returned, and could not be acknowledged or synced then.
            let _ = self.finish();
        }
        let mut queue = os::lock(&self.unacknowledged.queue);
        queue.has_left = true;
        !queue.messages.is_empty()
    }
}

impl Unacknowledged {
    fn push(&self, number: u64, len: u64) {
        os::lock(&self.queue).messages.push_back((number, len));
    }

    /// Forgets a message that was not received after all. False if it is acknowledged.
    fn take_back(&self, number: u64) -> bool {
        let messages = &mut os::lock(&self.queue).messages;
        let before = messages.len();
        messages.retain(|&(other, _)| other != number);
        messages.len() < before
    }

    fn confirmed(&self) -> u64 {
        self.before + self.confirmations.up_to()
    }

    fn confirmation(self: &Arc<Self>, number: u64) -> Confirmation {
        let this = Arc::downgrade(self);
        Confirmation {
            receipt: self.confirmations.receipt(number - self.before),
            tell: Box::new(move |up_to| {
                if let Some(this) = this.upgrade() {
                    // A name that stays goes with a later call.
                    let _ = this.acknowledge(this.before + up_to);
                }
            }),
        }
    }

    /// Takes the names of the messages up to `number`, which reports to the sender that we have them. Large files go back to
    /// the sender. In the order of their numbers: the next listener goes on with the first that is there.
    fn acknowledge(&self, number: u64) -> io::Result<()> {
        // In a forked child a thread that it does not have may hold the lock.
        if self.forks != os::forks() {
            return Ok(());
        }
        let mut queue = os::lock(&self.queue);
        if queue.has_left {
            return Ok(());
        }
        while let Some(&(first, len)) = queue.messages.front().filter(|(first, _)| *first <= number)
        {
            self.take_name(first, len)?;
            queue.messages.pop_front();
            queue.needs_sync = self.sync;
        }
        if queue.needs_sync {
            self.folder.sync()?;
            queue.needs_sync = false;
        }
        Ok(())
    }

    fn take_name(&self, number: u64, len: u64) -> io::Result<()> {
        let name = self.side.message(number);
        let taken = if record::is_worth_recycling(len) {
            self.folder.rename(&name, &self.side.free(number))
        } else {
            self.folder.remove(&name)
        };
        match taken {
            // A call that failed had taken it all the same, or the connection was removed, which the next call sees.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => match self.folder.find(&name) {
                Ok(None) => Ok(()),
                _ => Err(error),
            },
            Ok(()) => Ok(()),
        }
    }
}
