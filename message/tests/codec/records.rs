//! What stands around messages: stamps, control records with bodies, hellos, and records of later versions.

use numpush_message::{
    Array, Buffer, DecodeError, Decoder, Element, Encoder, Flags, HeapAllocator, Hello, Limits,
    Message, PREAMBLE_LEN, Preamble, Record, RecordKind, Reference, Stamp,
};

use crate::bytes::{encode, forged};
use crate::samples::{array, samples};

/// The records of a stream that comes in pieces of `piece` bytes, up to the first fault.
fn records(bytes: &[u8], piece: usize) -> (Vec<Record>, Option<DecodeError>) {
    let (mut decoder, mut heap) = (Decoder::new(Limits::default()), HeapAllocator::new());
    let (mut rest, mut records) = (bytes, Vec::new());
    while !rest.is_empty() {
        let spare = decoder.spare().unwrap();
        let (now, later) = rest.split_at(spare.len().min(rest.len()).min(piece));
        spare[..now.len()].copy_from_slice(now);
        match decoder.filled(now.len(), &mut heap) {
            Ok(record) => records.extend(record),
            Err(error) => return (records, Some(error)),
        }
        rest = later;
    }
    assert!(decoder.is_idle(), "{} bytes are missing", decoder.missing());
    (records, None)
}

fn control(kind: RecordKind, body: &[u8]) -> Vec<u8> {
    let preamble = Preamble {
        header_len: u32::try_from(body.len()).unwrap(),
        ..Preamble::control(kind, 3, 4)
    };
    let mut record = Vec::from(preamble.with_ack(2).encode(body));
    record.extend_from_slice(body);
    record.resize(record.len().next_multiple_of(64), 0);
    record
}

#[test]
fn control_records_and_messages_follow_one_another_in_any_pieces() {
    let ancillary = RecordKind::AncillaryControl(0xc5);
    let mut stream = control(RecordKind::Ping, &[]);
    stream.extend(control(RecordKind::Close, &[7; 65]));
    stream.extend(control(ancillary, &[8; 4096]));
    stream.extend(encode(&array(5), true));
    stream.extend(Hello::new(9).encode());
    for piece in [1, 63, 64, 65, 1000, usize::MAX] {
        let (records, error) = records(&stream, piece);
        assert_eq!(error, None);
        let [ping, close, skipped, message, hello] = records.as_slice() else {
            panic!("{records:?}");
        };
        let Record::Control(ping, body) = ping else {
            panic!("{ping:?}");
        };
        assert_eq!((ping.id, ping.payload_len, ping.ack), (3, 4, 2));
        assert!(body.is_empty());
        assert!(matches!(close, Record::Control(_, body) if *body == [7; 65]));
        assert!(
            matches!(skipped, Record::Control(one, body) if one.kind == ancillary && body.len() == 4096)
        );
        assert!(matches!(message, Record::Message(_, message) if *message == array(5)));
        let Record::Control(preamble, body) = hello else {
            panic!("{hello:?}");
        };
        assert_eq!(Hello::decode(preamble, body), Ok(Hello::new(9)));
    }
}

#[test]
fn the_body_of_a_control_record_is_summed_and_padded() {
    let mut damaged = control(RecordKind::Ping, &[7; 10]);
    damaged[70] ^= 1;
    let error = records(&damaged, usize::MAX).1.unwrap();
    assert!(
        matches!(error, DecodeError::HeaderChecksum { .. }),
        "{error}"
    );
    let mut dirty = control(RecordKind::Ping, &[7; 10]);
    dirty[80] = 1;
    let error = records(&dirty, usize::MAX).1.unwrap();
    assert!(matches!(error, DecodeError::Padding { .. }), "{error}");
}

#[test]
fn messages_of_later_versions_are_passed_over_whole() {
    let kind = RecordKind::AncillaryMessage(0x41);
    for payload in [0, 64, 300 << 10] {
        // No canonical header, no known keys: nobody here looks.
        let mut stream = forged(kind, &[0xc1; 70_000], 9, &vec![5; payload]);
        let len = stream.len() as u64;
        stream.extend(encode(&array(5), false));
        for piece in [777, usize::MAX] {
            let (records, error) = records(&stream, piece);
            assert_eq!(error, None);
            assert!(
                matches!(&records[..], [Record::Skipped(one), Record::Message(..)]
                    if one.kind == kind && one.id == 1 && one.record_len() == len),
                "{records:?}"
            );
        }
    }
    let mut damaged = forged(kind, &[0xc1; 100], 9, &[]);
    damaged[100] ^= 1;
    let error = records(&damaged, usize::MAX).1.unwrap();
    assert!(
        matches!(error, DecodeError::HeaderChecksum { .. }),
        "{error}"
    );
    let mut empty = forged(kind, &[], 0, &[]);
    empty[63] ^= 1;
    let error = records(&empty, usize::MAX).1.unwrap();
    assert!(
        matches!(error, DecodeError::HeaderChecksum { .. }),
        "{error}"
    );
}

