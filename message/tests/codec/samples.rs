//! Messages of each kind.

use std::collections::BTreeMap;

use numpush_message::{
    Array, Body, Buffer, Column, ColumnData, ColumnType, Dictionary, Frame, Message, Scalar,
};

pub(crate) fn array(len: usize) -> Message<'static> {
    let bytes: Vec<u8> = (0..=255).cycle().take(len).collect();
    Message::from(Array::new("|u1".parse::<Scalar>().unwrap(), &[len], bytes.into()).unwrap())
}

pub(crate) fn data(column_type: ColumnType, len: usize, buffers: &[&[u8]]) -> ColumnData<'static> {
    let buffers = buffers.iter().map(|bytes| Buffer::copy_of(bytes)).collect();
    ColumnData::new(column_type, len, buffers).unwrap()
}

pub(crate) const TEXT_OFFSETS: [u8; 16] = [0, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0];

pub(crate) fn text_column(validity: &[u8], offsets: &[u8], values: &[u8]) -> Column<'static> {
    let text = data(ColumnType::Utf8, 3, &[validity, offsets, values]);
    let metadata = BTreeMap::from([("unit".to_owned(), "none".to_owned())]);
    Column::new("text", text)
        .unwrap()
        .with_metadata(metadata)
        .unwrap()
}

pub(crate) fn code_column(codes: &[u8]) -> Column<'static> {
    let values = data(ColumnType::LargeUtf8, 2, &[&[], &le64(&[0, 1, 3]), b"abc"]);
    let dictionary = Dictionary::new(values).with_ordered(true);
    let codes = data(ColumnType::Int8, 3, &[&[], codes]);
    Column::new("code", codes.with_dictionary(dictionary).unwrap()).unwrap()
}

pub(crate) fn flag_column(bits: u8) -> Column<'static> {
    Column::new("flag", data(ColumnType::Bool, 3, &[&[], &[bits]])).unwrap()
}

/// The columns of a frame that is right.
pub(crate) fn columns() -> Vec<Column<'static>> {
    vec![
        text_column(&[0b101], &TEXT_OFFSETS, "éabc".as_bytes()),
        code_column(&[1, 0, 1]),
        flag_column(0b010),
        Column::new("none", data(ColumnType::Null, 3, &[])).unwrap(),
    ]
}

pub(crate) fn frame() -> Frame<'static> {
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
pub(crate) fn samples() -> Vec<Message<'static>> {
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
