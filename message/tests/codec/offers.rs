//! What is sent only to those who offer to take it, and is refused by name by those who do not.

use numpush_message::{
    Buffer, DecodeError, Encoder, Flags, Header, HeaderBody, Limits, Message, PREAMBLE_LEN, Part,
    Preamble, RecordKind,
};

use crate::bytes::{decode, encode, forged, mend};
use crate::samples::{array, frame, samples};

/// A record with this header and flags, and with room for what its one buffer claims.
fn flagged(kind: RecordKind, header: &[u8], flags: Flags) -> Vec<u8> {
    let mut record = forged(kind, header, 1, &[0; 64]);
    let first = record.first_chunk_mut::<PREAMBLE_LEN>().unwrap();
    let preamble = Preamble {
        flags,
        ..Preamble::decode(first).unwrap()
    };
    *first = preamble.encode(header);
    record
}

fn refuse(record: &[u8]) -> DecodeError {
    let error = decode(record, || usize::MAX).unwrap_err();
    let opened = Message::open(&Buffer::copy_of(record), &Limits::default());
    assert_eq!(opened, Err(error.clone()));
    error
}

#[test]
fn compressed_payloads_are_refused_by_their_codec() {
    let compressed = Flags {
        compressed: true,
        ..Flags::default()
    };
    let header = b"\x83\xa4bufs\x91\x05\xa5codec\xa3lz4\xa3raw\x91\x20";
    let record = flagged(RecordKind::Bytes, header, compressed);
    let codec = "lz4".to_owned();
    assert_eq!(refuse(&record), DecodeError::Codec { codec });
    // The flag and the keys go together.
    let error = refuse(&flagged(RecordKind::Bytes, header, Flags::default()));
    assert!(matches!(error, DecodeError::Header { .. }), "{error}");
    let plain = b"\x81\xa4bufs\x91\x05";
    let error = refuse(&flagged(RecordKind::Bytes, plain, compressed));
    assert!(matches!(error, DecodeError::Header { .. }), "{error}");
    let without = b"\x82\xa4bufs\x91\x05\xa5codec\xa3lz4";
    let error = refuse(&flagged(RecordKind::Bytes, without, compressed));
    assert!(matches!(error, DecodeError::Header { .. }), "{error}");
    let mut long = Vec::from(b"\x83\xa4bufs\x91\x05\xa5codec\xd9\x28");
    long.extend([b'x'; 40]);
    long.extend(b"\xa3raw\x91\x20");
    let error = refuse(&flagged(RecordKind::Bytes, &long, compressed));
    assert!(
        matches!(error, DecodeError::OverLimit { max: 32, .. }),
        "{error}"
    );
}

#[test]
fn schemas_by_number_are_refused() {
    let not_offered = |header: &[u8]| match refuse(&forged(RecordKind::Frame, header, 0, &[])) {
        DecodeError::NotOffered { what } => what.contains("schema"),
        _ => false,
    };
    assert!(not_offered(b"\x83\xa4bufs\x90\xa4rows\x03\xa6schema\x07"));
    assert!(not_offered(
        b"\x84\xa4bufs\x90\xa4cols\x90\xa4rows\x03\xa6schema\x07"
    ));
    assert!(!not_offered(b"\x83\xa4bufs\x90\xa4rows\x03\xa6schema\x00"));
    let counts = |counts: &[u8]| {
        let mut header = Vec::from(b"\x84\xa4bufs\x90\xa6counts");
        header.extend(counts);
        header.extend(b"\xa4rows\x03\xa6schema\x07");
        header
    };
    assert!(not_offered(&counts(b"\x93\x00\x01\x00")));
    for wrong in [
        &b"\x92\x00\x00"[..],
        b"\x90",
        b"\x91\xa1x",
        b"\x91\xff",
        b"\xdd\xff\xff\xff\xff",
    ] {
        assert!(!not_offered(&counts(wrong)), "{wrong:x?}");
    }
    for golden in [
        &include_bytes!("../../../tests/golden/schema-given.record")[..],
        include_bytes!("../../../tests/golden/schema-by-number.record"),
    ] {
        let what = "the number of a schema";
        assert_eq!(refuse(golden), DecodeError::NotOffered { what });
    }
}

