#![cfg(feature = "arrow")]

use std::sync::Arc;
use std::time::Duration;

use arrow_array::{
    Array as _, ArrayRef, BooleanArray, DictionaryArray, Float64Array, Int32Array, RecordBatch,
    StringArray, types::Int8Type,
};
use ndarray::Ix1;
use numpush_message::{
    Buffer, BufferAllocator as _, Column, ColumnData, ColumnType, Encoder, Flags, Frame, Limits,
    Message,
};
use numpush_shm_core::LockOptions;

use crate::arena::Arena;
use crate::array::SharedArray;
use crate::error::Error;
use crate::frame::SharedFrame;
use crate::object::Part;

fn arena() -> Arena {
    Arena::new(64 << 20)
}

fn batch() -> RecordBatch {
    let carrier: DictionaryArray<Int8Type> = ["UA", "AA", "UA"].into_iter().collect();
    RecordBatch::try_from_iter([
        (
            "delay",
            Arc::new(Float64Array::from(vec![Some(1.0), None, Some(3.0)])) as ArrayRef,
        ),
        ("day", Arc::new(Int32Array::from(vec![1, 2, 3]))),
        (
            "origin",
            Arc::new(StringArray::from(vec![Some("EWR"), None, Some("JFK")])),
        ),
        ("carrier", Arc::new(carrier)),
    ])
    .unwrap()
}

#[test]
fn columns_are_written_in_place_and_come_back_as_a_batch() {
    let shared = SharedFrame::from_batch(&arena(), &batch()).unwrap();
    let mut guard = shared.write().unwrap();
    let mut delay = guard.column::<f64>("delay").unwrap();
    delay.update(|value| *value *= 2.0);
    delay.set(1, Some(9.0)).unwrap();
    delay.set(0, None).unwrap();
    assert!(guard.column::<i32>("day").unwrap().set(0, None).is_err());
    guard.column::<i32>("day").unwrap().values()[2] = 30;
    drop(guard);
    let batch = shared.into_batch().unwrap();
    let delay: &Float64Array = batch["delay"].as_any().downcast_ref().unwrap();
    assert_eq!(delay, &Float64Array::from(vec![None, Some(9.0), Some(6.0)]));
    assert_eq!(
        batch["day"].as_any().downcast_ref(),
        Some(&Int32Array::from(vec![1, 2, 30]))
    );
}

#[test]
fn text_and_dictionaries_are_read() {
    let shared = SharedFrame::from_batch(&arena(), &batch()).unwrap();
    let guard = shared.read().unwrap();
    assert_eq!(
        guard.strings("origin").unwrap().iter().collect::<Vec<_>>(),
        [Some("EWR"), None, Some("JFK")]
    );
    assert_eq!(
        guard.strings("carrier").unwrap().iter().collect::<Vec<_>>(),
        [Some("UA"), Some("AA"), Some("UA")]
    );
    assert_eq!(guard.values::<i32>("day").unwrap(), [1, 2, 3]);
    assert!(!guard.validity("delay").unwrap().unwrap().get(1));
    let error = guard.values::<f32>("delay").unwrap_err();
    assert_eq!(
        error.to_string(),
        "column \"delay\" is of Arrow type g, whose values are not written as <f4"
    );
    assert!(guard.strings("day").is_err());
    assert!(guard.values::<f64>("nothing").is_err());
}

#[test]
fn columns_come_and_go_and_the_others_stay() {
    let arena = arena();
    let mut shared = SharedFrame::from_batch(&arena, &batch()).unwrap();
    let before = shared.clone();
    let address = before
        .read()
        .unwrap()
        .values::<f64>("delay")
        .unwrap()
        .as_ptr();
    let extra = RecordBatch::try_from_iter([(
        "gain",
        Arc::new(Float64Array::from(vec![1.0; 3])) as ArrayRef,
    )]);
    let extra = Frame::from_batch(&extra.unwrap()).unwrap();
    shared.add_column(&arena, &extra.columns()[0]).unwrap();
    assert!(
        shared.add_column(&arena, &extra.columns()[0]).is_err(),
        "its name is taken"
    );
    shared.drop_column("origin").unwrap();
    assert_eq!(
        shared.columns().collect::<Vec<_>>(),
        ["delay", "day", "carrier", "gain"]
    );
    assert_eq!(before.columns().count(), 4);
    let held = before.write().unwrap();
    let busy = std::thread::scope(|scope| {
        scope
            .spawn(|| {
                shared
                    .read_with(LockOptions::new().timeout(Duration::from_millis(5)))
                    .is_err()
            })
            .join()
            .unwrap()
    });
    assert!(busy, "all versions have one lock");
    drop(held);
    assert_eq!(
        shared
            .read()
            .unwrap()
            .values::<f64>("delay")
            .unwrap()
            .as_ptr(),
        address
    );
    assert_eq!(
        shared.read().unwrap().values::<f64>("gain").unwrap(),
        [1.0; 3]
    );
    assert!(matches!(
        before.clone().into_batch(),
        Err(Error::InUse { .. })
    ));
    let used = arena.usage().used;
    drop(before);
    assert!(
        arena.usage().used < used,
        "the dropped column's memory is free"
    );
    for name in ["delay", "day", "carrier", "gain"] {
        shared.drop_column(name).unwrap();
    }
    assert_eq!(
        (
            shared.rows(),
            shared.read().unwrap().frame().unwrap().columns().len()
        ),
        (3, 0)
    );
}

