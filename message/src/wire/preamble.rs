use crate::wire::checksum::{Sum, crc32c};
use crate::wire::error::DecodeError;
use crate::wire::kind::{Flags, RecordKind};
use crate::wire::limits::Limits;

/// Bytes of the fixed part in front of every record.
pub const PREAMBLE_LEN: usize = 64;

/// The checksum is the last field, and covers all before it.
const SUM_AT: usize = PREAMBLE_LEN - 4;

/// Headers of so many bytes are summed together with the preamble: those of bytes and arrays.
const SHORT_HEADER: usize = 196;

/// The first four bytes of every record.
pub const MAGIC: [u8; 4] = *b"\x93NPM";

/// Version of the wire format this crate reads and writes.
pub const VERSION: u8 = 1;

/// The fixed 64 bytes in front of every record.
///
/// A control record (any kind for which [`RecordKind::is_message`] is false) has a body of at most
/// [`Limits::CONTROL`] bytes in place of a header, and no payload.
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
    /// Number of the message in its direction, from 1, or what a control record names; 0 outside a session.
    pub id: u64,
    /// Number of the last message of the other direction that arrived; 0 if none did.
    pub ack: u64,
    /// Number of the peer's message that this one answers; 0 if it answers none.
    pub reply_to: u64,
    /// The caller's channel.
    pub channel: u32,
}

impl Preamble {
    /// Of no record.
    pub(crate) const NONE: Self = Self::control(RecordKind::Ack, 0, 0);

    /// A control record without a body.
    pub const fn control(kind: RecordKind, id: u64, argument: u64) -> Self {
        Self {
            kind,
            flags: Flags::NONE,
            header_len: 0,
            buffers: 0,
            payload_len: argument,
            id,
            ack: 0,
            reply_to: 0,
            channel: 0,
        }
    }

    /// Sets the number of the last message of the other direction that arrived. Default: 0, none.
    #[must_use]
    pub fn with_ack(mut self, ack: u64) -> Self {
        self.ack = ack;
        self
    }

    /// The preamble's bytes, with the checksum over them and `header`.
    pub fn encode(&self, header: &[u8]) -> [u8; PREAMBLE_LEN] {
        let mut bytes = [0; PREAMBLE_LEN];
        bytes[0..4].copy_from_slice(&MAGIC);
        bytes[4] = VERSION;
        bytes[5] = self.kind.to_wire();
        bytes[6..8].copy_from_slice(&self.flags.to_wire().to_le_bytes());
        bytes[8..12].copy_from_slice(&self.header_len.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.buffers.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.payload_len.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.id.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.ack.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.reply_to.to_le_bytes());
        bytes[48..52].copy_from_slice(&self.channel.to_le_bytes());
        let sum = sum(&bytes, header);
        bytes[SUM_AT..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Reads the fields. The checksum needs the header too: see [`Self::check_sum`].
    ///
    /// # Errors
    /// [`DecodeError::ForeignProtocol`], [`DecodeError::Version`], [`DecodeError::UnknownKind`],
    /// [`DecodeError::UnknownFlags`]; for a control record also [`DecodeError::ControlWithBuffers`],
    /// [`DecodeError::HeaderTooLong`], and [`DecodeError::HeaderChecksum`] if it has no body.
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
            id: u64::from_le_bytes(chunk(bytes, 24)),
            ack: u64::from_le_bytes(chunk(bytes, 32)),
            reply_to: u64::from_le_bytes(chunk(bytes, 40)),
            channel: u32::from_le_bytes(chunk(bytes, 48)),
        };
        if preamble.kind.is_message() {
            return Ok(preamble);
        }
        if preamble.buffers != 0 || preamble.flags != Flags::default() {
            return Err(DecodeError::ControlWithBuffers { kind: bytes[5] });
        }
        let (len, max) = (preamble.header_len.into(), Limits::CONTROL as u64);
        if len > max {
            return Err(DecodeError::HeaderTooLong { len, max });
        }
        if len == 0 {
            Self::check_sum(bytes, &[])?;
        }
        Ok(preamble)
    }

