//! What the header costs: encode and decode of an array's, and of a frame's with 1,000 columns; and to check a dictionary's codes.
//!
//! `cargo bench -p numpush-benches --bench codec`. Medians of batches; the payload is empty or tiny, so that only the header counts.

use std::hint::black_box;

use numpush_benches::{is_test, median, time};
use numpush_message::{
    Array, Buffer, Column, ColumnData, ColumnType, Decoder, Dictionary, Element, Encoder, Flags,
    Frame, HeapAllocator, Limits, Message, Record,
};

fn record(message: &Message<'_>) -> Vec<u8> {
    Encoder::new(message, Flags::default()).unwrap().copy_rest()
}

fn decode(decoder: &mut Decoder, record: &[u8], heap: &mut HeapAllocator) -> Message<'static> {
    let mut rest = record;
    loop {
        let spare = decoder.spare().unwrap();
        let (now, later) = rest.split_at(spare.len().min(rest.len()));
        spare[..now.len()].copy_from_slice(now);
        if let Some(Record::Message(_, message)) = decoder.filled(now.len(), heap).unwrap() {
            return message;
        }
        rest = later;
    }
}

fn frame(columns: usize) -> Message<'static> {
    let column = |index: usize| {
        let buffers = vec![Buffer::default(), vec![0; 8].into()];
        let data = ColumnData::new(ColumnType::Float64, 1, buffers).unwrap();
        Column::new(format!("column_{index}"), data).unwrap()
    };
    Message::from(Frame::new((0..columns).map(column).collect()).unwrap())
}

/// A column of `rows` codes of 32 bits.
fn codes(rows: u16) -> Frame<'static> {
    let values = vec![Buffer::default(), vec![0; 100].into()];
    let values = ColumnData::new(ColumnType::Uint8, 100, values).unwrap();
    let codes: Vec<u8> = (0..rows)
        .flat_map(|row| (row % 100).to_le_bytes().into_iter().chain([0, 0]))
        .collect();
    let codes = ColumnData::new(
        ColumnType::Int32,
        rows.into(),
        vec![Buffer::default(), codes.into()],
    );
    let codes = codes.unwrap().with_dictionary(Dictionary::new(values));
    Frame::new(vec![Column::new("codes", codes.unwrap()).unwrap()]).unwrap()
}

fn main() {
    if is_test() {
        return;
    }
    let frame_of_codes = codes(50_000);
    let validate = time(31, 100, || frame_of_codes.validate().unwrap());
    println!("50,000 codes of a dictionary: {:.2} us", validate * 1e6);
    let array = || {
        let data = vec![0; 64].into();
        Message::from(Array::new(f64::SCALAR, &[2, 4], data).unwrap())
    };
    measure("array of 64 bytes", array, 1_000);
    measure("frame of 1,000 columns", || frame(1000), 50);
}

/// Encodes and decodes what `make` makes: as the first of its kind, and as one of many on a connection.
fn measure(name: &str, make: impl Fn() -> Message<'static>, calls: u32) {
    let (message, mut heap) = (make(), HeapAllocator::new());
    let bytes = record(&message);
    let encode = |message: &Message<'_>| {
        drop(black_box(Encoder::new(message, Flags::default()).unwrap()));
    };
    let first_encodes = (0..31).map(|_| {
        let fresh: Vec<_> = (0..calls).map(|_| make()).collect();
        let mut fresh = fresh.iter();
        time(1, calls, || encode(fresh.next().unwrap()))
    });
    let first_encode = median(first_encodes).unwrap();
    let first_decode = time(31, calls, || {
        let mut decoder = Decoder::new(Limits::default());
        drop(black_box(decode(&mut decoder, &bytes, &mut heap)));
    });
    let again_encode = time(31, calls, || encode(&message));
    let mut decoder = Decoder::new(Limits::default());
    let again_decode = time(31, calls, || {
        drop(black_box(decode(&mut decoder, &bytes, &mut heap)));
    });
    for (which, encode, decode) in [
        ("first", first_encode, first_decode),
        ("again", again_encode, again_decode),
    ] {
        println!(
            "{name}, {which}: encode {:.2} us, decode {:.2} us, together {:.2} us",
            encode * 1e6,
            decode * 1e6,
            (encode + decode) * 1e6
        );
    }
    if message.as_frame().is_some() {
        let look = time(31, calls, || {
            let message = decode(&mut decoder, &bytes, &mut heap);
            black_box(message.as_frame().unwrap().columns());
        });
        println!(
            "{name}, again: decode and look at every column {:.2} us",
            look * 1e6
        );
    }
}