#[test]
fn a_column_is_replaced_and_other_versions_keep_theirs() {
    let arena = arena();
    let mut shared = SharedFrame::from_batch(&arena, &batch()).unwrap();
    let before = shared.clone();
    let address = |frame: &SharedFrame| {
        let guard = frame.read().unwrap();
        guard.values::<f64>("delay").unwrap().as_ptr()
    };
    let columns: Vec<String> = shared.columns().map(str::to_owned).collect();
    let replace = |shared: &mut SharedFrame, name: &str, values: Vec<&str>| {
        let values: ArrayRef = Arc::new(StringArray::from(values));
        let batch = RecordBatch::try_from_iter([(name, values)]).unwrap();
        shared.replace_column(&arena, &Frame::from_batch(&batch).unwrap().columns()[0])
    };
    replace(&mut shared, "origin", vec!["a", "", "longer than before"]).unwrap();
    let origin = |frame: &SharedFrame, row| {
        let guard = frame.read().unwrap();
        guard.strings("origin").unwrap().get(row).map(str::to_owned)
    };
    assert_eq!(origin(&shared, 2).as_deref(), Some("longer than before"));
    assert_ne!(origin(&before, 2).as_deref(), Some("longer than before"));
    assert!(
        shared.columns().eq(columns.iter().map(String::as_str)),
        "in their order"
    );
    assert_eq!(
        address(&shared),
        address(&before),
        "the others are not copied"
    );

    let used = arena.usage().used;
    assert!(replace(&mut shared, "origin", vec!["one row"]).is_err());
    assert!(replace(&mut shared, "none", vec!["a", "b", "c"]).is_err());
    assert_eq!(arena.usage().used, used, "a refusal takes no memory");
    drop(before);
    assert!(
        arena.usage().used < used,
        "the memory of the column before is free"
    );
    // It may be of another type.
    replace(&mut shared, "delay", vec!["x", "y", "z"]).unwrap();
    assert_eq!(
        shared.read().unwrap().strings("delay").unwrap().get(1),
        Some("y")
    );
}

#[test]
fn a_clone_nobody_has_looked_at_keeps_its_memory() {
    let message = Message::from(Frame::from_batch(&batch()).unwrap());
    let bytes = Encoder::new(&message, Flags::default()).unwrap();
    let bytes = bytes.copy_rest();
    let mut arena = arena();
    let mut region = arena.allocate(bytes.len()).unwrap();
    region.as_mut_slice().copy_from_slice(&bytes);
    let landed = Message::open(&region.freeze(), &Limits::default()).unwrap();
    let clone = landed.clone();
    let refused = SharedFrame::from_message(landed).unwrap_err();
    assert!(matches!(refused.error(), Error::InUse { .. }));
    drop(refused);
    assert_eq!(clone, message);
    SharedFrame::from_message(clone).unwrap();
}

#[test]
fn a_landed_frame_is_shared_where_it_lies() {
    let frame = Frame::from_batch(&batch()).unwrap();
    let message = Message::from(frame);
    let bytes = Encoder::new(&message, Flags::default())
        .unwrap()
        .copy_rest();
    let mut arena = arena();
    let mut region = arena.allocate(bytes.len()).unwrap();
    region.as_mut_slice().copy_from_slice(&bytes);
    let landed = Message::open(&region.freeze(), &Limits::default()).unwrap();
    let address = landed
        .as_frame()
        .unwrap()
        .column("delay")
        .unwrap()
        .data()
        .buffers()[1]
        .as_ptr();
    let kept = landed.clone().with_attribute("kept", "yes");
    let refused = SharedFrame::from_message(landed).unwrap_err();
    assert!(matches!(refused.error(), Error::InUse { .. }));
    assert_eq!(refused.into_value().body, kept.body);
    let refused = SharedArray::<f64, Ix1>::from_message(kept).unwrap_err();
    assert!(matches!(refused.error(), Error::Body { .. }));
    let landed = refused.into_value();
    assert_eq!(landed.attributes["kept"], "yes");
    let shared = SharedFrame::from_message(landed).unwrap();
    assert_eq!(
        shared
            .read()
            .unwrap()
            .values::<f64>("delay")
            .unwrap()
            .as_ptr()
            .cast(),
        address
    );
    assert_eq!(shared.into_batch().unwrap(), batch());
    assert_eq!(arena.usage().used, 0);
}

