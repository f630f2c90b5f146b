//! What the tests say and hear: records by hand, and sessions that have greeted.

use std::time::Instant;

use numpush_message::{
    Buffer, Encoder, Flags, HeapAllocator, Hello, Message, PREAMBLE_LEN, Preamble, RecordKind,
    Stamp,
};
use numpush_session::{Arrival, Config, Event, Fault, Front, Inbound, Outbound, Tag};

pub(crate) const MAX: u64 = 1 << 20;

pub(crate) fn config() -> Config {
    Config::new(Hello::new(MAX))
}

pub(crate) fn with_credit(credit: u64) -> Config {
    let mut hello = Hello::new(MAX);
    hello.credit = credit;
    Config::new(hello)
}

pub(crate) fn text(len: usize) -> Message<'static> {
    Message::new(Buffer::from(vec![7; len]))
}

/// The record of a message.
pub(crate) fn message(len: usize, id: u64, ack: u64) -> Vec<u8> {
    let message = text(len);
    let mut encoder = encoder(&message);
    encoder.stamp(Stamp {
        id,
        ack,
        ..Stamp::default()
    });
    encoder.copy_rest()
}

pub(crate) fn encoder<'m>(message: &'m Message<'m>) -> Encoder<'m> {
    Encoder::new(message, Flags::default()).unwrap()
}

/// The same record as a message of a kind that nobody knows.
pub(crate) fn ancillary(mut record: Vec<u8>) -> Vec<u8> {
    let (first, rest) = record.split_first_chunk_mut::<PREAMBLE_LEN>().unwrap();
    let mut preamble = Preamble::decode(first).unwrap();
    preamble.kind = RecordKind::AncillaryMessage(0x55);
    *first = preamble.encode(&rest[..preamble.header_len as usize]);
    record
}

pub(crate) fn control(kind: RecordKind, id: u64, argument: u64, ack: u64) -> Vec<u8> {
    let preamble = Preamble::control(kind, id, argument).with_ack(ack);
    preamble.encode(&[]).into()
}

pub(crate) fn ack(ack: u64, credit: u64) -> Vec<u8> {
    control(RecordKind::Ack, 0, credit, ack)
}

/// An incoming direction that has heard a hello.
pub(crate) fn inbound(config: &Config) -> Inbound<u32> {
    let mut inbound = Inbound::new(config);
    let arrivals = feed(&mut inbound, &Hello::new(MAX).encode()).unwrap();
    assert!(matches!(arrivals[0].event, Event::Hello(_)));
    inbound
}

/// An outgoing direction whose peer said `hello`, with nothing to write.
pub(crate) fn outbound(config: &Config, hello: Hello) -> Outbound<u32> {
    let mut outbound = Outbound::new(config);
    let event = Event::Hello(hello);
    outbound.hear(&Arrival::<u32> { ack: 0, event }).unwrap();
    drain(&mut outbound);
    outbound
}

pub(crate) fn hear(outbound: &mut Outbound<u32>, ack: u64, event: Event<u32>) -> Result<(), Fault> {
    outbound.hear(&Arrival { ack, event })
}

/// Lets bytes come, and takes out all that is in them.
pub(crate) fn feed(inbound: &mut Inbound<u32>, bytes: &[u8]) -> Result<Vec<Arrival<u32>>, Fault> {
    feed_at(inbound, bytes, None, Instant::now())
}

pub(crate) fn feed_at(
    inbound: &mut Inbound<u32>,
    mut bytes: &[u8],
    mut descriptor: Option<u32>,
    now: Instant,
) -> Result<Vec<Arrival<u32>>, Fault> {
    let mut heap = HeapAllocator::new();
    let mut arrivals = Vec::new();
    while !bytes.is_empty() {
        let spare = inbound.spare()?;
        let count = spare.len().min(bytes.len());
        spare[..count].copy_from_slice(&bytes[..count]);
        bytes = &bytes[count..];
        inbound.filled(count, descriptor.take(), now, &mut heap)?;
        while let Some(arrival) = inbound.next(&mut heap)? {
            let is_last = matches!(arrival.event, Event::Refused(_));
            arrivals.push(arrival);
            if is_last {
                return Ok(arrivals);
            }
        }
    }
    Ok(arrivals)
}

/// The fault that bytes lead to, and that every later call leads to one.
pub(crate) fn fault(inbound: &mut Inbound<u32>, bytes: &[u8]) -> Fault {
    let fault = feed(inbound, bytes).unwrap_err();
    assert!(!fault.is_recoverable());
    let mut heap = HeapAllocator::new();
    inbound.spare().unwrap_err();
    inbound.next(&mut heap).unwrap_err();
    inbound
        .filled(1, None, Instant::now(), &mut heap)
        .unwrap_err();
    inbound.found_nothing(Instant::now()).unwrap_err();
    inbound.ended().unwrap_err();
    fault
}

/// Writes everything that waits.
pub(crate) fn drain(outbound: &mut Outbound<u32>) -> Vec<u8> {
    let mut written = Vec::new();
    while let Some(count) = write_some(outbound, usize::MAX, &mut written) {
        outbound.written(count);
    }
    written
}

/// Writes at most `limit` bytes of what waits in front, and does not report it.
pub(crate) fn write_some(
    outbound: &mut Outbound<u32>,
    limit: usize,
    written: &mut Vec<u8>,
) -> Option<usize> {
    let bytes = match outbound.front()? {
        Front::Control(bytes) => bytes,
        Front::Descriptor(_, bytes) => bytes,
        Front::Record(encoder) => encoder.next().unwrap().bytes,
    };
    let count = bytes.len().min(limit);
    written.extend_from_slice(&bytes[..count]);
    Some(count)
}

/// Sends a message whole. Returns its bytes, with those that waited before it.
pub(crate) fn send(outbound: &mut Outbound<u32>, len: usize) -> Vec<u8> {
    let mut written = drain(outbound);
    let message = text(len);
    let mut encoder = encoder(&message);
    outbound.begin(&mut encoder, Tag::default()).unwrap();
    outbound.refresh(&mut encoder);
    outbound.departed(&encoder);
    written.extend(encoder.copy_rest());
    outbound.done(Vec::new());
    written
}

/// The preambles of records.
pub(crate) fn preambles(mut bytes: &[u8]) -> Vec<Preamble> {
    let mut found = Vec::new();
    while let Some((first, _)) = bytes.split_first_chunk() {
        let preamble = Preamble::decode(first).unwrap();
        found.push(preamble);
        bytes = &bytes[usize::try_from(preamble.record_len()).unwrap()..];
    }
    found
}

pub(crate) fn violation(fault: &Fault) -> &'static str {
    match fault {
        Fault::Violation(text) => text,
        fault => panic!("{fault:?} is no violation"),
    }
}
