//! What goes wrong from outside, and what each side must make of it.

use numpush_message::{DecodeError, Hello, PREAMBLE_LEN, Preamble, RecordKind};
use numpush_session::{Fault, Refusal};

use crate::content::{Content, Way};
use crate::ledger::{Check, expect};
use crate::random::Random;
use crate::side::{Side, Wires};

/// What goes wrong in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    Nothing,
    /// The connection is gone once this many bytes are written.
    Cut(u64),
    /// A byte is changed.
    Flip(u64, u8),
    /// From this byte on the bytes come slowly, this many in a second.
    Slow(u64, usize),
    /// A side hangs up in this step.
    Leave(usize),
    /// A side tells this lie in this step, or soon after.
    Lie(Lie, usize),
    /// The other side can never have room for more than this.
    Narrow(usize),
}

/// What a peer may do that no honest one does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    SecondHello,
    SkipsNumber,
    RepeatsNumber,
    AcksUnsent,
    TakesAckBack,
    TakesCreditBack,
    ClosesEarly,
    ClosesTwice,
    SendsAfterClose,
    Floods,
    UnknownKind,
    TooLarge,
    HeaderTooLong,
    ReleasesUnsent,
    StrayDescriptor,
    TwoDescriptors,
    Garbage,
}

impl Trouble {
    pub(crate) fn new(random: &mut Random) -> Self {
        let position = random.pick(&[200, 2_000, 20_000]);
        let position = random.of(0..=position) as u64;
        match random.of(0..=13) {
            0 => Self::Cut(position),
            1 | 2 => Self::Flip(position, 1 << random.of(0..=7)),
            3 => Self::Slow(position, random.of(0..=3)),
            4 => Self::Leave(random.of(0..=300)),
            5..=7 => Self::Lie(random.pick(&Lie::ALL), random.of(0..=200)),
            8 => Self::Narrow(random.pick(&[0, 100, 10_000])),
            _ => Self::Nothing,
        }
    }

    /// Checks how the side ended at which the trouble shows. `happened`: it did come to pass.
    pub(crate) fn check(self, end: Option<&Fault>, happened: bool) -> Check {
        let ok = match (self, end) {
            (Self::Nothing, end) => end.is_none(),
            (Self::Cut(_) | Self::Leave(_), end) => {
                matches!(end, None | Some(Fault::Ended { .. }))
            }
            (Self::Flip(..), None) => true,
            (Self::Flip(..), Some(fault)) => {
                happened
                    && matches!(
                        fault,
                        Fault::Invalid(_)
                            | Fault::Violation(_)
                            | Fault::OverCredit { .. }
                            | Fault::Stalled { .. }
                            | Fault::Ended { .. }
                    )
            }
            (Self::Slow(..), end) => matches!(end, None | Some(Fault::Stalled { .. })),
            (Self::Lie(lie, _), end) if happened => lie.is_named(end),
            (Self::Lie(..), end) => end.is_none(),
            (Self::Narrow(_), None) => true,
            (Self::Narrow(_), Some(fault)) => {
                matches!(fault, Fault::NoRoom(error) if error.is_permanent())
            }
        };
        expect(ok, || format!("{self:?} ({happened}) ends with {end:?}"))
    }
}

impl Lie {
    const ALL: [Self; 17] = [
        Self::SecondHello,
        Self::SkipsNumber,
        Self::RepeatsNumber,
        Self::AcksUnsent,
        Self::TakesAckBack,
        Self::TakesCreditBack,
        Self::ClosesEarly,
        Self::ClosesTwice,
        Self::SendsAfterClose,
        Self::Floods,
        Self::UnknownKind,
        Self::TooLarge,
        Self::HeaderTooLong,
        Self::ReleasesUnsent,
        Self::StrayDescriptor,
        Self::TwoDescriptors,
        Self::Garbage,
    ];

    /// True if `end` is the right name of the lie.
    fn is_named(self, end: Option<&Fault>) -> bool {
        let text = match end {
            // A program that takes messages faster than they come can be flooded and not know it: then it acknowledges what
            // the liar's session never sent, which that one does not stand.
            None | Some(Fault::Refused(Refusal::InvalidMessage)) => return self == Self::Floods,
            Some(Fault::Violation(text)) => text,
            Some(Fault::OverCredit { .. }) => return self == Self::Floods,
            Some(Fault::Invalid(error)) => {
                return match self {
                    Self::UnknownKind => *error == DecodeError::UnknownKind { kind: 0x20 },
                    Self::TooLarge => matches!(error, DecodeError::PayloadTooLong { .. }),
                    Self::HeaderTooLong => matches!(error, DecodeError::HeaderTooLong { .. }),
                    Self::Garbage => matches!(error, DecodeError::ForeignProtocol { .. }),
                    _ => false,
                };
            }
            Some(_) => return false,
        };
        *text
            == match self {
                Self::SecondHello => "a second hello",
                Self::SkipsNumber | Self::RepeatsNumber => "a message is missing or came twice",
                Self::AcksUnsent => "it acknowledges a message that was never sent",
                Self::TakesAckBack => "it takes an acknowledgement back",
                Self::TakesCreditBack => "it takes credit back",
                Self::ClosesEarly | Self::ClosesTwice | Self::Floods => {
                    "it closes twice, or after other messages"
                }
                Self::SendsAfterClose => "a message came after it had closed",
                Self::ReleasesUnsent => "it releases a message that was never sent",
                Self::StrayDescriptor => "a descriptor came with no segment",
                Self::TwoDescriptors => "two descriptors came with one record",
                _ => return false,
            }
    }

