//! What a group needs of its connections.

use numpush_message::Prepared;
use numpush_session::Tag;

use crate::error::Error;
use crate::poller::Poller;
use crate::poller::event::Sent;
use crate::poller::slots::Key;

impl Poller {
    /// As [`Self::send`], for a message that was encoded for others too.
    pub(crate) fn send_prepared(
        &mut self,
        key: Key,
        prepared: &Prepared<'_>,
    ) -> Result<Sent, Error> {
        self.send_as(key, prepared.message(), Some(prepared), Tag::default())
    }

    /// Bytes that memory of ours may have for a peer to map it, though we write it again later; 0 if it maps none.
    #[cfg(feature = "unix")]
    pub(crate) fn lends(&self, key: Key) -> u64 {
        self.members.get(key).map_or(0, |member| member.lends())
    }

    /// True if a connection is there.
    #[cfg(feature = "unix")]
    pub(crate) fn contains(&self, key: Key) -> bool {
        self.members.get(key).is_some()
    }
}
