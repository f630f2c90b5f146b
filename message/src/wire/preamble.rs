use crate::model::{Body, Message};
use crate::wire::checksum::crc32c;
use crate::wire::error::DecodeError;
use crate::wire::limits::Limits;

/// Bytes of the fixed part in front of every record.
pub const PREAMBLE_LEN: usize = 32;

/// The first four bytes of every record.
pub const MAGIC: [u8; 4] = *b"\x93NPM";

/// Version of the wire format this crate reads and writes.
pub const VERSION: u8 = 1;

/// What a record is.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RecordKind {
    /// Plain bytes: one buffer.
    Bytes = 1,
    /// An n-dimensional array: one buffer.
    Array = 2,
    /// A dataframe: the buffers of its columns.
    Frame = 3,
    /// First record in each direction of a session.
    Hello = 0x80,
    /// Every message up to `id` has arrived whole.
    Ack = 0x81,
    /// The peer sends nothing more.
    Close = 0x82,
    /// The peer will not go on; `id` is the reason's number.
    Refuse = 0x83,
    /// A memory descriptor comes with this record; `id` names it from now on.
    Segment = 0x84,
    /// The receiver has let go of every range it was given in message `id`.
    Release = 0x85,
}

impl RecordKind {
    fn from_wire(kind: u8) -> Result<Self, DecodeError> {
        Ok(match kind {
            1 => Self::Bytes,
            2 => Self::Array,
            3 => Self::Frame,
            0x80 => Self::Hello,
            0x81 => Self::Ack,
            0x82 => Self::Close,
            0x83 => Self::Refuse,
            0x84 => Self::Segment,
            0x85 => Self::Release,
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

    /// True for records that have a header and buffers.
    pub fn is_message(self) -> bool {
        matches!(self, Self::Bytes | Self::Array | Self::Frame)
    }
}

/// How a message's payload travels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// A table of CRC-32C sums follows the payload.
    pub checksums: bool,
    /// In place of the payload comes a table of references into segments.
    pub references: bool,
}

impl Flags {
    const CHECKSUMS: u16 = 1;
    const REFERENCES: u16 = 2;

    fn to_wire(self) -> u16 {
        (u16::from(self.checksums) * Self::CHECKSUMS)
            | (u16::from(self.references) * Self::REFERENCES)
    }

    fn from_wire(flags: u16) -> Result<Self, DecodeError> {
        let unknown = flags & !(Self::CHECKSUMS | Self::REFERENCES);
        if unknown != 0 || flags == Self::CHECKSUMS | Self::REFERENCES {
            return Err(DecodeError::UnknownFlags { flags });
        }
        Ok(Self {
            checksums: flags & Self::CHECKSUMS != 0,
            references: flags & Self::REFERENCES != 0,
        })
    }
}

/// The fixed 32 bytes in front of every record.
///
/// A control record (any kind for which [`RecordKind::is_message`] is false) is a preamble and nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preamble {
    /// What the record is.
    pub kind: RecordKind,
    /// How its payload travels.
    pub flags: Flags,
    /// Bytes of the msgpack header.
    pub header_len: u32,
    /// Number of buffers.
    pub buffers: u32,
    /// Bytes of all buffers and the padding after each; the argument of a control record.
    pub payload_len: u64,
    /// Number of the message in its session, or what a control record names.
    pub id: u32,
}

impl Preamble {
    /// A control record.
    pub fn control(kind: RecordKind, id: u32, argument: u64) -> Self {
        Self {
            kind,
            flags: Flags::default(),
            header_len: 0,
            buffers: 0,
            payload_len: argument,
            id,
        }
    }