#[test]
fn parts_are_whole_bytes_of_every_bitmap() {
    let rows = 2000;
    let values: Float64Array = (0..rows).map(|row| (row % 3 != 0).then_some(1.0)).collect();
    let batch = RecordBatch::try_from_iter([("x", Arc::new(values) as ArrayRef)]).unwrap();
    let shared = SharedFrame::from_batch(&arena(), &batch).unwrap();
    let parts = shared.partition(3).unwrap();
    let ranges: Vec<_> = parts.iter().map(|part| part.range()).collect();
    assert_eq!(ranges, [0..1024, 1024..1536, 1536..2000]);
    drop(parts);
    assert_eq!(shared.partition(100).unwrap().len(), 4);
}

#[test]
fn a_frame_of_many_columns_is_a_short_handle() {
    let column = |number: usize| {
        (
            format!("a rather long name of column {number}"),
            Arc::new(Int32Array::from(vec![1])) as ArrayRef,
        )
    };
    let batch = RecordBatch::try_from_iter((0..1000).map(column)).unwrap();
    let shared = SharedFrame::from_batch(&arena(), &batch).unwrap();
    let sent = rmp_serde::to_vec(&shared).unwrap();
    assert!(sent.len() < 100, "{} bytes", sent.len());
    let opened: SharedFrame = rmp_serde::from_slice(&sent).unwrap();
    assert_eq!(opened.columns().count(), 1000);
}

#[test]
fn truth_values_are_bits_and_are_written_too() {
    let flags: BooleanArray = (0..1500)
        .map(|row| (row % 5 != 0).then_some(row % 2 == 0))
        .collect();
    let batch = RecordBatch::try_from_iter([("late", Arc::new(flags) as ArrayRef)]).unwrap();
    let shared = SharedFrame::from_batch(&arena(), &batch).unwrap();
    let mut guard = shared.write().unwrap();
    let mut late = guard.bools("late").unwrap();
    assert_eq!(
        (late.get(0), late.get(1), late.get(2)),
        (None, Some(false), Some(true))
    );
    late.set(0, Some(true)).unwrap();
    late.set(1499, None).unwrap();
    assert!(guard.column::<u8>("late").is_err());
    drop(guard);
    assert!(shared.read().unwrap().bools("late").unwrap().get(0));
    let batch = shared.into_batch().unwrap();
    let late: &BooleanArray = batch["late"].as_any().downcast_ref().unwrap();
    assert!(late.value(0) && late.is_valid(0) && late.is_null(1499));
}

#[test]
fn a_part_reads_text_beside_the_columns_it_writes() {
    const ROWS: usize = 1000;
    let text: ArrayRef = Arc::new(StringArray::from_iter_values(
        (0..ROWS).map(|row| "x".repeat(row % 7)),
    ));
    let len: ArrayRef = Arc::new(Float64Array::from(vec![0.0; ROWS]));
    let batch = RecordBatch::try_from_iter([("text", text), ("len", len)]).unwrap();
    let shared = SharedFrame::from_batch(&arena(), &batch).unwrap();
    let parts = shared.partition(2).unwrap();
    std::thread::scope(|scope| {
        for mut part in &parts {
            scope.spawn(move || {
                let range = part.range();
                let mut guard = part.write().unwrap();
                assert!(guard.strings_and_columns::<f64, 0>("len", []).is_err());
                let (text, [mut len]) = guard.strings_and_columns("text", ["len"]).unwrap();
                assert_eq!(text.len(), ROWS);
                for (at, row) in range.enumerate() {
                    len.set(at, Some(text.get(row).unwrap().len() as f64))
                        .unwrap();
                }
            });
        }
    });
    drop(parts);
    let guard = shared.read().unwrap();
    let len = guard.values::<f64>("len").unwrap();
    assert!((0..ROWS).all(|row| len[row] == (row % 7) as f64));
}

