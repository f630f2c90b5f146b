//! Messages to bytes and back: any split, any flipped byte, any truncation.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;

use numpush_message::{
    AllocError, Array, Body, Buffer, BufferAllocator, BufferMut, Column, ColumnData, ColumnError,
    ColumnType, DecodeError, Decoder, Dictionary, EncodeError, Encoder, Flags, Frame, FrameError,
    HeapAllocator, Limits, Message, Preamble, Record, RecordKind, Scalar,
};

fn encode(message: &Message<'_>, checksums: bool) -> Vec<u8> {
    let flags = Flags {
        checksums,
        references: false,
    };
    let encoder = Encoder::new(message, 1, flags).unwrap();
    let len = encoder.record_len();
    let bytes = encoder.copy_rest();
    assert_eq!(bytes.len() as u64, len);
    bytes
}

/// Feeds `bytes` in pieces of the sizes that `piece` returns.
fn decode(
    bytes: &[u8],
    mut piece: impl FnMut() -> usize,
) -> Result<Option<Message<'static>>, DecodeError> {
    let (mut decoder, mut heap) = (Decoder::new(Limits::default()), HeapAllocator::new());
    let mut rest = bytes;
    while !rest.is_empty() {
        let spare = decoder.spare()?;
        assert!(
            !spare.is_empty(),
            "a decoder always has room for the next byte"
        );
        let (now, later) = rest.split_at(spare.len().min(rest.len()).min(piece().max(1)));
        spare[..now.len()].copy_from_slice(now);
        if let Some(Record::Message(_, message)) = decoder.filled(now.len(), &mut heap)? {
            assert!(later.is_empty() && decoder.is_idle());
            return Ok(Some(message));
        }
        rest = later;
    }
    Ok(None)
}

fn array(len: usize) -> Message<'static> {
    let bytes: Vec<u8> = (0..=255).cycle().take(len).collect();
    Message::from(Array::new("|u1".parse::<Scalar>().unwrap(), &[len], bytes.into()).unwrap())
}

fn data(column_type: ColumnType, len: usize, buffers: &[&[u8]]) -> ColumnData<'static> {
    let buffers = buffers.iter().map(|bytes| Buffer::copy_of(bytes)).collect();
    ColumnData::new(column_type, len, buffers).unwrap()
}

const TEXT_OFFSETS: [u8; 16] = [0, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0];

fn text_column(validity: &[u8], offsets: &[u8], values: &[u8]) -> Column<'static> {
    let text = data(ColumnType::Utf8, 3, &[validity, offsets, values]);
    let metadata = BTreeMap::from([("unit".to_owned(), "none".to_owned())]);
    Column::new("text", text)
        .unwrap()
        .with_metadata(metadata)
        .unwrap()
}

fn code_column(codes: &[u8]) -> Column<'static> {
    let values = data(ColumnType::LargeUtf8, 2, &[&[], &le64(&[0, 1, 3]), b"abc"]);
    let dictionary = Dictionary::new(values).with_ordered(true);
    let codes = data(ColumnType::Int8, 3, &[&[], codes]);
    Column::new("code", codes.with_dictionary(dictionary).unwrap()).unwrap()
}

fn flag_column(bits: u8) -> Column<'static> {
    Column::new("flag", data(ColumnType::Bool, 3, &[&[], &[bits]])).unwrap()
}

/// The columns of a frame that is right.
fn columns() -> Vec<Column<'static>> {
    vec![
        text_column(&[0b101], &TEXT_OFFSETS, "éabc".as_bytes()),
        code_column(&[1, 0, 1]),
        flag_column(0b010),
        Column::new("none", data(ColumnType::Null, 3, &[])).unwrap(),
    ]
}

fn frame() -> Frame<'static> {
    let metadata = BTreeMap::from([("pandas".to_owned(), "{}".to_owned())]);
    Frame::new(columns())
        .unwrap()
        .with_metadata(metadata)
        .unwrap()
}

fn le64(values: &[i64]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

/// Small, larger than what is read whole, and larger than a checksum chunk; each kind.
fn samples() -> Vec<Message<'static>> {
    let strided = Array::with_strides(
        "<i2".parse::<Scalar>().unwrap(),
        &[2, 3],
        &[-2, 4],
        vec![9; 12].into(),
    )
    .unwrap();
    vec![
        array(0),
        array(100),
        array(70_000),
        array((1 << 20) + 77),
        Message::from(strided)
            .with_attribute("a", "1")
            .with_attribute("b", "é"),
        Message::new(Body::Bytes(vec![5; 3].into())),
        Message::from(frame()),
        Message::from(Frame::with_rows(7, vec![]).unwrap()),
    ]
}

