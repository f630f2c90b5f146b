//! Frames, to bytes and from bytes however they are split.
//!
//! A frame is a head of 16 bytes, little-endian, and a body of msgpack:
//!
//! | bytes | |
//! | --- | --- |
//! | 0 to 4 | length of the body |
//! | 4 to 8 | 1 if a descriptor comes with the frame, 2 if one was to come and could not be sent, else 0 |
//! | 8 to 16 | the number of the request that it asks or answers; 0 for a notice |

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use numpush_os::{receive_with_descriptor, send, send_with_descriptor};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::WireError;
use super::greeting::GREETING_LEN;

const HEAD: usize = 16;
/// Longest body, in bytes. Only what arrives is allocated for.
const MAX_BODY: usize = 64 << 20;
/// Bytes of an inbox at the beginning.
const ROOM: usize = 4096;

/// A frame that was received.
#[derive(Debug)]
pub(crate) struct Frame {
    /// The request that it asks or answers, or [`NOTICE`](super::NOTICE).
    pub(crate) number: u64,
    body: Vec<u8>,
    descriptor: Option<Passed>,
}

/// A descriptor that was sent to this process.
#[derive(Debug)]
enum Passed {
    Arrived(OwnedFd),
    /// The kernel dropped it: this process has as many open as it may have.
    Lost,
    /// The other side could not send it: too many are on their way between the processes of this user.
    Unsent,
}

impl Frame {
    pub(crate) fn value<T: DeserializeOwned>(&self) -> Result<T, WireError> {
        rmp_serde::from_slice(&self.body)
            .map_err(|_| WireError::Malformed("a message that cannot be read"))
    }

    /// The descriptor that came with the frame, if one did.
    ///
    /// # Errors
    /// EMFILE if this process had no room for it; ETOOMANYREFS if the other side could not send it.
    pub(crate) fn descriptor(&mut self) -> io::Result<Option<OwnedFd>> {
        match self.descriptor.take() {
            Some(Passed::Arrived(descriptor)) => Ok(Some(descriptor)),
            // recvmsg(2) does not say EMFILE: it drops the descriptor and sets MSG_CTRUNC.
            Some(Passed::Lost) => Err(io::Error::from_raw_os_error(EMFILE)),
            Some(Passed::Unsent) => Err(io::Error::from_raw_os_error(ETOOMANYREFS)),
            None => Ok(None),
        }
    }
}

/// errno(3), the same on every Linux that this library is built for.
const EMFILE: i32 = 24;
const ETOOMANYREFS: i32 = 109;

/// Marks of a frame: no descriptor, one with its first byte, one that could not be sent.
const PLAIN: u32 = 0;
const WITH_DESCRIPTOR: u32 = 1;
const UNSENT: u32 = 2;

/// How long a descriptor waits until fewer are on their way: longer than a client takes to read one, and shorter than
/// it waits for an answer.
const CROWDED: Duration = Duration::from_secs(2);

/// Bytes that were received and are not read yet, and the descriptors that came with them, in order.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    descriptors: VecDeque<Passed>,
}

impl Inbox {
    /// Receives what is there, without waiting. False if nothing is.
    pub(super) fn fill(&mut self, socket: &UnixStream) -> Result<bool, WireError> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
        if self.end == self.bytes.len() {
            self.bytes.drain(..self.start);
            (self.start, self.end) = (0, self.end - self.start);
            let len = self.bytes.len().max(self.end * 2).max(ROOM);
            self.bytes.resize(len, 0);
        }
        match receive_with_descriptor(socket, &mut self.bytes[self.end..], false) {
            Ok((0, _)) => Err(WireError::Closed),
            Ok((count, ancillary)) => {
                self.end += count;
                self.descriptors
                    .extend(ancillary.descriptor.map(Passed::Arrived));
                if ancillary.truncated {
                    self.descriptors.push_back(Passed::Lost);
                }
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The greeting, if all of it is there.
    pub(super) fn greeting(&mut self) -> Option<[u8; GREETING_LEN]> {
        let bytes = self.unread().first_chunk::<GREETING_LEN>().copied()?;
        self.start += GREETING_LEN;
        Some(bytes)
    }

    /// The next frame, if all of it is there.
    pub(super) fn frame(&mut self) -> Result<Option<Frame>, WireError> {
        let Some(head) = self.unread().first_chunk::<HEAD>() else {
            return Ok(None);
        };
        let number = u64::from_le_bytes(part(head, 8));
        let mark = u32::from_le_bytes(part(head, 4));
        if mark > UNSENT {
            return Err(WireError::Malformed("unknown marks on a frame"));
        }
        let len = u32::from_le_bytes(part(head, 0)) as usize;
        if len > MAX_BODY {
            return Err(WireError::Malformed("a frame over the limit of 64 MiB"));
        }
        let Some(body) = self.unread().get(HEAD..HEAD + len) else {
            return Ok(None);
        };
        let body = Vec::from(body);
        let descriptor = match mark {
            PLAIN => None,
            WITH_DESCRIPTOR => {
                // A descriptor arrives with the first byte of its frame.
                let passed = self.descriptors.pop_front();
                Some(passed.ok_or(WireError::Malformed("a frame without its descriptor"))?)
            }
            _ => Some(Passed::Unsent),
        };
        self.start += HEAD + len;
        Ok(Some(Frame {
            number,
            body,
            descriptor,
        }))
    }

    fn unread(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }
}

fn part<const N: usize>(head: &[u8; HEAD], at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&head[at..at + N]);
    bytes
}

/// Frames that are not sent yet, or not all of them.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    frames: VecDeque<Unsent>,
    /// Since when the kernel refuses descriptors, because too many are on their way.
    crowded: Option<Instant>,
}

