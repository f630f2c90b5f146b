//! Frames of bytes over a unix socket, each with its length in front: how a pool and its workers talk.

use std::io::{self, IoSlice};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Longest frame, in bytes. The arguments of a task are handles and numbers, not arrays.
pub(crate) const MAX_FRAME: usize = 64 << 20;
const PREFIX: usize = 4;
/// Bytes of an inbox at the beginning.
const ROOM: usize = 16 << 10;
/// How long an eager channel looks for a frame. A wake-up costs 20 to 40 us on a virtual machine: `benches/sharing.rs`.
const LOOK: Duration = Duration::from_micros(50);

/// One end of a conversation between processes of one user.
#[derive(Debug)]
pub(crate) struct Channel {
    socket: UnixStream,
    /// Its first `received` bytes were received and not read yet.
    inbox: Vec<u8>,
    received: usize,
    outbox: Vec<u8>,
    /// Whether to look for a frame for a while before the thread sleeps.
    eager: bool,
}

/// Why a frame was not sent or received.
#[derive(Debug)]
pub(crate) enum ChannelError {
    /// The other side closed the socket between two frames.
    Closed,
    /// The kernel refused, or the other side ended within a frame.
    Io,
    /// What was received is not a value of the type, or what was to be sent is too long.
    Malformed,
}

impl From<io::Error> for ChannelError {
    fn from(_: io::Error) -> Self {
        Self::Io
    }
}

impl Channel {
    pub(crate) fn new(socket: UnixStream) -> Self {
        Self {
            socket,
            inbox: Vec::new(),
            received: 0,
            outbox: Vec::new(),
            eager: false,
        }
    }

    /// Sets whether to look for a frame for [`LOOK`] before the thread sleeps: a wake-up takes longer than a small task.
    /// The thread yields the processor between looks, so that a busy machine loses nothing.
    pub(crate) fn set_eager(&mut self, eager: bool) {
        self.eager = eager;
    }

    pub(crate) fn socket(&self) -> &UnixStream {
        &self.socket
    }

    /// Sends the bytes that `write` appends.
    pub(crate) fn send_bytes(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), ChannelError> {
        self.outbox.clear();
        self.outbox.extend_from_slice(&[0; PREFIX]);
        write(&mut self.outbox);
        let len = self.outbox.len() - PREFIX;
        let prefix = u32::try_from(len)
            .ok()
            .filter(|_| len <= MAX_FRAME)
            .ok_or(ChannelError::Malformed)?;
        self.outbox[..PREFIX].copy_from_slice(&prefix.to_le_bytes());
        let mut sent = 0;
        while sent < self.outbox.len() {
            let slices = [IoSlice::new(&self.outbox[sent..])];
            sent += numpush_os::send(&self.socket, &slices, true)?;
        }
        Ok(())
    }

    /// Receives the bytes of a frame.
    pub(crate) fn receive_bytes(&mut self) -> Result<Vec<u8>, ChannelError> {
        let len = self.frame_len()?;
        let frame = Vec::from(&self.inbox[PREFIX..PREFIX + len]);
        self.inbox.copy_within(PREFIX + len..self.received, 0);
        self.received -= PREFIX + len;
        Ok(frame)
    }

    /// The length of the next frame, all of which is in the inbox.
    fn frame_len(&mut self) -> Result<usize, ChannelError> {
        self.fill(PREFIX)?;
        let mut prefix = [0; PREFIX];
        prefix.copy_from_slice(&self.inbox[..PREFIX]);
        let len = u32::from_le_bytes(prefix) as usize;
        if len > MAX_FRAME {
            return Err(ChannelError::Malformed);
        }
        self.fill(PREFIX + len)?;
        Ok(len)
    }

    /// Reads until the inbox has `len` bytes.
    fn fill(&mut self, len: usize) -> Result<(), ChannelError> {
        while self.received < len {
            if self.received == self.inbox.len() {
                // Twice what came, so that a claim of a long frame is not allocated for before it is there.
                let room = (self.received * 2).max(ROOM);
                self.inbox.resize(room, 0);
            }
            match self.receive_some()? {
                0 if self.received == 0 => return Err(ChannelError::Closed),
                0 => return Err(ChannelError::Io),
                count => self.received += count,
            }
        }
        Ok(())
    }

    fn receive_some(&mut self) -> io::Result<usize> {
        let room = &mut self.inbox[self.received..];
        if self.eager {
            let until = Instant::now() + LOOK;
            while Instant::now() < until {
                match numpush_os::receive(&self.socket, room, false) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        std::thread::yield_now()
                    }
                    other => return other,
                }
            }
        }
        numpush_os::receive(&self.socket, room, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_arrive_whole() {
        let (left, right) = UnixStream::pair().unwrap();
        let (mut left, mut right) = (Channel::new(left), Channel::new(right));
        let sender = std::thread::spawn(move || {
            for len in [5, 100_000, 0] {
                left.send_bytes(|frame| frame.resize(frame.len() + len, 7))
                    .unwrap();
            }
        });
        for len in [5, 100_000, 0] {
            assert_eq!(right.receive_bytes().unwrap(), vec![7; len]);
        }
        sender.join().unwrap();
        assert!(matches!(right.receive_bytes(), Err(ChannelError::Closed)));
    }

    #[test]
    fn a_claim_of_a_long_frame_costs_nothing() {
        let (left, right) = UnixStream::pair().unwrap();
        io::Write::write_all(&mut &left, &u32::MAX.to_le_bytes()).unwrap();
        assert!(matches!(
            Channel::new(right).receive_bytes(),
            Err(ChannelError::Malformed)
        ));
    }
}