#[test]
fn an_empty_header_is_a_fault_at_once() {
    for kind in [RecordKind::Bytes, RecordKind::Array, RecordKind::Frame] {
        let (_, error) = records(&forged(kind, &[], 1, &[]), usize::MAX);
        assert!(
            matches!(error, Some(DecodeError::Header { .. })),
            "{error:?}"
        );
    }
}

#[test]
fn keys_that_begin_upper_case_are_passed_over() {
    let good = encode(&array(3), false);
    let len = good[8] as usize;
    let header = &good[PREAMBLE_LEN..PREAMBLE_LEN + len];
    let with = |keys: &[u8], more: u8| {
        let mut longer = vec![header[0] + more];
        longer.extend_from_slice(keys);
        longer.extend_from_slice(&header[1..]);
        let record = forged(RecordKind::Array, &longer, 1, &good[good.len() - 64..]);
        match records(&record, usize::MAX) {
            (records, None) => Ok(records.len()),
            (_, Some(error)) => Err(error),
        }
    };
    assert_eq!(with(b"\xa1A\x01", 1), Ok(1));
    assert_eq!(with(b"\xa1A\x81\xa1a\x92\xc0\xd0\x80\xa1B\xa1x", 2), Ok(1));
    let nested = |depth| {
        [b"\xa1Z".as_slice(), &vec![0x91; depth], &[0]]
            .into_iter()
            .flatten()
            .copied()
            .collect::<Vec<_>>()
    };
    assert_eq!(with(&nested(8), 1), Ok(1));
    assert!(matches!(
        with(&nested(9), 1),
        Err(DecodeError::OverLimit { max: 8, .. })
    ));
    let not_canonical: [&[u8]; 6] = [
        b"\xa1A\xcc\x01",               // a long integer
        b"\xa1A\xd1\x4e\x20",           // a signed form of a positive number
        b"\xa1A\xd9\x01x",              // a long text
        b"\xa1A\x82\xa1b\x01\xa1a\x01", // keys that fall
        b"\xa1B\x01\xa1A\x01",          // keys that fall
        b"\xa1A\x01\xa1A\x01",          // a key twice
    ];
    for (index, keys) in not_canonical.into_iter().enumerate() {
        let more = if index < 4 { 1 } else { 2 };
        assert_eq!(with(keys, more), Err(DecodeError::NotCanonical), "{index}");
    }
    for keys in [
        b"\xa1A\xc3".as_slice(),
        b"\xa1A\xca\0\0\0\0",
        b"\xa1A\xc4\x01x",
        b"\xa1b\x01",
    ] {
        assert!(
            matches!(with(keys, 1), Err(DecodeError::Header { .. })),
            "{keys:x?}"
        );
    }
}

#[test]
fn what_is_stamped_first_is_the_same_record() {
    let message = Message::new(Buffer::copy_of(&[7; 100])).with_attribute("unit", "x".repeat(300));
    for flags in [false, true].map(Flags::with_checksums) {
        let stamp = Stamp {
            id: 7,
            ..Stamp::default()
        };
        let mut late = Encoder::unstamped(&message, flags).unwrap();
        let mut twice = Encoder::new(&message, flags).unwrap();
        assert!(late.stamp(stamp) && twice.stamp(stamp));
        assert_eq!(late.copy_rest(), twice.copy_rest());
    }
}

/// Short payloads are summed before they go, and long ones as they go.
#[test]
fn a_record_is_the_same_however_it_is_written() {
    for len in [0, 1, 65_471, 65_472, 65_535, 65_536, 65_600] {
        let bytes: Vec<u8> = (0..=250).cycle().take(len).collect();
        let message = Message::new(Buffer::borrowed(&bytes));
        for flags in [false, true].map(Flags::with_checksums) {
            let whole = Encoder::new(&message, flags).unwrap().copy_rest();
            let opened = Message::open(&Buffer::copy_of(&whole), &Limits::default());
            assert_eq!(opened.as_ref(), Ok(&message));
            for step in [63, 64, 4096, usize::MAX] {
                let mut encoder = Encoder::new(&message, flags).unwrap();
                let mut written = Vec::new();
                while let Some(next) = encoder.next() {
                    let count = next.bytes.len().min(step);
                    written.extend_from_slice(&next.bytes[..count]);
                    encoder.advance(count);
                }
                assert_eq!(written, whole, "{len} {step}");
                // In the middle it is taken from its caller.
                let mut begun = Encoder::new(&message, flags).unwrap();
                let count = begun.next().unwrap().bytes.len().min(step);
                begun.advance(count);
                let (rest, _) = begun.into_owned();
                assert_eq!(rest.copy_rest(), whole[count..], "{len} {step}");
            }
        }
    }
}

