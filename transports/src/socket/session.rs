//! The records besides messages: `docs/wire.md`, "Session".

use numpush_message::{PREAMBLE_LEN, Preamble, RecordKind};

use crate::error::{Error, Refusal};

/// The first record of each side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    /// Largest payload it accepts.
    pub(crate) max_message: u64,
    /// It wants checksums on what it receives.
    pub(crate) checksums: bool,
    /// It takes descriptors and references into segments.
    pub(crate) segments: bool,
}

impl Hello {
    const CHECKSUMS: u32 = 1;
    const SEGMENTS: u32 = 2;

    pub(crate) fn encode(self) -> [u8; PREAMBLE_LEN] {
        let bits = (u32::from(self.checksums) * Self::CHECKSUMS)
            | (u32::from(self.segments) * Self::SEGMENTS);
        control(RecordKind::Hello, bits, self.max_message)
    }

    /// Reads the peer's first record.
    pub(crate) fn decode(bytes: &[u8; PREAMBLE_LEN], peer: &str) -> Result<Self, Error> {
        let preamble = Preamble::decode(bytes).map_err(|source| Error::InvalidMessage {
            peer: peer.to_owned(),
            source,
        })?;
        match preamble.kind {
            RecordKind::Hello => Ok(Self {
                max_message: preamble.payload_len,
                // Bits this version does not know are offers it does not take up.
                checksums: preamble.id & Self::CHECKSUMS != 0,
                segments: preamble.id & Self::SEGMENTS != 0,
            }),
            RecordKind::Refuse => Err(Error::Refused {
                peer: peer.to_owned(),
                reason: Refusal::from_wire(preamble.id),
            }),
            _ => Err(Error::ProtocolViolation {
                peer: peer.to_owned(),
                fault: "its first record is not a hello",
            }),
        }
    }
}

/// A control record.
pub(super) fn control(kind: RecordKind, id: u32, argument: u64) -> [u8; PREAMBLE_LEN] {
    Preamble::control(kind, id, argument).encode(&[])
}

/// A refusal.
pub(super) fn refuse(reason: Refusal) -> [u8; PREAMBLE_LEN] {
    control(RecordKind::Refuse, reason.to_wire(), 0)
}

/// The reasons of refusals, as numbers on the wire.
impl Refusal {
    pub(crate) fn to_wire(self) -> u32 {
        match self {
            Self::InvalidMessage => 1,
            Self::TooLarge => 2,
            Self::User => 3,
            Self::Busy => 4,
            Self::NoRoom => 8,
            Self::Unknown(code) => code,
        }
    }

    pub(crate) fn from_wire(code: u32) -> Self {
        match code {
            1 => Self::InvalidMessage,
            2 => Self::TooLarge,
            3 => Self::User,
            4 => Self::Busy,
            8 => Self::NoRoom,
            code => Self::Unknown(code),
        }
    }
}
