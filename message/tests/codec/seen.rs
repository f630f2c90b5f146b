//! Messages one after another: a reader that has seen a header, or a schema, reads the next one as if it were its first.

use std::collections::BTreeMap;

use numpush_message::{
    Buffer, Column, ColumnType, DecodeError, Decoder, Dictionary, Flags, Frame, Header,
    HeapAllocator, Limits, Message, PREAMBLE_LEN, Preamble, Record, RecordKind,
};

use crate::bytes::{encode, mend, random};
use crate::samples::{data, samples};

/// What one reader makes of `record`, which may be too short.
fn read(decoder: &mut Decoder, mut record: &[u8]) -> Result<Message<'static>, DecodeError> {
    let mut heap = HeapAllocator::new();
    loop {
        let spare = decoder.spare()?;
        let (now, later) = record.split_at(spare.len().min(record.len()));
        spare[..now.len()].copy_from_slice(now);
        if let Some(Record::Message(_, message)) = decoder.filled(now.len(), &mut heap)? {
            return Ok(message);
        }
        if later.is_empty() {
            let missing = decoder.missing();
            return Err(DecodeError::Truncated { missing });
        }
        record = later;
    }
}

fn fresh() -> Decoder {
    Decoder::new(Limits::default())
}

/// A frame of three rows, `nulls` of which are null in its first column, with a dictionary of `entries` values.
fn frame(names: [&str; 2], nulls: usize, entries: usize) -> Frame<'static> {
    let validity = [0_u8, 0b110, 0b100, 0][nulls];
    let validity = if nulls == 0 { vec![] } else { vec![validity] };
    let plain = data(ColumnType::Int16, 3, &[&validity, &[7; 6]]);
    let values = data(
        ColumnType::Bool,
        entries,
        &[&[], &vec![0; entries.div_ceil(8)]],
    );
    let codes = data(ColumnType::Uint8, 3, &[&[], &[0; 3]]);
    let codes = codes.with_dictionary(Dictionary::new(values)).unwrap();
    let columns = [plain, codes].into_iter().zip(names);
    let columns = columns.map(|(data, name)| Column::new(name, data).unwrap());
    Frame::new(columns.collect()).unwrap()
}

/// Frames that differ in counts, in names, and in metadata.
fn frames() -> Vec<Frame<'static>> {
    let metadata = |value: &str| BTreeMap::from([("key".to_owned(), value.to_owned())]);
    let with = |value| {
        frame(["a", "b"], 1, 5)
            .with_metadata(metadata(value))
            .unwrap()
    };
    let mut wide = Vec::new();
    for index in 0..300 {
        let values = data(ColumnType::Int8, 3, &[&[], &[1; 3]]);
        wide.push(Column::new(format!("{index}"), values).unwrap());
    }
    vec![
        frame(["a", "b"], 0, 1),
        frame(["a", "b"], 2, 1),
        frame(["a", "b"], 0, 300),
        frame(["a", "b"], 3, 70_000),
        frame(["a", "c"], 1, 5),
        frame(["ab", "c"], 1, 5),
        frame(["a", "b"], 1, 5),
        with("one"),
        with("two"),
        Frame::with_rows(3, vec![]).unwrap(),
        Frame::new(wide).unwrap(),
    ]
}

#[test]
fn a_schema_seen_before_is_read_as_if_it_were_new() {
    let (frames, mut next) = (frames(), random(7));
    let mut decoder = fresh();
    for _ in 0..2_000 {
        let message = Message::from(frames[next() % frames.len()].clone());
        let record = encode(&message, false);
        let read = read(&mut decoder, &record).unwrap();
        assert_eq!(
            encode(&read, false),
            record,
            "sent on before it is looked at"
        );
        assert_eq!(read, message);
        assert_eq!(encode(&read, false), record, "sent on");
    }
}

#[test]
fn what_is_wrong_is_found_whether_the_schema_was_seen_or_not() {
    let mut next = random(9);
    let mut records: Vec<_> = frames().into_iter().map(Message::from).collect();
    records.extend(samples());
    for message in records.into_iter().filter(|one| one.payload_len() < 1000) {
        let record = encode(&message, false);
        for _ in 0..500 {
            let mut damaged = record.clone();
            let at = PREAMBLE_LEN + next() % (damaged.len() - PREAMBLE_LEN);
            damaged[at] ^= 1 << (next() % 8);
            mend(&mut damaged);
            let mut decoder = fresh();
            assert_eq!(read(&mut decoder, &record).as_ref(), Ok(&message));
            assert_eq!(read(&mut decoder, &damaged), read(&mut fresh(), &damaged));
        }
    }
}