    /// True if `fault` is what the liar may hear of it.
    pub(crate) fn comes_back_as(self, fault: &Fault) -> bool {
        let reason = match self {
            Self::Floods => {
                return matches!(
                    fault,
                    Fault::Refused(Refusal::OverCredit | Refusal::InvalidMessage)
                        | Fault::Violation(_)
                );
            }
            Self::TooLarge => Refusal::TooLarge,
            _ => Refusal::InvalidMessage,
        };
        matches!(fault, Fault::Refused(told) if *told == reason)
    }

    /// Tells the lie if the time is right for it. True if it was told.
    pub(crate) fn tell(self, side: &mut Side, peer: &Side, wires: &mut Wires<'_>) -> Check<bool> {
        let out = &side.outbound;
        let is_ready = out.peer().is_some() && out.is_drained() && !out.is_busy();
        let is_open = !out.is_closed() && !out.is_broken() && side.end.is_none();
        if !is_ready || !is_open && !matches!(self, Self::ClosesTwice | Self::SendsAfterClose) {
            return Ok(false);
        }
        side.outbound.owe(side.inbound.debt());
        let numpush_session::Debt {
            ack, credit, taken, ..
        } = side.inbound.debt();
        let last = side.outbound.last_id();
        let control = |kind, id, argument| {
            Preamble::control(kind, id, argument)
                .with_ack(ack)
                .encode(&[])
        };
        let forged = |ack| {
            Preamble::control(RecordKind::Ack, taken, credit)
                .with_ack(ack)
                .encode(&[])
        };
        let message = |id| message_head(id, ack, 64, 0);
        let max = peer.config.hello.max;
        let bytes = match self {
            Self::SecondHello => hello(ack),
            Self::SkipsNumber => message(last + 2),
            Self::RepeatsNumber => message(last),
            Self::AcksUnsent => forged(ack + 1000).into(),
            Self::TakesAckBack if peer.acknowledged() > 0 => forged(0).into(),
            Self::TakesCreditBack if side.config.hello.credit > 0 => {
                control(RecordKind::Ack, 0, side.config.hello.credit - 1).into()
            }
            Self::ClosesEarly => control(RecordKind::Close, last + 1, 0).into(),
            Self::ClosesTwice if out_is_closed(side) => control(RecordKind::Close, last, 0).into(),
            Self::SendsAfterClose if out_is_closed(side) => message(last + 1),
            Self::UnknownKind => {
                let mut bytes = control(RecordKind::Ping, 0, 0);
                bytes[5] = 0x20;
                bytes.into()
            }
            Self::TooLarge => message_head(last + 1, ack, (max / 64 + 1) * 64, 0),
            Self::HeaderTooLong => message_head(last + 1, ack, 64, 200_000),
            Self::ReleasesUnsent => control(RecordKind::Release, last + 5000, 0).into(),
            Self::Garbage => vec![0x41; PREAMBLE_LEN],
            Self::StrayDescriptor => {
                let ping = Preamble::control(RecordKind::Ack, taken, credit).with_ack(ack);
                wires.out.put(&ping.encode(&[]), Some(99));
                return Ok(true);
            }
            Self::TwoDescriptors => {
                let record = control(RecordKind::Segment, 9, 1);
                wires.out.put(&record[..20], Some(98));
                wires.out.put(&record[20..], Some(99));
                return Ok(true);
            }
            Self::Floods => return flood(side, peer, ack, wires),
            _ => return Ok(false),
        };
        wires.out.put(&bytes, None);
        Ok(true)
    }
}

fn hello(ack: u64) -> Vec<u8> {
    let mut record = Hello::new(7).encode();
    let (first, body) = record.split_first_chunk_mut::<PREAMBLE_LEN>().unwrap();
    let preamble = Preamble::decode(first).unwrap().with_ack(ack);
    *first = preamble.encode(&body[..preamble.header_len as usize]);
    record
}

fn out_is_closed(side: &Side) -> bool {
    side.outbound.is_closed()
}

/// Sends far more than there is credit for.
fn flood(side: &mut Side, peer: &Side, ack: u64, wires: &mut Wires<'_>) -> Check<bool> {
    let credit = peer.config.hello.credit;
    if credit > 3_000 || peer.varies {
        return Ok(false);
    }
    let mut random = Random::new(ack);
    let mut sent = 0;
    let mut number = side.outbound.last_id();
    side.plan.clear();
    while sent < 2 * credit + 3_000 {
        let mut content = Content::new(&mut random);
        content.shorten();
        content.way = Way::Write;
        number += 1;
        let message = content.message();
        let flags = numpush_message::Flags::default();
        let mut encoder = numpush_message::Encoder::new(&message, flags).unwrap();
        encoder.stamp(numpush_message::Stamp {
            id: number,
            ack,
            ..Default::default()
        });
        wires.ours.begin(content, number, encoder.charge())?;
        sent += encoder.charge();
        wires.out.put(&encoder.copy_rest(), None);
    }
    Ok(true)
}

/// The start of a message: what follows does not matter.
fn message_head(id: u64, ack: u64, payload_len: u64, header_len: u32) -> Vec<u8> {
    let preamble = Preamble {
        kind: RecordKind::Bytes,
        header_len,
        buffers: 1,
        id,
        ..Preamble::control(RecordKind::Ping, 0, payload_len).with_ack(ack)
    };
    preamble.encode(&vec![0; header_len as usize]).into()
}