    /// Checks what the preamble claims, before anything is allocated for it.
    ///
    /// # Errors
    /// [`DecodeError::TooManyBuffers`], [`DecodeError::BufferCount`], [`DecodeError::HeaderTooLong`],
    /// [`DecodeError::PayloadTooLong`].
    pub fn check(&self, limits: &Limits) -> Result<(), DecodeError> {
        if self.buffers > Limits::BUFFERS {
            return Err(DecodeError::TooManyBuffers {
                count: self.buffers,
                max: Limits::BUFFERS,
            });
        }
        let has_one = matches!(
            self.kind,
            RecordKind::Bytes | RecordKind::Array | RecordKind::Part
        );
        if has_one && self.buffers != 1 {
            return Err(DecodeError::BufferCount {
                found: self.buffers as usize,
                expected: 1,
            });
        }
        let max = Limits::header(self.kind, self.buffers);
        let len = self.header_len.into();
        if len > max {
            return Err(DecodeError::HeaderTooLong { len, max });
        }
        let (len, max) = (self.payload_len, limits.payload);
        if len > max {
            return Err(DecodeError::PayloadTooLong { len, max });
        }
        Ok(())
    }

    /// Checks the preamble's checksum, which covers its first 60 bytes and the header.
    ///
    /// # Errors
    /// [`DecodeError::HeaderChecksum`].
    pub fn check_sum(bytes: &[u8; PREAMBLE_LEN], header: &[u8]) -> Result<(), DecodeError> {
        let claimed = written_sum(bytes);
        let computed = sum(bytes, header);
        if claimed == computed {
            Ok(())
        } else {
            Err(DecodeError::HeaderChecksum { claimed, computed })
        }
    }
}

/// The checksum of a preamble, as it was written.
pub(crate) fn written_sum(preamble: &[u8; PREAMBLE_LEN]) -> u32 {
    u32::from_le_bytes(chunk(preamble, SUM_AT))
}

fn sum(preamble: &[u8; PREAMBLE_LEN], header: &[u8]) -> u32 {
    // One sum of a short copy takes half the instructions of a sum in two steps.
    let mut joined = [0; SUM_AT + SHORT_HEADER];
    if let Some(joined) = joined.get_mut(..SUM_AT + header.len()) {
        joined[..SUM_AT].copy_from_slice(&preamble[..SUM_AT]);
        joined[SUM_AT..].copy_from_slice(header);
        return crc32c(joined);
    }
    let mut sum = HeaderSum::new(preamble);
    sum.update(header);
    sum.finish()
}

/// The sum of a preamble and a header that comes in pieces.
pub(crate) struct HeaderSum {
    claimed: u32,
    digest: Sum,
}

impl HeaderSum {
    pub(crate) fn new(preamble: &[u8; PREAMBLE_LEN]) -> Self {
        let mut digest = Sum::new();
        digest.update(&preamble[..SUM_AT]);
        let claimed = written_sum(preamble);
        Self { claimed, digest }
    }

    pub(crate) fn update(&mut self, header: &[u8]) {
        self.digest.update(header);
    }

    fn finish(&self) -> u32 {
        self.digest.finish()
    }

    /// Compares the sum with the one in the preamble.
    pub(crate) fn check(&self) -> Result<(), DecodeError> {
        let (claimed, computed) = (self.claimed, self.finish());
        if claimed == computed {
            Ok(())
        } else {
            Err(DecodeError::HeaderChecksum { claimed, computed })
        }
    }
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
        Preamble {
            kind: RecordKind::Array,
            flags: Flags::with_checksums(true),
            header_len: 3,
            buffers: 1,
            payload_len: 128,
            id: 7,
            ack: 1 << 40,
            reply_to: 5,
            channel: 9,
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
    fn bytes_of_later_versions_are_ignored_but_covered() {
        let mut bytes = sample().encode(b"abc");
        bytes[7] = 0x80;
        bytes[52..60].fill(7);
        assert!(Preamble::check_sum(&bytes, b"abc").is_err());
        let sum = sum(&bytes, b"abc");
        bytes[SUM_AT..].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(Preamble::decode(&bytes), Ok(sample()));
    }

    #[test]
    fn a_control_record_has_a_short_body_and_no_buffers() {
        let control = |header_len, buffers| Preamble {
            header_len,
            buffers,
            ..Preamble::control(RecordKind::Ping, 0, 7)
        };
        assert!(Preamble::decode(&control(4096, 0).encode(&[0; 4096])).is_ok());
        assert!(matches!(
            Preamble::decode(&control(4097, 0).encode(&[0; 4097])),
            Err(DecodeError::HeaderTooLong {
                len: 4097,
                max: 4096
            })
        ));
        assert!(matches!(
            Preamble::decode(&control(0, 1).encode(&[])),
            Err(DecodeError::ControlWithBuffers { kind: 0x86 })
        ));
    }

    #[test]
    fn a_foreign_protocol_is_named() {
        let mut bytes = [0; PREAMBLE_LEN];
        bytes[..8].copy_from_slice(b"GET / HT");
        let error = Preamble::decode(&bytes).unwrap_err();
        assert!(error.to_string().contains("HTTP"), "{error}");
    }
}