#[test]
fn a_stamp_is_taken_until_the_first_byte_has_gone() {
    let message = array(70_000);
    let mut encoder = Encoder::new(&message, Flags::with_checksums(true)).unwrap();
    let stamp = Stamp {
        id: u64::MAX,
        ack: 1 << 33,
        reply_to: 5,
        channel: u32::MAX,
    };
    assert!(encoder.stamp(Stamp::default()) && encoder.stamp(stamp) && !encoder.is_begun());
    encoder.advance(1);
    assert!(!encoder.stamp(Stamp::default()) && encoder.is_begun());
    let first = encoder.head()[..1].to_owned();
    let record = [first, encoder.copy_rest()]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>();
    let (records, _) = records(&record, usize::MAX);
    let Some(Record::Message(preamble, received)) = records.first() else {
        panic!("{records:?}");
    };
    assert_eq!(*received, message);
    let Preamble {
        id,
        ack,
        reply_to,
        channel,
        ..
    } = *preamble;
    assert_eq!(
        Stamp {
            id,
            ack,
            reply_to,
            channel
        },
        stamp
    );
}

#[test]
fn an_encoder_that_owns_its_buffers_goes_on_where_it_was() {
    for message in samples() {
        let whole = encode(&message, true);
        let step = whole.len().div_ceil(11);
        for begun in (0..whole.len()).step_by(step) {
            let (owned, copied) = {
                let borrowed = message.buffers().map(|buffer| Buffer::borrowed(buffer));
                let copies: Vec<_> = borrowed.map(Message::new).collect();
                // Bytes stand for the one buffer of an array; frames are shared as they are.
                let source = match (&message.as_array(), copies.as_slice()) {
                    (None, [bytes]) => bytes,
                    _ => &message,
                };
                let mut encoder = Encoder::new(source, Flags::with_checksums(true)).unwrap();
                encoder.stamp(Stamp {
                    id: 1,
                    ..Stamp::default()
                });
                encoder.advance(begun);
                encoder.into_owned()
            };
            assert_eq!(owned.is_begun(), begun > 0);
            assert_eq!(
                owned.copy_rest(),
                whole[begun..],
                "{begun} of {}",
                whole.len()
            );
            assert!(copied <= message.payload_len());
        }
    }
}

#[test]
fn what_is_written_is_not_copied() {
    let bytes = [7; 200];
    let message = Message::new(Buffer::borrowed(&bytes));
    let copied = |begun| {
        let mut encoder = Encoder::new(&message, Flags::default()).unwrap();
        encoder.advance(begun);
        encoder.into_owned().1
    };
    let encoder = Encoder::new(&message, Flags::default()).unwrap();
    let all = usize::try_from(encoder.preamble().record_len()).unwrap();
    assert_eq!((copied(0), copied(all)), (200, 0));
    let shared = Message::from(Array::new(u8::SCALAR, &[200], vec![7; 200].into()).unwrap());
    assert_eq!(
        Encoder::new(&shared, Flags::default())
            .unwrap()
            .into_owned()
            .1,
        0
    );
}

#[test]
fn an_encoder_writes_references_in_place_of_the_payload() {
    let message = array(70_000);
    let mut encoder = Encoder::new(&message, Flags::default()).unwrap();
    let reference = Reference {
        segment: 7,
        offset: 1 << 40,
    };
    encoder.stamp(Stamp {
        id: 3,
        ..Stamp::default()
    });
    let encoder = encoder.by_reference(&[reference]);
    let len = encoder.preamble().record_len();
    let record = encoder.copy_rest();
    assert_eq!(record.len() as u64, len);
    let (records, _) = records(&record, 5);
    let Some(Record::Referenced(preamble, header, references)) = records.first() else {
        panic!("{records:?}");
    };
    assert_eq!((preamble.id, preamble.record_len()), (3, len));
    assert_eq!(*references, [reference]);
    let buffers = message.buffers().cloned().collect();
    assert_eq!(header.clone().resolve(buffers), Ok(message.clone()));
}

mod hello {
    use super::*;

    fn full() -> Hello {
        let mut hello = Hello::new(u64::MAX);
        hello.checksums = true;
        hello.codecs = vec!["lz4".into(), "zstd".into()];
        hello.credit = 1 << 40;
        hello.descriptors = 200;
        hello.header = 1 << 20;
        hello.host = "boot-1 net-2".into();
        hello.name = "numpush ä".into();
        hello.parts = true;
        hello.peer = Some(*b"0123456789abcdef");
        hello.schemas = Some((8, 1 << 20));
        hello.segments = 64;
        hello.versions = 1..=3;
        hello
    }