#[derive(Debug)]
struct Unsent {
    bytes: Vec<u8>,
    sent: usize,
    descriptor: Option<Arc<OwnedFd>>,
}

impl Outbox {
    pub(super) fn push_greeting(&mut self, bytes: [u8; GREETING_LEN]) {
        self.frames.push_back(Unsent {
            bytes: Vec::from(bytes),
            sent: 0,
            descriptor: None,
        });
    }

    pub(super) fn push<T: Serialize>(
        &mut self,
        number: u64,
        value: &T,
        descriptor: Option<Arc<OwnedFd>>,
    ) -> Result<(), WireError> {
        let mut bytes = vec![0; HEAD];
        rmp_serde::encode::write(&mut bytes, value)
            .map_err(|_| WireError::Malformed("a message that cannot be written"))?;
        let len = u32::try_from(bytes.len() - HEAD).unwrap_or(u32::MAX);
        if len as usize > MAX_BODY {
            return Err(WireError::Malformed("a message over the limit of 64 MiB"));
        }
        bytes[..4].copy_from_slice(&len.to_le_bytes());
        let mark = match descriptor {
            Some(_) => WITH_DESCRIPTOR,
            None => PLAIN,
        };
        bytes[4..8].copy_from_slice(&mark.to_le_bytes());
        bytes[8..HEAD].copy_from_slice(&number.to_le_bytes());
        self.frames.push_back(Unsent {
            bytes,
            sent: 0,
            descriptor,
        });
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// True if the next frame waits for its descriptor, and not for room in the socket.
    pub(super) fn is_crowded(&self) -> bool {
        let next = self.frames.front();
        self.crowded.is_some() && next.is_some_and(|frame| frame.descriptor.is_some())
    }

    /// Sends what the socket has room for, without waiting. True if all of it is sent.
    pub(super) fn flush(&mut self, socket: &UnixStream) -> Result<bool, WireError> {
        while let Some(frame) = self.frames.front_mut() {
            let slices = [IoSlice::new(&frame.bytes[frame.sent..])];
            let sent = match frame.descriptor.as_ref().filter(|_| frame.sent == 0) {
                Some(descriptor) => {
                    let sent = send_with_descriptor(socket, &slices, descriptor.as_fd(), false);
                    if sent.is_ok() {
                        self.crowded = None;
                    }
                    sent
                }
                None => send(socket, &slices, false),
            };
            match sent {
                Ok(count) => frame.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.raw_os_error() == Some(ETOOMANYREFS) => {
                    let since = *self.crowded.get_or_insert_with(Instant::now);
                    if since.elapsed() < CROWDED {
                        return Ok(false);
                    }
                    // The client says why it cannot open the value, and goes on.
                    frame.descriptor = None;
                    frame.bytes[4..8].copy_from_slice(&UNSENT.to_le_bytes());
                }
                Err(error) => return Err(error.into()),
            }
            if frame.sent == frame.bytes.len() {
                self.frames.pop_front();
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn next(inbox: &mut Inbox, socket: &UnixStream) -> Result<Frame, WireError> {
        loop {
            if let Some(frame) = inbox.frame()? {
                return Ok(frame);
            }
            inbox.fill(socket)?;
        }
    }

    #[test]
    fn frames_keep_their_number_and_their_descriptor() {
        let (near, far) = UnixStream::pair().unwrap();
        let null = Arc::new(OwnedFd::from(std::fs::File::open("/dev/null").unwrap()));
        let mut outbox = Outbox::default();
        outbox.push(1, &"first", None).unwrap();
        outbox.push(2, &vec![7_u8; 100_000], Some(null)).unwrap();
        outbox.push(0, &"notice", None).unwrap();
        let mut inbox = Inbox::default();
        let mut read = Vec::new();
        while read.len() < 3 {
            outbox.flush(&near).unwrap();
            inbox.fill(&far).unwrap();
            while let Some(frame) = inbox.frame().unwrap() {
                read.push(frame);
            }
        }
        assert_eq!(read[0].value::<String>().unwrap(), "first");
        assert!(read[0].descriptor().unwrap().is_none());
        assert_eq!(read[1].value::<Vec<u8>>().unwrap().len(), 100_000);
        assert!(read[1].descriptor().unwrap().is_some());
        assert_eq!(read[2].number, 0);
        assert!(read[2].descriptor().unwrap().is_none());
    }

    #[test]
    fn a_socket_without_room_keeps_the_rest() {
        let (near, far) = UnixStream::pair().unwrap();
        let mut outbox = Outbox::default();
        for number in 1..=100 {
            outbox.push(number, &vec![7_u8; 10_000], None).unwrap();
        }
        assert!(!outbox.flush(&near).unwrap());
        let mut inbox = Inbox::default();
        for number in 1..=100 {
            outbox.flush(&near).unwrap();
            assert_eq!(next(&mut inbox, &far).unwrap().number, number);
        }
        assert!(outbox.flush(&near).unwrap() && outbox.is_empty());
    }

    #[test]
    fn claims_and_marks_of_strangers_are_refused() {
        for head in [[u32::MAX, 0], [1, 3], [0, 1]] {
            let (mut near, far) = UnixStream::pair().unwrap();
            for word in head {
                near.write_all(&word.to_le_bytes()).unwrap();
            }
            near.write_all(&[0; 8]).unwrap();
            let refused = next(&mut Inbox::default(), &far);
            assert!(matches!(refused, Err(WireError::Malformed(_))), "{head:?}");
        }
    }

    #[test]
    fn an_end_within_a_frame_is_an_end() {
        let (mut near, far) = UnixStream::pair().unwrap();
        near.write_all(&[1, 0, 0, 0]).unwrap();
        drop(near);
        assert!(matches!(
            next(&mut Inbox::default(), &far),
            Err(WireError::Closed)
        ));
    }
}
