//! The records besides messages: `docs/wire.md`, "Session".

use numpush_message::{DecodeError, Hello, PREAMBLE_LEN, Preamble, Record, RecordKind, VERSION};

use crate::error::{Error, Refusal};

/// The peer's first record as its hello.
pub(super) fn hello_of(record: &Record, peer: &str) -> Result<Hello, Error> {
    let invalid = |source| Error::InvalidMessage {
        peer: peer.to_owned(),
        source,
    };
    match record {
        Record::Control(preamble, body) if preamble.kind == RecordKind::Hello => {
            let hello = Hello::decode(preamble, body).map_err(invalid)?;
            if hello.versions.contains(&VERSION) {
                return Ok(hello);
            }
            let theirs = *hello.versions.start();
            Err(invalid(DecodeError::Version {
                theirs,
                ours: VERSION,
            }))
        }
        Record::Control(preamble, _) if preamble.kind == RecordKind::Refuse => {
            Err(Error::Refused {
                peer: peer.to_owned(),
                reason: Refusal::from_wire(u32::try_from(preamble.id).unwrap_or(u32::MAX)),
            })
        }
        _ => Err(Error::ProtocolViolation {
            peer: peer.to_owned(),
            fault: "its first record is not a hello",
        }),
    }
}

/// A control record.
pub(super) fn control(kind: RecordKind, id: u64, argument: u64) -> [u8; PREAMBLE_LEN] {
    Preamble::control(kind, id, argument).encode(&[])
}

/// An acknowledgement of every message up to `last`.
pub(super) fn ack(last: u64) -> [u8; PREAMBLE_LEN] {
    let ack = Preamble::control(RecordKind::Ack, 0, 0);
    ack.with_ack(last).encode(&[])
}

/// A refusal.
pub(super) fn refuse(reason: Refusal) -> [u8; PREAMBLE_LEN] {
    control(RecordKind::Refuse, reason.to_wire().into(), 0)
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