#[test]
fn types_with_children_and_views_are_refused_by_name() {
    for name in [
        "+l", "+L", "+w:3", "+s", "+m", "+ud:0,1", "+us:0", "+r", "+vl", "+vL", "vu", "vz",
    ] {
        // Metadata, children and variadic buffers of any depth: the type is named before they are looked at.
        let mut header = Vec::from(b"\x83\xa4bufs\x90\xa4cols\x91\x98\xa1x");
        header.push(0xa0 | u8::try_from(name.len()).unwrap());
        header.extend(name.as_bytes());
        header.extend(b"\x00\x00\xc0\xc0");
        header.extend([0x91; 1000]);
        let error = refuse(&forged(RecordKind::Frame, &header, 0, &[]));
        let DecodeError::ColumnType(error) = error else {
            panic!("{name}: {error}");
        };
        assert_eq!(error.column_type, name);
    }
    let flat =
        b"\x83\xa4bufs\x92\x00\x03\xa4cols\x91\x97\xa1x\xa1c\x00\x00\xc0\xc0\x90\xa4rows\x03";
    let error = refuse(&forged(RecordKind::Frame, flat, 2, &[0; 64]));
    assert!(
        matches!(
            error,
            DecodeError::Header {
                field: "column",
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_part_is_read_and_refused() {
    let bytes = Buffer::from(vec![7; 100_000]);
    let part = Part {
        offset: 1 << 40,
        total: 1 << 41,
        transfer: 9,
    };
    for part in [part, Part { total: 0, ..part }] {
        let record = Encoder::part(part, &bytes, Flags::with_checksums(true))
            .unwrap()
            .copy_rest();
        let (preamble, header) = Header::parse(&record, &Limits::default()).unwrap();
        assert_eq!(preamble.kind, RecordKind::Part);
        assert_eq!(header.body, HeaderBody::Part(part));
        assert_eq!(header.buffer_lens(), [100_000]);
        let (offset, transfer) = (part.offset, part.transfer);
        assert_eq!(refuse(&record), DecodeError::Part { offset, transfer });
        // Before its bytes are waited for.
        let head = &record[..record.len() - 100_000];
        assert!(decode(head, || usize::MAX).is_err());
    }
    for part in [
        Part {
            total: 1 << 40,
            ..part
        },
        Part {
            offset: u64::MAX,
            ..part
        },
    ] {
        let record = Encoder::part(part, &bytes, Flags::default())
            .unwrap()
            .copy_rest();
        assert!(matches!(refuse(&record), DecodeError::OverLimit { .. }));
    }
}

#[test]
fn buffers_begin_where_the_sender_wants() {
    for align in [64, 128, 4096, 2 << 20] {
        for message in samples() {
            let flags = Flags::with_checksums(true);
            let encoder = Encoder::with_align(&message, flags, align).unwrap();
            let len = encoder.preamble().record_len();
            let record = encoder.copy_rest();
            assert_eq!(record.len() as u64, len);
            assert_eq!(
                decode(&record, || usize::MAX).unwrap().as_ref(),
                Some(&message)
            );
            let (preamble, header) = Header::parse(&record, &Limits::default()).unwrap();
            let offsets = header.buffer_offsets(&preamble);
            for (at, buffer) in offsets.zip(message.buffers()) {
                let at = usize::try_from(at).unwrap();
                assert!(at % align == 0 && record[at..].starts_with(buffer));
            }
            let opened = Message::open(&record.clone().into(), &Limits::default());
            let opened = opened.unwrap();
            assert_eq!(opened, message);
            for buffer in opened.buffers().filter(|buffer| !buffer.is_empty()) {
                let first = opened.buffers().find(|one| !one.is_empty()).unwrap();
                assert_eq!((buffer.as_ptr().addr() - first.as_ptr().addr()) % align, 0);
            }
        }
    }
    let message = array(3);
    for align in [0, 32, 96, 4 << 20] {
        assert!(Encoder::with_align(&message, Flags::default(), align).is_err());
    }
    // The default is not written, and nothing else is taken.
    for align in [b"\x40".as_slice(), b"\x60", b"\xce\x00\x40\x00\x00"] {
        let mut header = Vec::from(b"\x82\xa5align");
        header.extend(align);
        header.extend(b"\xa4bufs\x91\x05");
        let error = refuse(&forged(RecordKind::Bytes, &header, 1, &[0; 64]));
        assert!(
            matches!(error, DecodeError::Header { field: "align", .. }),
            "{error}"
        );
    }
}

#[test]
fn sums_are_bound_to_their_record() {
    // The payload of one message under the header of another.
    let (one, other) = (encode(&array(100), true), encode(&array(101), true));
    let mut mixed = other;
    let at = one.len() - 136;
    mixed[at..].copy_from_slice(&one[at..]);
    let error = decode(&mixed, || usize::MAX).unwrap_err();
    assert!(
        matches!(error, DecodeError::PayloadChecksum { chunk: 0, .. }),
        "{error}"
    );
}

#[test]
fn references_are_summed() {
    let message = Message::from(frame());
    let reference = numpush_message::Reference {
        segment: 1,
        offset: 640,
    };
    let references = vec![reference; message.buffers().count()];
    let encoder = Encoder::new(&message, Flags::default()).unwrap();
    let record = encoder.by_reference(&references).copy_rest();
    let table = record.len() - references.len() * 16 - 8;
    assert_eq!(
        decode(&record, || usize::MAX),
        Ok(None),
        "no message by itself"
    );
    for at in table..record.len() {
        let mut damaged = record.clone();
        damaged[at] ^= 4;
        let error = decode(&damaged, || 100).unwrap_err();
        assert!(
            matches!(error, DecodeError::TableChecksum { .. }),
            "{at}: {error}"
        );
    }
    // Under another number the preamble has another sum, and the table does not belong to it.
    let mut moved = record;
    moved[24] ^= 1;
    mend(&mut moved);
    let error = decode(&moved, || usize::MAX).unwrap_err();
    assert!(
        matches!(error, DecodeError::TableChecksum { .. }),
        "{error}"
    );
}