/// A small generator, so that a failure repeats.
fn random(seed: u64) -> impl FnMut() -> usize {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).unwrap()
    }
}

#[test]
fn any_split_gives_the_same_message() {
    for message in samples() {
        for checksums in [false, true] {
            let bytes = encode(&message, checksums);
            let mut next = random(bytes.len() as u64);
            assert_eq!(
                decode(&bytes, || usize::MAX).unwrap().as_ref(),
                Some(&message)
            );
            assert_eq!(
                decode(&bytes, || next() % 5000).unwrap().as_ref(),
                Some(&message)
            );
            if bytes.len() < 10_000 {
                assert_eq!(decode(&bytes, || 1).unwrap().as_ref(), Some(&message));
            }
            let whole = Message::open(&bytes.into(), &Limits::default());
            assert_eq!(whole.as_ref(), Ok(&message));
        }
    }
}

#[test]
fn buffers_land_aligned_and_in_place() {
    for message in samples() {
        let received = decode(&encode(&message, false), || usize::MAX)
            .unwrap()
            .unwrap();
        for buffer in received.buffers().filter(|buffer| !buffer.is_empty()) {
            assert_eq!(buffer.as_ptr().addr() % numpush_message::ALIGNMENT, 0);
        }
    }
}

#[test]
fn with_checksums_every_flipped_bit_is_found() {
    for message in [array(100), array(70_000), Message::from(frame())] {
        let bytes = encode(&message, true);
        let mut next = random(7);
        let bits = bytes.len() * 8;
        let exhaustive = bits < 10_000;
        for turn in 0..bits.min(3_000) {
            let bit = if exhaustive { turn } else { next() % bits };
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let found = decode(&flipped, || usize::MAX);
            assert!(
                !matches!(&found, Ok(Some(_))),
                "bit {bit} of {}: {found:?}",
                bytes.len()
            );
        }
    }
}

#[test]
fn every_truncation_is_found() {
    let bytes = encode(&Message::from(frame()), true);
    for len in 0..bytes.len() {
        assert_eq!(decode(&bytes[..len], || usize::MAX).unwrap(), None);
        assert!(Message::open(&Buffer::copy_of(&bytes[..len]), &Limits::default()).is_err());
    }
    let mut longer = bytes;
    longer.push(0);
    let error = Message::open(&longer.into(), &Limits::default()).unwrap_err();
    assert_eq!(error, DecodeError::TrailingBytes { count: 1 });
}

/// A record with this header and payload, with the right checksum over whatever it says.
fn forged(kind: RecordKind, header: &[u8], buffers: u32, payload: &[u8]) -> Vec<u8> {
    let header_len = u32::try_from(header.len()).unwrap();
    let flags = Flags::default();
    let preamble = Preamble {
        kind,
        flags,
        header_len,
        buffers,
        payload_len: payload.len() as u64,
        id: 1,
    };
    let mut bytes = Vec::from(preamble.encode(header));
    bytes.extend_from_slice(header);
    bytes.resize(bytes.len().next_multiple_of(64), 0);
    bytes.extend_from_slice(payload);
    bytes
}

