//! Many messages in one call, and how many of them are sent.

use numpush_message::Message;

use crate::error::Error;
use crate::transfer::Transfer;

/// What a call has sent of the messages that it was given.
///
/// Made by [`Connection::send_all`](crate::Connection::send_all).
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Messages that are sent: they have gone, or the rest of the last one goes with later calls. None of them should be sent
    /// again; nothing is begun of those behind them.
    pub count: usize,
    /// Number of the last of them; 0 if there is none, or where the medium does not number them. Their numbers are consecutive.
    pub last_id: u64,
    /// Payload bytes of them.
    pub bytes: u64,
    /// Payload bytes that our own code copied, as in [`Transfer::copied`].
    pub copied: u64,
    /// System calls made for them.
    pub system_calls: u64,
}

impl Batch {
    /// Counts a message.
    pub(crate) fn add(&mut self, transfer: &Transfer) {
        self.count += 1;
        self.last_id = transfer.id;
        self.bytes += transfer.bytes;
        self.copied += transfer.copied;
        self.system_calls += u64::from(transfer.system_calls);
    }

    /// Counts what a later call has sent.
    #[cfg(feature = "tokio")]
    pub(crate) fn add_all(&mut self, later: &Self) {
        if later.count > 0 {
            self.last_id = later.last_id;
        }
        self.count += later.count;
        self.bytes += later.bytes;
        self.copied += later.copied;
        self.system_calls += later.system_calls;
    }

    /// The error of a call that ended here.
    pub(crate) fn error(self, source: Error) -> BatchError {
        BatchError {
            sent: self,
            source: Box::new(source),
        }
    }

    /// The error of a call that ended with `source` of `message`, which is sent if its rest is kept.
    pub(crate) fn error_of(mut self, source: Error, message: &Message<'_>) -> BatchError {
        if let Error::Unfinished { id, copied, .. } = &source {
            self.count += 1;
            self.last_id = *id;
            self.copied += copied;
            self.bytes += message.payload_len();
        }
        self.error(source)
    }

    /// Sends messages one after the other, by `send`.
    pub(crate) fn one_by_one<'m, 'b: 'm>(
        messages: &'m [Message<'b>],
        mut send: impl FnMut(&'m Message<'b>) -> Result<Transfer, Error>,
    ) -> Result<Self, BatchError> {
        let mut batch = Self::default();
        for message in messages {
            match send(message) {
                Ok(transfer) => batch.add(&transfer),
                Err(source) => return Err(batch.error_of(source, message)),
            }
        }
        Ok(batch)
    }
}

/// A call that did not send all the messages that it was given: how many it has sent, and why not the others.
///
/// Where a function returns [`Error`], `?` keeps the cause and forgets the count.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
#[error("{} messages were sent, and the next was not", sent.count)]
pub struct BatchError {
    /// What was sent. The messages from index [`Batch::count`] on are as if the call had not been given them.
    pub sent: Batch,
    /// Why the call ended. After [`Error::Unfinished`] the last message that counts as sent is half written, and its rest goes
    /// with later calls; after an error that ends the connection it may be half written too, and its rest goes while the
    /// connection is dropped, if the peer takes it.
    pub source: Box<Error>,
}

impl From<BatchError> for Error {
    fn from(error: BatchError) -> Self {
        *error.source
    }
}
