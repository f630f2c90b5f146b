//! The messages that one side of a connection sends.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::sync::Arc;

use numpush_message::Message;
use numpush_os::{self as os, Folder};
use numpush_session::Tag;

use crate::error::{Error, Operation};
use crate::file::record;
use crate::file::spool::names::Side;
use crate::transfer::Transfer;

pub(super) struct Outgoing {
    side: &'static Side,
    folder: Arc<Folder>,
    sync: bool,
    sent: u64,
    /// Payload bytes of the messages sent that may still be there, oldest first.
    in_flight: VecDeque<(u64, u64)>,
    bytes_in_flight: u64,
    /// Messages that were received, and whose files were given back, with the payload bytes of each, oldest first.
    free: VecDeque<(u64, u64)>,
    free_bytes: u64,
    /// Bytes of such files that are kept, or one file.
    keep: u64,
    has_ended: bool,
    /// A message may have its name or not.
    has_failed: bool,
}

impl Outgoing {
    pub(super) fn new(side: &'static Side, folder: Arc<Folder>, sync: bool) -> Self {
        Self {
            side,
            folder,
            sync,
            sent: 0,
            in_flight: VecDeque::new(),
            bytes_in_flight: 0,
            free: VecDeque::new(),
            free_bytes: 0,
            keep: 0,
            has_ended: false,
            has_failed: false,
        }
    }

    pub(super) fn has_failed(&self) -> bool {
        self.has_failed
    }

    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// The messages that the peer has not acknowledged, and their payload bytes.
    pub(super) fn in_flight(&mut self) -> (usize, u64) {
        // What cannot be looked at now counts as it did.
        let _ = self.still_there();
        (self.in_flight.len(), self.bytes_in_flight)
    }

    /// The name of the next message.
    pub(super) fn next_name(&self) -> String {
        self.side.message(self.sent + 1)
    }

    /// Forgets the messages that the peer has received, and returns how many bytes are still there.
    fn still_there(&mut self) -> io::Result<u64> {
        while let Some(&(number, len)) = self.in_flight.front() {
            if self.folder.find(&self.side.message(number))?.is_some() {
                break;
            }
            if record::is_worth_recycling(len)
                && self.folder.find(&self.side.free(number))?.is_some()
            {
                self.free.push_back((number, len));
                self.free_bytes += len;
            }
            self.in_flight.pop_front();
            self.bytes_in_flight -= len;
        }
        while self.free.len() > 1 && self.free_bytes > self.keep {
            self.remove_oldest_free();
        }
        Ok(self.bytes_in_flight)
    }

    /// Removes a file that was given back.
    fn remove_oldest_free(&mut self) {
        if let Some((number, len)) = self.free.pop_front() {
            self.free_bytes -= len;
            // What is not removed here goes with the connection.
            let _ = self.folder.remove(&self.side.free(number));
        }
    }

    /// True if the peer has received every message.
    pub(super) fn is_flushed(&mut self) -> io::Result<bool> {
        self.still_there()?;
        Ok(self.in_flight.is_empty())
    }

    /// True if `len` more bytes may be there. As many are kept of files that were given back.
    pub(super) fn has_room(&mut self, len: u64, window: u64) -> io::Result<bool> {
        self.keep = window;
        let there = self.still_there()?;
        Ok(self.in_flight.is_empty() || there.saturating_add(len) <= window)
    }

    /// Writes the next message, which nobody sees yet. `name` is what it is called in errors. If the disk is full, files that
    /// were given back are removed, and it is written once more.
    pub(super) fn draft(
        &mut self,
        message: &Message<'_>,
        checksums: bool,
        tag: Tag,
        name: &str,
    ) -> Result<Transfer, Error> {
        let drafted = self.try_draft(message, checksums, tag, name);
        if self.free.is_empty() || !drafted.as_ref().is_err_and(is_full) {
            return drafted;
        }
        while !self.free.is_empty() {
            self.remove_oldest_free();
        }
        self.try_draft(message, checksums, tag, name)
    }

    fn try_draft(
        &mut self,
        message: &Message<'_>,
        checksums: bool,
        tag: Tag,
        name: &str,
    ) -> Result<Transfer, Error> {
        let failed = |error| Error::io(Operation::Write, name)(error);
        let id = self.sent + 1;
        let mut file = match self.recycle(message.payload_len()) {
            Some(file) => file,
            None => self.create().map_err(failed)?,
        };
        let written = record::write_into(&mut file, name, message, checksums, id, tag);
        let written = written.and_then(|transfer| {
            if self.sync {
                os::sync_file(&file).map_err(failed)?;
            }
            Ok(transfer)
        });
        written.inspect_err(|_| self.discard())
    }

    fn create(&self) -> io::Result<File> {
        let draft = self.side.draft(self.sent + 1);
        match self.folder.create(&draft) {
            // Of a message that failed, and whose file could not be removed then.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.folder.remove(&draft)?;
                self.folder.create(&draft)
            }
            file => file,
        }
    }

    /// A file that was given back: to write over its pages takes a third of the time of new ones.
    fn recycle(&mut self, len: u64) -> Option<File> {
        if !record::is_worth_recycling(len) {
            return None;
        }
        let (number, len) = self.free.pop_back()?;
        self.free_bytes -= len;
        let (free, draft) = (self.side.free(number), self.side.draft(self.sent + 1));
        if self.folder.rename(&free, &draft).is_err() {
            let _ = self.folder.remove(&free);
            return None;
        }
        self.folder.open_file(&draft, true).ok()
    }

    /// Removes a message that was written and is not to be sent.
    pub(super) fn discard(&self) {
        // What is not removed here goes with the connection.
        let _ = self.folder.remove(&self.side.draft(self.sent + 1));
    }

    /// Gives the message that was written, of `len` bytes of payload, its name.
    pub(super) fn publish(&mut self, len: u64) -> io::Result<()> {
        let number = self.sent + 1;
        // Whether a rename that fails was made is not known on a network file system.
        self.has_failed = true;
        self.folder
            .rename(&self.side.draft(number), &self.side.message(number))?;
        if self.sync {
            self.folder.sync()?;
        }
        self.has_failed = false;
        self.sent = number;
        self.in_flight.push_back((number, len));
        self.bytes_in_flight += len;
        Ok(())
    }

    /// Reports that nothing more comes, unless a message may be half there.
    pub(super) fn end(&mut self) -> io::Result<()> {
        if self.has_ended || self.has_failed {
            return Ok(());
        }
        match self.folder.create(&self.side.end(self.sent + 1)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => {
                self.has_ended = true;
                Ok(())
            }
        }
    }
}

/// True for a file system without room, or a user without more of it.
fn is_full(error: &Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error, Error::Io { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded))
}
