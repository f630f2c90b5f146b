//! Frames that contradict themselves, and names that no reader takes.

use numpush_message::{
    Buffer, Column, ColumnData, ColumnError, ColumnType, DecodeError, EncodeError, Encoder, Flags,
    Frame, FrameError, Message,
};

use crate::bytes::{decode, encode, mend};
use crate::samples::{
    TEXT_OFFSETS, array, code_column, columns, data, flag_column, frame, text_column,
};

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
    let error = Encoder::new(&message, Flags::default()).map(drop);
    assert!(matches!(error, Err(EncodeError::Attribute(_))), "{error:?}");
}