/// `record` behind a preamble that `change` has changed.
fn with_preamble(record: &[u8], change: impl Fn(&mut Preamble)) -> Vec<u8> {
    let mut changed = record.to_owned();
    let first = record.first_chunk::<PREAMBLE_LEN>().unwrap();
    let mut preamble = Preamble::decode(first).unwrap();
    let end = PREAMBLE_LEN + preamble.header_len as usize;
    change(&mut preamble);
    let first = preamble.encode(&record[PREAMBLE_LEN..end]);
    changed[..PREAMBLE_LEN].copy_from_slice(&first);
    changed
}

#[test]
fn the_same_header_behind_another_preamble_is_read_anew() {
    let compressed = Flags {
        compressed: true,
        ..Flags::default()
    };
    let changes: [&dyn Fn(&mut Preamble); 9] = [
        &|preamble| preamble.kind = RecordKind::Bytes,
        &|preamble| preamble.kind = RecordKind::Array,
        &|preamble| preamble.kind = RecordKind::Frame,
        &|preamble| preamble.kind = RecordKind::Part,
        &|preamble| preamble.flags = compressed,
        &|preamble| preamble.buffers += 1,
        &|preamble| preamble.buffers = preamble.buffers.saturating_sub(1),
        &|preamble| preamble.payload_len += 64,
        &|preamble| preamble.payload_len = preamble.payload_len.saturating_sub(64),
    ];
    let mut refused = 0;
    for message in samples().into_iter().filter(|one| one.payload_len() < 1000) {
        let record = encode(&message, false);
        for change in changes {
            let changed = with_preamble(&record, change);
            let mut decoder = fresh();
            assert_eq!(read(&mut decoder, &record).as_ref(), Ok(&message));
            assert_eq!(read(&mut decoder, &record).as_ref(), Ok(&message));
            let (found, expected) = (read(&mut decoder, &changed), read(&mut fresh(), &changed));
            assert_eq!(found, expected);
            refused += usize::from(expected.is_err());
        }
    }
    assert!(refused > 30, "{refused}");
}

#[test]
fn messages_of_all_kinds_take_turns_in_one_reader() {
    let (samples, mut next, mut decoder) = (samples(), random(11), fresh());
    for _ in 0..3_000 {
        let message = &samples[next() % samples.len()];
        for _ in 0..=next() % 3 {
            let record = encode(message, next() % 2 == 0);
            assert_eq!(read(&mut decoder, &record).as_ref(), Ok(message));
        }
    }
}

#[test]
fn a_frame_that_lies_in_pieces_is_the_same_frame() {
    for message in frames().into_iter().map(Message::from) {
        let record = encode(&message, false);
        let (_, header) = Header::parse(&record, &Limits::default()).unwrap();
        let pieces: Vec<_> = message
            .buffers()
            .map(|bytes| Buffer::copy_of(bytes))
            .collect();
        let resolved = header.clone().resolve(pieces).unwrap();
        assert_eq!(encode(&resolved, false), record);
        assert_eq!(resolved, message);
        if message.payload_len() > 0 {
            let short = vec![Buffer::default(); message.buffers().count()];
            assert!(header.resolve(short).is_err());
        }
    }
}

#[test]
fn metadata_of_a_received_frame_can_be_set_anew() {
    let sent = Message::from(frame(["a", "b"], 2, 5));
    let received = read(&mut fresh(), &encode(&sent, false)).unwrap();
    let metadata = BTreeMap::from([("key".to_owned(), "value".to_owned())]);
    let frame = received.as_frame().unwrap().clone();
    let changed = Message::from(frame.with_metadata(metadata.clone()).unwrap());
    let again = read(&mut fresh(), &encode(&changed, false)).unwrap();
    assert_eq!(again.as_frame().unwrap().metadata(), &metadata);
    assert_eq!(again, changed);
    assert_eq!(received, sent);
}
