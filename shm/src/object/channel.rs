//! Values of serde over a unix socket, one frame each: a length and msgpack. A frame may carry a descriptor.

use std::io::{self, IoSlice};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use numpush_os::{Ancillary, receive_with_descriptor};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Longest frame, in bytes. The arguments of a task are handles and numbers, not arrays.
pub(crate) const MAX_FRAME: usize = 64 << 20;
const PREFIX: usize = 4;
/// How long an eager channel looks for a frame. A wake-up costs 20 to 40 us on a virtual machine: `benches/sharing.rs`.
const LOOK: Duration = Duration::from_micros(50);

/// One end of a conversation between processes of one user.
#[derive(Debug)]
pub(crate) struct Channel {
    socket: UnixStream,
    /// Bytes that were received and not read yet.
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    descriptor: Option<OwnedFd>,
    /// Whether to look for a frame for a while before the thread sleeps.
    eager: bool,
}

/// Why a frame was not sent or received.
#[derive(Debug)]
pub(crate) enum ChannelError {
    /// The other side closed the socket between two frames.
    Closed,
    /// The kernel refused, or the other side ended within a frame.
    Io(io::Error),
    /// What was received is not a value of the type, or what was to be sent is too long.
    Malformed(&'static str),
}

impl From<io::Error> for ChannelError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Channel {
    pub(crate) fn new(socket: UnixStream) -> Self {
        Self {
            socket,
            inbox: Vec::new(),
            outbox: Vec::new(),
            descriptor: None,
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

    /// Sends a value, with a descriptor if there is one.
    pub(crate) fn send<T: Serialize + ?Sized>(
        &mut self,
        value: &T,
        descriptor: Option<BorrowedFd<'_>>,
    ) -> Result<(), ChannelError> {
        let mut written = Ok(());
        self.begin(|outbox| written = rmp_serde::encode::write(outbox, value));
        written.map_err(|_| ChannelError::Malformed("a value that cannot be sent"))?;
        self.finish(descriptor)
    }

    /// Sends the bytes that `write` appends.
    pub(crate) fn send_bytes(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), ChannelError> {
        self.begin(write);
        self.finish(None)
    }

    fn begin(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.outbox.clear();
        self.outbox.extend_from_slice(&[0; PREFIX]);
        write(&mut self.outbox);
    }

    fn finish(&mut self, descriptor: Option<BorrowedFd<'_>>) -> Result<(), ChannelError> {
        let len = self.outbox.len() - PREFIX;
        let prefix = u32::try_from(len)
            .ok()
            .filter(|_| len <= MAX_FRAME)
            .ok_or(ChannelError::Malformed("too long"))?;
        self.outbox[..PREFIX].copy_from_slice(&prefix.to_le_bytes());
        let mut sent = 0;
        while sent < self.outbox.len() {
            let slices = [IoSlice::new(&self.outbox[sent..])];
            sent += match descriptor.filter(|_| sent == 0) {
                Some(descriptor) => {
                    numpush_os::send_with_descriptor(&self.socket, &slices, descriptor, true)?
                }
                None => numpush_os::send(&self.socket, &slices, true)?,
            };
        }
        Ok(())
    }

    /// Receives a value, and the descriptor that came with it.
    pub(crate) fn receive<T: DeserializeOwned>(
        &mut self,
    ) -> Result<(T, Option<OwnedFd>), ChannelError> {
        let len = self.frame_len()?;
        let value = rmp_serde::from_slice(&self.inbox[PREFIX..PREFIX + len]);
        self.inbox.drain(..PREFIX + len);
        let value = value.map_err(|_| ChannelError::Malformed("a value of another kind"))?;
        Ok((value, self.descriptor.take()))
    }

    /// Receives the bytes of a frame.
    pub(crate) fn receive_bytes(&mut self) -> Result<Vec<u8>, ChannelError> {
        let len = self.frame_len()?;
        let frame = self.inbox.drain(..PREFIX + len).skip(PREFIX).collect();
        Ok(frame)
    }

    /// The length of the next frame, all of which is in the inbox.
    fn frame_len(&mut self) -> Result<usize, ChannelError> {
        self.fill(PREFIX)?;
        let mut prefix = [0; PREFIX];
        prefix.copy_from_slice(&self.inbox[..PREFIX]);
        let len = u32::from_le_bytes(prefix) as usize;
        if len > MAX_FRAME {
            return Err(ChannelError::Malformed("a frame over the limit"));
        }
        self.fill(PREFIX + len)?;
        Ok(len)
    }

    fn receive_chunk(&self, chunk: &mut [u8]) -> io::Result<(usize, Ancillary)> {
        if self.eager {
            let until = Instant::now() + LOOK;
            while Instant::now() < until {
                match receive_with_descriptor(&self.socket, chunk, false) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        std::thread::yield_now()
                    }
                    other => return other,
                }
            }
        }
        receive_with_descriptor(&self.socket, chunk, true)
    }

    /// Reads until the inbox has `len` bytes.
    fn fill(&mut self, len: usize) -> Result<(), ChannelError> {
        let mut chunk = [0; 16 << 10];
        while self.inbox.len() < len {
            let (count, ancillary) = self.receive_chunk(&mut chunk)?;
            if count == 0 && self.inbox.is_empty() {
                return Err(ChannelError::Closed);
            }
            if count == 0 {
                return Err(ChannelError::Io(io::ErrorKind::UnexpectedEof.into()));
            }
            self.descriptor = ancillary.descriptor.or_else(|| self.descriptor.take());
            self.inbox.extend_from_slice(&chunk[..count]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_and_descriptors_arrive_whole() {
        let (left, right) = UnixStream::pair().unwrap();
        let (mut left, mut right) = (Channel::new(left), Channel::new(right));
        let long = vec![7_u8; 100_000];
        let file = std::fs::File::open("/dev/null").unwrap();
        let sender = std::thread::spawn(move || {
            left.send("first", Some(std::os::fd::AsFd::as_fd(&file)))
                .unwrap();
            left.send(&long, None).unwrap();
        });
        let (text, descriptor) = right.receive::<String>().unwrap();
        assert_eq!((text.as_str(), descriptor.is_some()), ("first", true));
        assert_eq!(right.receive::<Vec<u8>>().unwrap().0.len(), 100_000);
        sender.join().unwrap();
        assert!(matches!(
            right.receive::<String>(),
            Err(ChannelError::Closed)
        ));
    }

    #[test]
    fn a_claim_of_a_long_frame_costs_nothing() {
        let (left, right) = UnixStream::pair().unwrap();
        io::Write::write_all(&mut &left, &u32::MAX.to_le_bytes()).unwrap();
        assert!(matches!(
            Channel::new(right).receive::<String>(),
            Err(ChannelError::Malformed(_))
        ));
    }
}
