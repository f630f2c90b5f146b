//! Frames over a socket: a length and that many bytes.

use std::io::{self, IoSlice};
use std::os::fd::AsFd;

/// Longest frame, in bytes. The arguments of a task are handles and numbers, not arrays.
pub(super) const MAX_FRAME: usize = 64 << 20;
const PREFIX: usize = 4;
/// Bytes that are received at a time, and that an empty inbox keeps.
const ROOM: usize = 16 << 10;

/// A frame is longer than [`MAX_FRAME`].
#[derive(Debug)]
pub(super) struct TooLong;

/// Frames that are to be sent.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    sent: usize,
    /// Bytes that were sent before those in `bytes`.
    before: u64,
}

impl Outbox {
    /// Appends a frame of the bytes that `write` appends.
    pub(super) fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), TooLong> {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&[0; PREFIX]);
        write(&mut self.bytes);
        let len = self.bytes.len() - at - PREFIX;
        let prefix = u32::try_from(len).ok().filter(|_| len <= MAX_FRAME);
        let Some(prefix) = prefix else {
            self.bytes.truncate(at);
            return Err(TooLong);
        };
        self.bytes[at..at + PREFIX].copy_from_slice(&prefix.to_le_bytes());
        Ok(())
    }

    /// Sends all of it, or without `block` as much as the socket takes.
    pub(super) fn flush(&mut self, socket: impl AsFd, block: bool) -> io::Result<()> {
        while !self.is_empty() {
            let rest = [IoSlice::new(&self.bytes[self.sent..])];
            match numpush_os::send(&socket, &rest, block) {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.before += self.sent as u64;
        self.sent = 0;
        self.bytes.clear();
        self.bytes.shrink_to(MAX_IDLE);
        Ok(())
    }

    /// True if everything was sent.
    pub(super) fn is_empty(&self) -> bool {
        self.sent == self.bytes.len()
    }

    /// Number of bytes that were ever appended.
    pub(super) fn appended(&self) -> u64 {
        self.before + self.bytes.len() as u64
    }

    /// Number of bytes that were ever sent.
    pub(super) fn sent(&self) -> u64 {
        self.before + self.sent as u64
    }
}

/// What an empty box keeps of a long frame's memory.
const MAX_IDLE: usize = 1 << 20;

/// Frames that were received.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    /// Zeroed once, and written over by each receive.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

/// What a receive found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// Bytes.
    Some,
    /// Nothing yet.
    Nothing,
    /// The other side has closed the socket, or has died.
    End,
}

impl Inbox {
    /// Receives once.
    pub(super) fn fill(&mut self, socket: impl AsFd, block: bool) -> Received {
        self.make_room();
        match numpush_os::receive(socket, &mut self.bytes[self.end..], block) {
            Ok(0) => Received::End,
            Ok(count) => {
                self.end += count;
                Received::Some
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Received::Nothing,
            Err(_) => Received::End,
        }
    }

    /// The next frame, if all of it is there.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>, TooLong> {
        let received = &self.bytes[self.start..self.end];
        let Some((prefix, rest)) = received.split_first_chunk::<PREFIX>() else {
            return Ok(None);
        };
        let len = u32::from_le_bytes(*prefix) as usize;
        if len > MAX_FRAME {
            return Err(TooLong);
        }
        if rest.len() < len {
            return Ok(None);
        }
        self.start += PREFIX + len;
        Ok(Some(&self.bytes[self.start - len..self.start]))
    }

    /// Memory grows with what has come, not with what a frame claims to be.
    fn make_room(&mut self) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.bytes.len() > MAX_IDLE {
                self.bytes = Vec::new();
            }
        }
        if self.bytes.len() - self.end < ROOM {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            let len = self.bytes.len().max(self.end * 2).max(self.end + ROOM);
            self.bytes.resize(len, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn frames_arrive_whole_and_in_order() {
        let (left, right) = UnixStream::pair().unwrap();
        let sender = std::thread::spawn(move || {
            let mut outbox = Outbox::default();
            for len in [0, 3, 100_000, 1] {
                outbox
                    .push(|bytes| bytes.resize(bytes.len() + len, 7))
                    .unwrap();
            }
            outbox.flush(&left, true).unwrap();
            assert_eq!(outbox.sent(), 100_004 + 4 * 4);
        });
        let (mut inbox, mut lengths) = (Inbox::default(), Vec::new());
        while inbox.fill(&right, true) == Received::Some {
            while let Some(frame) = inbox.next().unwrap() {
                lengths.push(frame.len());
            }
        }
        sender.join().unwrap();
        assert_eq!(lengths, [0, 3, 100_000, 1]);
    }

    #[test]
    fn a_full_socket_takes_the_rest_later() {
        let (left, right) = UnixStream::pair().unwrap();
        let mut outbox = Outbox::default();
        outbox.push(|bytes| bytes.resize(8 << 20, 7)).unwrap();
        outbox.flush(&left, false).unwrap();
        assert!(!outbox.is_empty() && outbox.sent() < outbox.appended());
        let mut inbox = Inbox::default();
        assert!(inbox.next().unwrap().is_none());
        while !outbox.is_empty() {
            assert_eq!(inbox.fill(&right, true), Received::Some);
            outbox.flush(&left, false).unwrap();
        }
        let mut len = None;
        while len.is_none() {
            assert_eq!(inbox.fill(&right, true), Received::Some);
            len = inbox.next().unwrap().map(<[u8]>::len);
        }
        assert_eq!(len, Some((8 << 20) - PREFIX));
    }

    #[test]
    fn a_claim_of_a_long_frame_costs_nothing() {
        let (left, right) = UnixStream::pair().unwrap();
        io::Write::write_all(&mut &left, &u32::MAX.to_le_bytes()).unwrap();
        let mut inbox = Inbox::default();
        assert_eq!(inbox.fill(&right, true), Received::Some);
        assert!(inbox.next().is_err());
        let mut outbox = Outbox::default();
        assert!(outbox.push(|bytes| bytes.resize(MAX_FRAME + 5, 0)).is_err());
        assert!(outbox.is_empty());
    }
}