fn text(text: &str) -> Vec<u8> {
    let mut bytes = vec![0xa0 | u8::try_from(text.len()).unwrap()];
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

fn header(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat_bytes()
}

trait ConcatBytes {
    fn concat_bytes(&self) -> Vec<u8>;
}

impl ConcatBytes for [&[u8]] {
    fn concat_bytes(&self) -> Vec<u8> {
        self.iter().flat_map(|part| part.iter().copied()).collect()
    }
}

#[test]
fn headers_in_any_other_form_are_refused() {
    let (bufs, dtype, shape) = (text("bufs"), text("dtype"), text("shape"));
    let byte = text("|u1");
    let good = header(&[
        &[0x83],
        &bufs,
        &[0x91, 3],
        &dtype,
        &byte,
        &shape,
        &[0x91, 3],
    ]);
    let payload = [&[1, 2, 3][..], &[0; 61]].as_slice().concat_bytes();
    let read = |header: &[u8], payload: &[u8]| {
        decode(&forged(RecordKind::Array, header, 1, payload), || {
            usize::MAX
        })
    };
    assert!(read(&good, &payload).unwrap().is_some());
    let long_integer = header(&[
        &[0x83],
        &bufs,
        &[0x91, 0xcc, 3],
        &dtype,
        &byte,
        &shape,
        &[0x91, 3],
    ]);
    assert_eq!(
        read(&long_integer, &payload),
        Err(DecodeError::NotCanonical)
    );
    let other_order = header(&[
        &[0x83],
        &bufs,
        &[0x91, 3],
        &shape,
        &[0x91, 3],
        &dtype,
        &byte,
    ]);
    let tail = header(&[&good, &[0xc0]]);
    let twice = header(&[
        &[0x84],
        &bufs,
        &[0x91, 3],
        &bufs,
        &[0x91, 3],
        &dtype,
        &byte,
        &shape,
        &[0x91, 3],
    ]);
    let c_strides = header(&[
        &[0x84],
        &bufs,
        &[0x91, 3],
        &dtype,
        &byte,
        &shape,
        &[0x91, 3],
        &text("strides"),
        &[0x91, 1],
    ]);
    let object = header(&[
        &[0x83],
        &bufs,
        &[0x91, 3],
        &dtype,
        &text("|O"),
        &shape,
        &[0x91, 3],
    ]);
    let bomb = header(&[&[0x83], &bufs, &[0xdd, 0xff, 0xff, 0xff, 0xff]]);
    let huge = header(&[
        &[0x83],
        &bufs,
        &[0x91, 3],
        &dtype,
        &byte,
        &shape,
        &[0x91, 0xcf],
        &[0xff; 8],
    ]);
    let nested = vec![0x91; 1000];
    for bad in [
        &other_order,
        &tail,
        &twice,
        &c_strides,
        &object,
        &bomb,
        &huge,
        &nested,
        &vec![],
    ] {
        let error = read(bad, &payload).unwrap_err();
        assert!(!error.to_string().is_empty(), "{bad:x?}");
    }
    let mut dirty = payload;
    dirty[63] = 1;
    assert_eq!(read(&good, &dirty), Err(DecodeError::Padding { index: 0 }));
    assert!(matches!(
        read(&good, &[0; 128]),
        Err(DecodeError::PayloadLength {
            sum: 64,
            claimed: 128
        })
    ));
}

#[test]
fn claims_are_refused_before_anything_is_allocated_for_them() {
    struct Never;
    impl BufferAllocator for Never {
        fn allocate(&mut self, len: usize) -> Result<Box<dyn BufferMut>, AllocError> {
            panic!("{len} bytes were asked for on the strength of a claim");
        }
    }
    let claim = |header_len, buffers, payload_len| {
        let flags = Flags::default();
        let preamble = Preamble {
            kind: RecordKind::Array,
            flags,
            header_len,
            buffers,
            payload_len,
            id: 1,
        };
        let mut decoder = Decoder::new(Limits::default());
        let bytes = preamble.encode(&[]);
        decoder.spare().unwrap().copy_from_slice(&bytes);
        let result = decoder.filled(bytes.len(), &mut Never).map(|_| ());
        result.map(|()| decoder.spare().unwrap().len())
    };
    assert!(matches!(
        claim(100, 1, 1 << 40),
        Err(DecodeError::PayloadTooLong { .. })
    ));
    assert!(matches!(
        claim(100, 1, u64::MAX),
        Err(DecodeError::PayloadTooLong { .. })
    ));
    assert!(matches!(
        claim(1 << 30, 1, 64),
        Err(DecodeError::HeaderTooLong { .. })
    ));
    assert!(matches!(
        claim(100, u32::MAX, 64),
        Err(DecodeError::TooManyBuffers { .. })
    ));
    let most = u32::try_from(Limits::header(3000)).unwrap();
    assert_eq!(
        claim(most, 3000, 1 << 29),
        Ok(64 << 10),
        "a header is read in steps of 64 KiB"
    );
}

/// The error of a frame with this column in place of the right one, which every reader finds too.
fn refuse(at: usize, column: Column<'static>) -> String {
    let mut columns = columns();
    columns[at] = column;
    let bad = Frame::new(columns).unwrap();
    let error = bad.validate().unwrap_err();
    let found = decode(&encode(&Message::from(bad), false), || usize::MAX);
    assert_eq!(found, Err(DecodeError::Frame(error.clone())));
    error.to_string()
}

#[test]
fn frames_that_contradict_themselves_are_refused() {
    let text = |offsets: &[u8], values: &[u8]| refuse(0, text_column(&[0b101], offsets, values));
    assert!(text(&TEXT_OFFSETS, &[0xff, b'a', b'b', b'c', b'd']).contains("UTF-8"));
    let inside = [0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 5, 0, 0, 0];
    assert!(
        text(&inside, "éabc".as_bytes()).contains("UTF-8"),
        "an offset inside a character"
    );
    let falling = [0, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0];
    assert!(text(&falling, "éabc".as_bytes()).contains("offset 2"));
    let beyond = [0, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 6, 0, 0, 0];
    assert!(text(&beyond, "éabc".as_bytes()).contains("offset 3"));
    let negative = [0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0];
    assert!(text(&negative, "éabc".as_bytes()).contains("offset 0"));
    let padded = text_column(&[0b1101], &TEXT_OFFSETS, "éabc".as_bytes());
    assert!(refuse(0, padded).contains("after the last row"));
    assert!(refuse(2, flag_column(0b1000)).contains("after the last row"));
    assert!(refuse(1, code_column(&[1, 0, 2])).contains("code 2 of row 2"));
    assert!(refuse(1, code_column(&[1, 0xff, 0])).contains("code -1 of row 1"));
}

#[test]
fn columns_that_do_not_fit_are_not_built() {
    let codes = vec![Buffer::default(), vec![1, 0].into()];
    let error = ColumnData::new(ColumnType::Int8, 3, codes).unwrap_err();
    assert!(error.to_string().contains("2 bytes"), "{error}");
    let error = Frame::with_rows(4, columns()).unwrap_err().to_string();
    assert!(error.contains('4'), "{error}");
}

/// What a reader finds in a record of the right frame whose header has `to` in place of `from`.
fn forge_header(from: &[u8], to: &[u8]) -> DecodeError {
    let mut bytes = encode(&Message::from(frame()), false);
    let at = bytes.windows(from.len()).position(|found| found == from);
    bytes[at.unwrap()..][..to.len()].copy_from_slice(to);
    mend(&mut bytes);
    decode(&bytes, || usize::MAX).unwrap_err()
}

#[test]
fn null_counts_that_contradict_the_bitmap_are_refused() {
    let fault = |error| match error {
        DecodeError::Frame(FrameError::Column { fault, .. }) => fault,
        error => panic!("{error}"),
    };
    // Name, type, nullable, null count.
    let two = fault(forge_header(b"text\xa1u\x01\x01", b"text\xa1u\x01\x02"));
    let (claimed, marked) = (2, 1);
    assert_eq!(two, ColumnError::NullCount { claimed, marked });
    let nine = fault(forge_header(b"text\xa1u\x01\x01", b"text\xa1u\x01\x09"));
    assert!(nine.to_string().contains("null count"), "{nine}");
    let zero = fault(forge_header(b"none\xa1n\x01\x03", b"none\xa1n\x01\x00"));
    assert!(zero.to_string().contains("null count"), "{zero}");
    let zero = fault(forge_header(b"text\xa1u\x01\x01", b"text\xa1u\x01\x00"));
    assert!(matches!(zero, ColumnError::BufferLength { buffer: 0, .. }));
    let bits = fault(forge_header(b"flag\xa1b\x01\x00", b"flag\xa1b\x01\x01"));
    assert!(matches!(bits, ColumnError::BufferLength { buffer: 0, .. }));
}

#[test]
fn names_that_no_reader_takes_are_not_sent() {
    let named = |name: String| Column::new(name, data(ColumnType::Null, 3, &[]));
    let error = Frame::new(vec![named("text".into()).unwrap(), columns().remove(0)]).unwrap_err();
    assert!(error.to_string().contains("twice"), "{error}");
    let error = named("a\0b".into()).unwrap_err().to_string();
    assert!(error.contains("NUL"), "{error}");
    let error = named("x".repeat(2000)).unwrap_err().to_string();
    assert!(error.contains("2000"), "{error}");
    let message = array(3).with_attribute("x".repeat(1100), "1");
    let error = Encoder::new(&message, 1, Flags::default()).map(drop);
    assert!(matches!(error, Err(EncodeError::Attribute(_))), "{error:?}");
}

#[test]
fn random_damage_never_panics() {
    let mut next = random(42);
    for message in samples()
        .iter()
        .filter(|message| message.payload_len() < 10_000)
    {
        let bytes = encode(message, false);
        for _ in 0..4_000 {
            let mut damaged = bytes.clone();
            for _ in 0..=next() % 4 {
                let at = next() % damaged.len();
                damaged[at] = u8::try_from(next() % 256).unwrap();
            }
            // The header's checksum would hide every other fault: mend it, as an attacker would.
            mend(&mut damaged);
            let _ = decode(&damaged, || 17);
            let _ = Message::open(&damaged.into(), &Limits::default());
        }
    }
}

fn mend(bytes: &mut [u8]) {
    let Some(first) = bytes.first_chunk::<32>() else {
        return;
    };
    let Ok(preamble) = Preamble::decode(first) else {
        return;
    };
    let end = 32 + preamble.header_len as usize;
    if let Some(header) = bytes.get(32..end) {
        let mended = preamble.encode(header);
        bytes[..32].copy_from_slice(&mended);
    }
}

#[test]
fn a_small_stack_is_enough() {
    let nested = forged(RecordKind::Frame, &vec![0x91; 60_000], 1, &[]);
    let thread = std::thread::Builder::new()
        .stack_size(64 << 10)
        .spawn(move || decode(&nested, || usize::MAX).is_err());
    assert!(thread.unwrap().join().unwrap());
}