    /// The preamble's bytes, with the checksum over them and `header`.
    pub fn encode(&self, header: &[u8]) -> [u8; PREAMBLE_LEN] {
        let mut bytes = [0; PREAMBLE_LEN];
        bytes[0..4].copy_from_slice(&MAGIC);
        bytes[4] = VERSION;
        bytes[5] = self.kind as u8;
        bytes[6..8].copy_from_slice(&self.flags.to_wire().to_le_bytes());
        bytes[8..12].copy_from_slice(&self.header_len.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.buffers.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.payload_len.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.id.to_le_bytes());
        let sum = sum(&bytes, header);
        bytes[28..32].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Reads the fields. The checksum needs the header too: see [`Self::check_sum`].
    ///
    /// # Errors
    /// [`DecodeError::ForeignProtocol`], [`DecodeError::Version`], [`DecodeError::UnknownKind`],
    /// [`DecodeError::UnknownFlags`].
    pub fn decode(bytes: &[u8; PREAMBLE_LEN]) -> Result<Self, DecodeError> {
        if bytes[..4] != MAGIC {
            return Err(DecodeError::ForeignProtocol {
                first: first_chunk(bytes),
            });
        }
        if bytes[4] != VERSION {
            return Err(DecodeError::Version {
                theirs: bytes[4],
                ours: VERSION,
            });
        }
        let preamble = Self {
            kind: RecordKind::from_wire(bytes[5])?,
            flags: Flags::from_wire(u16::from_le_bytes([bytes[6], bytes[7]]))?,
            header_len: u32::from_le_bytes(chunk(bytes, 8)),
            buffers: u32::from_le_bytes(chunk(bytes, 12)),
            payload_len: u64::from_le_bytes(chunk(bytes, 16)),
            id: u32::from_le_bytes(chunk(bytes, 24)),
        };
        if preamble.kind.is_message() {
            return Ok(preamble);
        }
        if preamble.header_len != 0 || preamble.buffers != 0 || preamble.flags != Flags::default() {
            return Err(DecodeError::ControlWithBody { kind: bytes[5] });
        }
        Self::check_sum(bytes, &[])?;
        Ok(preamble)
    }

    /// Checks what the preamble claims, before anything is allocated for it.
    ///
    /// # Errors
    /// [`DecodeError::TooManyBuffers`], [`DecodeError::HeaderTooLong`], [`DecodeError::PayloadTooLong`].
    pub fn check(&self, limits: &Limits) -> Result<(), DecodeError> {
        if self.buffers > Limits::BUFFERS {
            return Err(DecodeError::TooManyBuffers {
                count: self.buffers,
                max: Limits::BUFFERS,
            });
        }
        let (len, max) = (self.header_len.into(), Limits::header(self.buffers));
        if len > max {
            return Err(DecodeError::HeaderTooLong { len, max });
        }
        let (len, max) = (self.payload_len, limits.payload);
        if len > max {
            return Err(DecodeError::PayloadTooLong { len, max });
        }
        Ok(())
    }

    /// Checks the preamble's checksum, which covers its first 28 bytes and the header.
    ///
    /// # Errors
    /// [`DecodeError::HeaderChecksum`].
    pub fn check_sum(bytes: &[u8; PREAMBLE_LEN], header: &[u8]) -> Result<(), DecodeError> {
        let claimed = u32::from_le_bytes(chunk(bytes, 28));
        let computed = sum(bytes, header);
        if claimed == computed {
            Ok(())
        } else {
            Err(DecodeError::HeaderChecksum { claimed, computed })
        }
    }
}

fn sum(preamble: &[u8; PREAMBLE_LEN], header: &[u8]) -> u32 {
    if header.is_empty() {
        return crc32c(&preamble[..28]);
    }
    let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
    digest.update(&preamble[..28]);
    digest.update(header);
    u32::try_from(digest.finalize()).unwrap_or(0)
}

fn chunk<const N: usize>(bytes: &[u8; PREAMBLE_LEN], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

fn first_chunk(bytes: &[u8; PREAMBLE_LEN]) -> [u8; 8] {
    chunk(bytes, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Preamble {
        let flags = Flags {
            checksums: true,
            references: false,
        };
        Preamble {
            kind: RecordKind::Array,
            flags,
            header_len: 3,
            buffers: 1,
            payload_len: 128,
            id: 7,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = sample().encode(b"abc");
        assert_eq!(Preamble::decode(&bytes), Ok(sample()));
        assert_eq!(Preamble::check_sum(&bytes, b"abc"), Ok(()));
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let bytes = sample().encode(b"abc");
        for bit in 0..PREAMBLE_LEN * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            let found =
                Preamble::decode(&flipped).and_then(|_| Preamble::check_sum(&flipped, b"abc"));
            assert!(found.is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_foreign_protocol_is_named() {
        let mut bytes = [0; PREAMBLE_LEN];
        bytes[..8].copy_from_slice(b"GET / HT");
        let error = Preamble::decode(&bytes).unwrap_err();
        assert!(error.to_string().contains("HTTP"), "{error}");
    }
}