#[test]
fn a_part_writes_several_columns_at_once() {
    let shared = SharedFrame::from_batch(&arena(), &batch()).unwrap();
    let parts = shared.partition(1).unwrap();
    let sent = rmp_serde::to_vec(&parts.part(0)).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut part: Part<SharedFrame> = rmp_serde::from_slice(&sent).unwrap();
            let mut guard = part.write().unwrap();
            assert_eq!(guard.range(), 0..3);
            let [mut delay] = guard.columns::<f64, 1>(["delay"]).unwrap();
            delay.set(1, Some(2.0)).unwrap();
            assert!(guard.columns::<f64, 2>(["delay", "day"]).is_err());
            guard.column::<i32>("day").unwrap().values().fill(5);
            assert!(guard.bools("day").is_err());
        });
    });
    drop(parts);
    let guard = shared.read().unwrap();
    assert_eq!(guard.values::<f64>("delay").unwrap(), [1.0, 2.0, 3.0]);
    assert_eq!(guard.values::<i32>("day").unwrap(), [5; 3]);
}

#[test]
fn columns_that_share_a_buffer_are_not_shared() {
    let mut region = arena().allocate(24).unwrap();
    region.as_mut_slice().fill(1);
    let values = region.freeze();
    let column = |name: &str| {
        let buffers = vec![Buffer::default(), values.clone()];
        Column::new(
            name,
            ColumnData::new(ColumnType::Int64, 3, buffers).unwrap(),
        )
    };
    let columns = vec![column("a").unwrap(), column("b").unwrap()];
    let message = Message::from(Frame::new(columns).unwrap());
    drop(values);
    let refused = SharedFrame::from_message(message).unwrap_err();
    assert!(matches!(refused.error(), Error::InUse { .. }));
    assert_eq!(refused.into_value().as_frame().unwrap().rows(), 3);
}

#[test]
fn poison_ends_where_the_frame_ends() {
    let arena = Arena::new(1 << 20);
    let shared = SharedFrame::from_batch(&arena, &batch()).unwrap();
    let panicked = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let _held = shared.write().unwrap();
            panic!("on purpose");
        });
        writer.join()
    });
    assert!(panicked.is_err());
    let dirty = |error| match error {
        numpush_shm_core::LockError::Poisoned(poison) => poison.dirty,
        other => panic!("{other}"),
    };
    assert_eq!(dirty(shared.read().unwrap_err()), 0..shared.byte_len());
    // A repair that does not come to its end is reported for all there is.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            #[expect(clippy::mem_forget, reason = "the thread dies with the lock")]
            std::mem::forget(shared.write_poisoned().unwrap());
        });
    });
    assert_eq!(dirty(shared.write().unwrap_err()), 0..shared.byte_len());
}

#[test]
fn every_value_that_is_not_null_is_changed() {
    let arena = Arena::new(1 << 20);
    let values: Vec<Option<i64>> = (0..200)
        .map(|row| (row % 7 != 0 || (64..128).contains(&row)).then_some(row))
        .collect();
    let column: ArrayRef = Arc::new(arrow_array::Int64Array::from(values.clone()));
    let batch = RecordBatch::try_from_iter([("x", column)]).unwrap();
    let shared = SharedFrame::from_batch(&arena, &batch).unwrap();
    let mut held = shared.write().unwrap();
    held.column::<i64>("x")
        .unwrap()
        .update(|value| *value += 1000);
    let column = held.column::<i64>("x").unwrap();
    for (row, value) in values.iter().enumerate() {
        assert_eq!(column.get(row), value.map(|value| value + 1000));
    }
    drop(held);
    let held = shared.read().unwrap();
    let bits = held.validity("x").unwrap().unwrap();
    assert_eq!(bits.count(), values.iter().flatten().count());
}

#[test]
fn a_frame_is_copied_to_where_nobody_writes_and_turned_into_a_message() {
    let shared = SharedFrame::from_batch(&Arena::new(1 << 20), &batch()).unwrap();
    let snapshot = shared.snapshot().unwrap();
    let numpush_message::Body::Frame(frame) = &snapshot.body else {
        panic!("a frame");
    };
    assert_eq!(frame.to_batch().unwrap(), batch());
    let sealed = snapshot.buffers().filter(|buffer| !buffer.is_empty());
    assert!(sealed.into_iter().all(|buffer| buffer.backing().is_some()));
    let message = shared.into_message().unwrap();
    let numpush_message::Body::Frame(frame) = &message.body else {
        panic!("a frame");
    };
    assert_eq!(frame.to_batch().unwrap(), batch());
}
