//! What is encoded is decoded: a sender refuses what any reader would.

use std::collections::BTreeMap;

use numpush_message::{
    Array, Column, ColumnType, DecodeError, Dictionary, EncodeError, Encoder, Field, Flags, Frame,
    Limits, Message, RecordKind, RecordType,
};

use crate::bytes::{decode, encode, forged};
use crate::samples::{array, data};

fn entries(count: usize, len: usize) -> BTreeMap<String, String> {
    (0..count)
        .map(|index| (format!("{index:0len$}"), "1".into()))
        .collect()
}

fn refused(message: &Message<'_>) -> EncodeError {
    Encoder::new(message, Flags::default())
        .map(drop)
        .unwrap_err()
}

#[test]
fn the_most_of_everything_is_encoded_and_decoded() {
    let name = "é".repeat(512);
    let levels = |depth: usize| {
        let mut values = data(ColumnType::Int8, 1, &[&[], &[0]]);
        for _ in 0..depth {
            let codes = data(ColumnType::Uint64, 1, &[&[], &[0; 8]]);
            values = codes.with_dictionary(Dictionary::new(values)).unwrap();
        }
        values
    };
    let column = Column::new(name.clone(), levels(Dictionary::MAX_DEPTH)).unwrap();
    let column = column
        .with_metadata(BTreeMap::from([(name.clone(), name.clone())]))
        .unwrap();
    let few = Column::new("few", levels(0))
        .unwrap()
        .with_metadata(entries(1024, 4))
        .unwrap();
    let frame = Frame::new(vec![column, few]).unwrap();
    let frame = frame.with_metadata(entries(1024, 10)).unwrap();
    let field = Field::new(name.clone(), "<f8".parse().unwrap(), 0);
    let record = RecordType::new(vec![field], 1 << 20).unwrap();
    let mut attributes = array(3);
    attributes.attributes = entries(1024, 30);
    let messages = [
        Message::from(frame),
        Message::from(Array::new(record, &[1], vec![0; 1 << 20].into()).unwrap()),
        attributes,
        array(3).with_attribute(name, "x".repeat(60_000)),
    ];
    for message in messages {
        let decoded = decode(&encode(&message, true), || usize::MAX);
        assert_eq!(decoded.unwrap().as_ref(), Some(&message));
    }
}

#[test]
fn one_more_is_not_sent() {
    let many = |error| {
        matches!(
            error,
            EncodeError::TooManyEntries {
                count: 1025,
                max: 1024,
                ..
            }
        )
    };
    let mut message = array(3);
    message.attributes = entries(1025, 4);
    assert!(many(refused(&message)));
    let column = || Column::new("x", data(ColumnType::Int8, 1, &[&[], &[0]])).unwrap();
    let frame = Frame::new(vec![column()]).unwrap();
    assert!(many(refused(
        &frame.with_metadata(entries(1025, 4)).unwrap().into()
    )));
    let column = column().with_metadata(entries(1025, 4)).unwrap();
    assert!(many(refused(&Frame::new(vec![column]).unwrap().into())));
    let long = array(3).with_attribute("x", "y".repeat(66 << 10));
    let error = refused(&long);
    assert!(
        matches!(error, EncodeError::HeaderTooLong { max: 67_584, .. }),
        "{error}"
    );
    let codes = || data(ColumnType::Int8, 1, &[&[], &[0]]);
    let mut deep = codes();
    for _ in 0..Dictionary::MAX_DEPTH {
        deep = codes().with_dictionary(Dictionary::new(deep)).unwrap();
    }
    assert!(codes().with_dictionary(Dictionary::new(deep)).is_err());
}

/// Header of a frame with `count` attributes, one byte each, and no buffers.
fn bomb(count: u32) -> Vec<u8> {
    let mut header = Vec::from(b"\x84\xa5attrs");
    match u16::try_from(count) {
        Ok(count) => header.extend(
            [[0xde].as_slice(), &count.to_be_bytes()]
                .into_iter()
                .flatten(),
        ),
        Err(_) => header.extend(
            [[0xdf].as_slice(), &count.to_be_bytes()]
                .into_iter()
                .flatten(),
        ),
    }
    for index in 0..count {
        header.push(0xa8);
        header.extend(format!("{index:08x}").bytes());
        header.push(0xa0);
    }
    header.extend(b"\xa4bufs\x90\xa4cols\x90\xa4rows\x00");
    header
}

#[test]
fn a_bomb_of_attributes_is_refused_before_it_is_built() {
    let header = bomb(720_000);
    let (len, buffers) = (header.len() as u64, 8000);
    assert!(len > 7_000_000 && len <= Limits::header(RecordKind::Frame, buffers));
    // The preamble claims buffers, for room: the header has none, which is seen first.
    let error = decode(&forged(RecordKind::Frame, &header, buffers, &[]), || {
        usize::MAX
    });
    let count = DecodeError::BufferCount {
        found: 0,
        expected: 8000,
    };
    assert_eq!(error, Err(count));
    let header = bomb(65_600 / 10);
    let error = decode(&forged(RecordKind::Frame, &header, 0, &[]), || usize::MAX);
    assert!(
        matches!(error, Err(DecodeError::OverLimit { max: 1024, .. })),
        "{error:?}"
    );
}
