//! What a call sends.

use numpush_message::{Buffer, Encoder, Flags, Message, PREAMBLE_LEN};
use numpush_zmtp::Frames;

use crate::error::Error;
use crate::transfer::{PathReason, Transfer, TransferPath};
use crate::zmq::peer::Peer;

/// What a call sends, behind the frames of an envelope.
#[derive(Clone, Copy)]
pub(super) enum Parcel<'m> {
    Message(&'m Message<'m>),
    /// Frames as they are.
    Frames(&'m [Buffer<'m>]),
}

/// What goes to the peer of a ROUTER that has this name.
pub(super) struct Named<'e, 'm> {
    pub(super) name: &'e [u8],
    /// The rest of the envelope.
    pub(super) rest: &'e [&'e [u8]],
    pub(super) parcel: Parcel<'m>,
}

/// A message on its way to one peer.
pub(super) struct Sending<'m> {
    pub(super) frames: Frames<&'m Buffer<'m>>,
    pub(super) transfer: Transfer,
    /// Memory of the caller's is in it, which a queue cannot hold.
    pub(super) is_borrowed: bool,
    /// Bytes of it that the queue counts.
    pub(super) len: u64,
    /// What subscriptions are compared with: its first frame.
    pub(super) first: Vec<u8>,
}

/// Subscriptions are compared with so many bytes of a frame that is no topic.
const LONGEST_FIRST: usize = 4 << 10;

impl<'m> Parcel<'m> {
    fn bodies(self) -> Vec<&'m Buffer<'m>> {
        match self {
            Self::Message(message) => message.buffers().collect(),
            Self::Frames(frames) => frames.iter().collect(),
        }
    }

    /// Bytes of all buffers.
    pub(super) fn len(self) -> usize {
        match self {
            Self::Message(message) => message.buffers().map(Buffer::len).sum(),
            Self::Frames(frames) => frames.iter().map(Buffer::len).sum(),
        }
    }

    pub(super) fn transfer(self) -> Transfer {
        let (bytes, copied) = match self {
            Self::Message(message) => (message.payload_len(), message.copied_bytes()),
            Self::Frames(frames) => (frames.iter().map(|frame| frame.len() as u64).sum(), 0),
        };
        Transfer {
            bytes,
            copied,
            path: TransferPath::Write,
            reason: PathReason::OnlyWay,
            ..Transfer::default()
        }
    }

    /// The name of a peer, which is the first frame, and the rest.
    pub(super) fn split_name<'e>(self, envelope: &'e [&'e [u8]]) -> Option<Named<'e, 'm>>
    where
        'm: 'e,
    {
        match (envelope.split_first(), self) {
            (Some((name, rest)), parcel) => Some(Named { name, rest, parcel }),
            (None, Self::Frames([name, rest @ ..])) => Some(Named {
                name,
                rest: &[],
                parcel: Self::Frames(rest),
            }),
            _ => None,
        }
    }

    /// The frames of it behind `lead` and `envelope`.
    ///
    /// # Errors
    /// [`Error::Message`] for a message that breaks a limit.
    pub(super) fn frames(self, lead: &[Vec<u8>], envelope: &[&[u8]]) -> Result<Sending<'m>, Error> {
        let encoder = match self {
            Self::Message(message) => {
                Some(Encoder::new(message, Flags::default()).map_err(Error::Message)?)
            }
            Self::Frames(_) => None,
        };
        let head = encoder.as_ref().and_then(|encoder| {
            let len = PREAMBLE_LEN + encoder.preamble().header_len as usize;
            encoder.head().get(..len)
        });
        let bodies = self.bodies();
        let lead = lead.iter().map(Vec::as_slice);
        let copied = lead.chain(envelope.iter().copied()).chain(head);
        let copied: Vec<&[u8]> = copied.collect();
        let mut left = copied.len() + bodies.len();
        let mut frames = Frames::new();
        for bytes in &copied {
            left -= 1;
            frames.push_copy(bytes, left > 0);
        }
        let is_borrowed = bodies.iter().any(|body| body.is_borrowed());
        let first = copied.first().copied();
        let first = first.or_else(|| bodies.first().map(|body| body.as_ref()));
        let first = first.unwrap_or(&[]);
        let first = Vec::from(first.get(..LONGEST_FIRST).unwrap_or(first));
        for body in bodies {
            left -= 1;
            frames.push(body, left > 0);
        }
        Ok(Sending {
            len: frames.left(),
            frames,
            is_borrowed,
            first,
            transfer: self.transfer(),
        })
    }
}

/// The same frames without memory of the caller's, and the bytes that were copied for it.
pub(super) fn owned(frames: Frames<&Buffer<'_>>) -> (Frames<Buffer<'static>>, u64) {
    let mut copied = 0;
    let frames = frames.map(|buffer| {
        if buffer.is_borrowed() {
            copied += buffer.len() as u64;
        }
        buffer.clone().into_owned_or_copy()
    });
    (frames, copied)
}

/// Refuses a message that must not wait for room, and for which there is none.
pub(super) fn check_room(peer: &Peer, len: u64, window: u64) -> Result<(), Error> {
    if peer.has_room(len, window) {
        return Ok(());
    }
    Err(Error::QueueFull {
        peer: peer.stream.name.clone(),
        queued: peer.outbound.left(),
        limit: window,
    })
}
