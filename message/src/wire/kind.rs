use crate::model::{Body, Message};
use crate::wire::error::DecodeError;

/// What a record is.
///
/// Kinds below 0x80 are messages: they have a header and buffers, a number, and a place in the credit. Kinds from 0x80 on
/// are control records, with a body of at most 4 KiB.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordKind {
    /// Plain bytes: one buffer.
    Bytes,
    /// An n-dimensional array: one buffer.
    Array,
    /// A dataframe: the buffers of its columns.
    Frame,
    /// A piece of the record of a message: one buffer.
    Part,
    /// A message of a later version that this one may drop: 0x40 to 0x7F.
    AncillaryMessage(u8),
    /// First record in each direction of a session.
    Hello,
    /// Nothing but the fields that every record has, and the credit that is granted.
    Ack,
    /// The sender sends no more messages; `id` is the number of the last one.
    Close,
    /// The peer will not go on; `id` is the reason's number.
    Refuse,
    /// A memory descriptor comes with this record, and `id` names it from now on; without one, it is to be forgotten.
    Segment,
    /// The receiver has let go of every range it was given in message `id`.
    Release,
    /// A question whether the peer is there; its argument comes back in a pong.
    Ping,
    /// The answer to a ping, with its argument.
    Pong,
    /// A control record of a later version that this one may skip: 0xC0 to 0xFF.
    AncillaryControl(u8),
}

impl RecordKind {
    /// The kind's byte on the wire.
    pub fn to_wire(self) -> u8 {
        match self {
            Self::Bytes => 1,
            Self::Array => 2,
            Self::Frame => 3,
            Self::Part => 4,
            Self::Hello => 0x80,
            Self::Ack => 0x81,
            Self::Close => 0x82,
            Self::Refuse => 0x83,
            Self::Segment => 0x84,
            Self::Release => 0x85,
            Self::Ping => 0x86,
            Self::Pong => 0x87,
            Self::AncillaryMessage(kind) | Self::AncillaryControl(kind) => kind,
        }
    }

    pub(crate) fn from_wire(kind: u8) -> Result<Self, DecodeError> {
        Ok(match kind {
            1 => Self::Bytes,
            2 => Self::Array,
            3 => Self::Frame,
            4 => Self::Part,
            0x40..=0x7f => Self::AncillaryMessage(kind),
            0x80 => Self::Hello,
            0x81 => Self::Ack,
            0x82 => Self::Close,
            0x83 => Self::Refuse,
            0x84 => Self::Segment,
            0x85 => Self::Release,
            0x86 => Self::Ping,
            0x87 => Self::Pong,
            0xc0..=0xff => Self::AncillaryControl(kind),
            kind => return Err(DecodeError::UnknownKind { kind }),
        })
    }

    /// The kind of record that `message` is on the wire.
    pub fn of(message: &Message<'_>) -> Self {
        match message.body {
            Body::Bytes(_) => Self::Bytes,
            Body::Array(_) => Self::Array,
            Body::Frame(_) => Self::Frame,
        }
    }

    /// True for records that have a header and buffers, and a number in their session.
    pub fn is_message(self) -> bool {
        self.to_wire() < 0x80
    }

    /// True for kinds of a later version that a reader may drop.
    pub fn is_ancillary(self) -> bool {
        matches!(self, Self::AncillaryMessage(_) | Self::AncillaryControl(_))
    }
}

/// How a message's payload travels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// A table of CRC-32C sums follows the payload.
    pub checksums: bool,
    /// In place of the payload comes a table of references into segments.
    pub references: bool,
    /// The buffers are compressed. No reader of this version takes them.
    pub compressed: bool,
}

impl Flags {
    /// The payload follows as it is.
    pub(crate) const NONE: Self = Self {
        checksums: false,
        references: false,
        compressed: false,
    };

    const CHECKSUMS: u16 = 1;
    const REFERENCES: u16 = 2;
    const COMPRESSED: u16 = 4;
    /// Bits of later versions that a reader may ignore.
    const ANCILLARY: u16 = 0xff00;

    /// Flags of a record whose payload follows, with checksums or without.
    pub fn with_checksums(checksums: bool) -> Self {
        Self {
            checksums,
            ..Self::default()
        }
    }

    pub(crate) fn to_wire(self) -> u16 {
        (u16::from(self.checksums) * Self::CHECKSUMS)
            | (u16::from(self.references) * Self::REFERENCES)
            | (u16::from(self.compressed) * Self::COMPRESSED)
    }

    pub(crate) fn from_wire(flags: u16) -> Result<Self, DecodeError> {
        let known = flags & !Self::ANCILLARY;
        let unknown = known & !(Self::CHECKSUMS | Self::REFERENCES | Self::COMPRESSED);
        let both = Self::CHECKSUMS | Self::REFERENCES;
        if unknown != 0 || known & both == both {
            return Err(DecodeError::UnknownFlags { flags });
        }
        Ok(Self {
            checksums: flags & Self::CHECKSUMS != 0,
            references: flags & Self::REFERENCES != 0,
            compressed: flags & Self::COMPRESSED != 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_known_ancillary_or_an_error() {
        for byte in 0..=u8::MAX {
            match RecordKind::from_wire(byte) {
                Ok(kind) => {
                    assert_eq!(kind.to_wire(), byte);
                    assert_eq!(kind.is_message(), byte < 0x80);
                    let ancillary = matches!(byte, 0x40..=0x7f | 0xc0..);
                    assert_eq!(kind.is_ancillary(), ancillary, "{byte:#x}");
                }
                Err(error) => {
                    assert_eq!(error, DecodeError::UnknownKind { kind: byte });
                    assert!(matches!(byte, 0 | 5..=0x3f | 0x88..=0xbf), "{byte:#x}");
                }
            }
        }
    }

    #[test]
    fn the_upper_flags_are_ignored_and_the_lower_are_not() {
        for bit in 0..16 {
            let flags = 1 << bit;
            assert_eq!(Flags::from_wire(flags).is_ok(), !(3..8).contains(&bit));
            assert!(Flags::from_wire(flags | 3).is_err(), "both payloads");
        }
    }
}