    fn body_of(hello: &Hello) -> Vec<u8> {
        let record = hello.encode();
        let (first, rest) = record.split_first_chunk().unwrap();
        let len = Preamble::decode(first).unwrap().header_len as usize;
        assert_eq!(record.len(), (PREAMBLE_LEN + len).next_multiple_of(64));
        rest[..len].to_owned()
    }

    fn decode(body: &[u8]) -> Result<Hello, DecodeError> {
        Hello::decode(&Preamble::control(RecordKind::Hello, 0, 0), body)
    }

    #[test]
    fn what_is_said_is_heard() {
        for hello in [Hello::new(0), full()] {
            assert_eq!(decode(&body_of(&hello)), Ok(hello));
        }
        let mut long = Hello::new(1);
        long.name = "é".repeat(200);
        assert_eq!(decode(&body_of(&long)).unwrap().name, "é".repeat(127));
    }

    #[test]
    fn the_version_is_the_lower_of_the_two_highest() {
        let with = |versions| {
            let mut hello = Hello::new(1);
            hello.versions = versions;
            hello
        };
        assert_eq!(with(1..=3).common_version(&with(2..=9)), Some(3));
        assert_eq!(with(1..=1).common_version(&with(1..=1)), Some(1));
        assert_eq!(with(1..=1).common_version(&with(2..=3)), None);
        assert_eq!(with(2..=3).common_version(&with(1..=1)), None);
    }

    /// What becomes of the shortest hello with these bytes in front of its keys.
    fn with(keys: &[u8], more: u8) -> Result<Hello, DecodeError> {
        let body = body_of(&Hello::new(1));
        let mut longer = vec![body[0] + more];
        longer.extend_from_slice(keys);
        longer.extend_from_slice(&body[1..]);
        decode(&longer)
    }

    #[test]
    fn ancillary_keys_are_passed_over_and_others_are_not() {
        assert_eq!(with(b"\xa3Any\x93\x01\xa1x\x80", 1), Ok(Hello::new(1)));
        let unknown = with(b"\xa3any\x01", 1);
        assert!(
            matches!(unknown, Err(DecodeError::Header { .. })),
            "{unknown:?}"
        );
    }

    #[test]
    fn values_are_bounded_and_defaults_are_not_written() {
        let bad: [&[u8]; 11] = [
            b"\xa9checksums\x00",
            b"\xa9checksums\x02",
            b"\xa6credit\xce\0\x01\0\0",
            b"\xabdescriptors\xcf\0\0\0\x01\0\0\0\0",
            b"\xa6header\x00x",
            b"\xa4host\xa0",
            b"\xa6codecs\x90",
            b"\xa6codecs\xdc\0\x11",
            b"\xa4host\xa1\0",
            b"\xa4host\xda\x01\0",
            b"\xa4zost\x01",
        ];
        for keys in bad {
            assert!(with(keys, 1).is_err(), "{}", keys.escape_ascii());
        }
        let body = body_of(&full());
        let spoil = |from: &[u8], to: &[u8]| {
            let at = body.windows(from.len()).position(|found| found == from);
            let mut spoilt = body.clone();
            spoilt[at.unwrap()..][..to.len()].copy_from_slice(to);
            decode(&spoilt)
        };
        assert!(spoil(b"303132", b"313132").is_ok());
        assert!(spoil(b"versions\x92\x01\x03", b"versions\x92\x00\x03").is_err());
        assert!(spoil(b"versions\x92\x01\x03", b"versions\x92\x04\x03").is_err());
        let digits = b"30313233343536373839616263646566";
        assert!(spoil(digits, b"3031323334353637383961626364656F").is_err());
        assert!(spoil(digits, b"3G").is_err());
        assert!(decode(&body[..body.len() - 1]).is_err());
        assert!(decode(&[0x80]).is_err(), "max and versions are required");
        let mut tail = body.clone();
        tail.push(0);
        assert_eq!(decode(&tail), Err(DecodeError::NotCanonical));
    }

    #[test]
    fn another_record_is_no_hello() {
        let ping = Preamble::control(RecordKind::Ping, 0, 0);
        assert!(Hello::decode(&ping, &body_of(&full())).is_err());
    }

    #[test]
    fn random_bodies_never_panic() {
        let mut next = crate::bytes::random(3);
        let body = body_of(&full());
        for _ in 0..20_000 {
            let mut damaged = body.clone();
            for _ in 0..=next() % 3 {
                let at = next() % damaged.len();
                damaged[at] = u8::try_from(next() % 256).unwrap();
            }
            if let Ok(hello) = decode(&damaged) {
                assert_eq!(decode(&body_of(&hello)), Ok(hello));
            }
        }
    }
}
