//! The bytes of version 1, frozen. `tests/golden/*.np` are what this code wrote when the format was set; a second
//! implementation in Python, written from `docs/wire.md` alone, reads them all and writes some that are read here.
//!
//! After a change of the format, `NUMPUSH_GOLDEN=write` writes the files anew.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use numpush::model::{
    Body, Column, ColumnData, ColumnType, Dictionary, Dtype, Field, HeapAllocator, RecordType,
    Scalar,
};
use numpush::wire::{Encoder, Flags, Hello, Part, Reference, Stamp};
use numpush::{Array, Buffer, Frame, Message};
use numpush_tests::{TempPath, python_with};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

fn scalar(typestr: &str) -> Scalar {
    typestr.parse().unwrap()
}

fn ramp(len: usize) -> Vec<u8> {
    (0..=250).cycle().take(len).collect()
}

fn array(dtype: impl Into<Dtype>, shape: &[usize]) -> Message<'static> {
    let dtype = dtype.into();
    let len = shape.iter().product::<usize>() * dtype.size();
    Message::from(Array::new(dtype, shape, ramp(len).into()).unwrap())
}

fn record() -> RecordType {
    let field = |name: &str, typestr, offset| Field::new(name, scalar(typestr), offset);
    RecordType::new(
        vec![
            field("x", "<f4", 0),
            field("y", ">i2", 4),
            field("z", "|S3", 8),
        ],
        12,
    )
    .unwrap()
}

fn column(
    name: &str,
    format: &str,
    nulls: usize,
    len: usize,
    buffers: &[&[u8]],
) -> Column<'static> {
    let buffers = buffers.iter().map(|bytes| Buffer::copy_of(bytes)).collect();
    let format = format.parse::<ColumnType>().unwrap();
    let data = ColumnData::new(format, len, buffers).unwrap();
    assert_eq!(data.null_count(), nulls);
    Column::new(name, data).unwrap().with_nullable(nulls > 0)
}

fn le<T: Copy, const N: usize>(values: &[T], bytes: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(|&value| bytes(value)).collect()
}

fn frame() -> Frame<'static> {
    let (none, all): (&[u8], &[u8]) = (&[], &[0b1011]);
    let offsets = le(&[0, 1, 1, 3, 5], i32::to_le_bytes);
    let wide = le(&[0, 2, 2, 4, 4], i64::to_le_bytes);
    let eight = ramp(32);
    let sixteen = ramp(64);
    let mut columns = vec![
        column("nothing", "n", 4, 4, &[]),
        column("flag", "b", 1, 4, &[all, &[0b0101]]),
        column("i8", "c", 0, 4, &[none, &[1, 2, 0xff, 4]]),
        column("u16", "S", 1, 4, &[all, &[1, 0, 2, 0, 3, 0, 4, 0]]),
        column(
            "f64",
            "g",
            0,
            4,
            &[
                none,
                &le(&[1.5, -2.0, f64::INFINITY, 0.0], f64::to_le_bytes),
            ],
        ),
        column("text", "u", 1, 4, &[all, &offsets, b"a\xc3\xa9bc"]),
        column("large", "U", 0, 4, &[none, &wide, b"wxyz"]),
        column("raw", "z", 0, 4, &[none, &offsets, &[0, 255, 1, 2, 3]]),
        column("decimal", "d:10,2", 0, 4, &[none, &sixteen]),
        column("day", "tdD", 0, 4, &[none, &ramp(16)]),
        column("time", "ttu", 0, 4, &[none, &eight]),
        column("when", "tsn:America/New_York", 1, 4, &[all, &eight]),
        column("span", "tDm", 0, 4, &[none, &eight]),
    ];
    let unit = BTreeMap::from([("unit".to_owned(), "m".to_owned())]);
    columns[4] = columns[4].clone().with_metadata(unit).unwrap();
    let offsets = le(&[0, 2, 4], i32::to_le_bytes);
    let values = column("", "u", 0, 2, &[none, &offsets, b"AABB"]);
    let dictionary = Dictionary::new(values.data().clone()).with_ordered(true);
    // The second code row is null, and its code may be anything.
    let codes = column("", "c", 1, 4, &[all, &[1, 0, 99, 1]]);
    let codes = codes.data().clone().with_dictionary(dictionary).unwrap();
    columns.push(Column::new("code", codes).unwrap());
    let metadata = BTreeMap::from([("pandas".to_owned(), "{\"index_columns\": []}".to_owned())]);
    Frame::new(columns)
        .unwrap()
        .with_metadata(metadata)
        .unwrap()
}

fn samples() -> Vec<(String, Message<'static>, bool)> {
    let mut samples = Vec::new();
    let types = "|b1 |i1 |u1 <i2 >i2 <u2 >u2 <i4 >i4 <u4 <i8 >i8 <u8 <f2 >f2 <f4 >f4 <f8 >f8 <c8 <c16 >c16 |S5 <U3 >U3 \
                 <M8 <M8[ns] >M8[D] <m8[25s] <m8[us]";
    for (index, typestr) in types.split_whitespace().enumerate() {
        let message = if typestr == "|b1" {
            Message::from(
                Array::new(scalar(typestr), &[2, 3], vec![0, 1, 1, 0, 1, 0].into()).unwrap(),
            )
        } else if typestr.contains('U') {
            let little = typestr.starts_with('<');
            let text = [u32::from('a'), u32::from('é'), 0];
            let data = text.iter().cycle().take(18).flat_map(|c| {
                if little {
                    c.to_le_bytes()
                } else {
                    c.to_be_bytes()
                }
            });
            Message::from(
                Array::new(scalar(typestr), &[2, 3], data.collect::<Vec<u8>>().into()).unwrap(),
            )
        } else {
            array(scalar(typestr), &[2, 3])
        };
        samples.push((format!("type-{index:02}"), message, false));
    }
    let strided = |shape: &[usize], strides: &[isize]| {
        let len = shape.iter().product::<usize>() * 2;
        Message::from(Array::with_strides(scalar("<i2"), shape, strides, ramp(len).into()).unwrap())
    };
    let mut add =
        |name: &str, message, checksums| samples.push((name.to_owned(), message, checksums));
    add("fortran", strided(&[3, 4], &[2, 6]), false);
    add("negative", strided(&[3, 4], &[-8, 2]), false);
    add(
        "permuted",
        strided(&[2, 3, 1, 4], &[-8, 16, 0, -2]).with_attribute("order", "any"),
        false,
    );
    add("point", array(scalar("<f8"), &[]), false);
    add("empty", array(scalar("<f8"), &[3, 0, 5]), false);
    add("record", array(record(), &[5]), false);
    add("rank-32", array(scalar("|u1"), &[1; 32]), false);
    add("bytes", Message::new(Body::Bytes(ramp(70).into())), false);
    add(
        "no-bytes",
        Message::new(Body::Bytes(Buffer::default())),
        true,
    );
    add(
        "attributes",
        array(scalar("|u1"), &[3])
            .with_attribute("ä", "ö")
            .with_attribute("a", ""),
        false,
    );
    add(
        "frame",
        Message::from(frame()).with_attribute("name", "golden"),
        false,
    );
    add("frame-checksums", Message::from(frame()), true);
    add(
        "no-columns",
        Message::from(Frame::with_rows(7, vec![]).unwrap()),
        false,
    );
    let two_chunks = Message::from(
        Array::new(
            scalar("|u1"),
            &[(1 << 20) + 100],
            vec![7; (1 << 20) + 100].into(),
        )
        .unwrap(),
    );
    samples.push(("two-chunks".into(), two_chunks, true));
    samples
}

/// Two chunks are too large to keep in the tree.
fn is_kept(name: &str) -> bool {
    name != "two-chunks"
}

#[test]
fn the_bytes_are_what_they_were() {
    let scratch = TempPath::new("golden");
    std::fs::create_dir(&scratch.0).unwrap();
    for (name, message, checksums) in samples() {
        let fresh = scratch.0.join(&name);
        numpush::file::write(&fresh, &message, checksums).unwrap();
        let bytes = std::fs::read(&fresh).unwrap();
        let golden = folder().join(format!("{name}.np"));
        if is_kept(&name) {
            if std::env::var("NUMPUSH_GOLDEN").is_ok_and(|wish| wish == "write") {
                std::fs::write(&golden, &bytes).unwrap();
            }
            assert!(
                std::fs::read(&golden).unwrap() == bytes,
                "{name} has other bytes than {}",
                golden.display()
            );
        }
        let read = numpush::file::read(&fresh, &mut HeapAllocator::new(), u64::MAX).unwrap();
        assert_eq!(read.message, message, "{name}");
    }
    let count = std::fs::read_dir(folder())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().path().extension().unwrap() == "np")
        .count();
    assert_eq!(
        count,
        samples().iter().filter(|(name, ..)| is_kept(name)).count(),
        "a golden file nobody checks"
    );
}

/// Records that `file::write` does not write: a part, and buffers on pages of their own.
#[test]
fn the_bytes_of_other_records_are_what_they_were() {
    let check = |name: &str, bytes: Vec<u8>| {
        let golden = folder().join(format!("{name}.record"));
        if std::env::var("NUMPUSH_GOLDEN").is_ok_and(|wish| wish == "write") {
            std::fs::write(&golden, &bytes).unwrap();
        }
        assert!(std::fs::read(&golden).unwrap() == bytes, "{name}");
    };
    let part = Part {
        offset: 1 << 20,
        total: 5 << 20,
        transfer: 3,
    };
    let bytes = Buffer::from(ramp(70));
    let part = Encoder::part(part, &bytes, Flags::with_checksums(true)).unwrap();
    check("part", part.copy_rest());
    let frame = Message::from(frame()).with_attribute("name", "golden");
    let aligned = Encoder::with_align(&frame, Flags::with_checksums(true), 256).unwrap();
    check("aligned", aligned.copy_rest());
    let mut stamped = Encoder::new(&frame, Flags::default()).unwrap();
    stamped.stamp(Stamp {
        id: 1 << 32,
        ack: 2,
        reply_to: 3,
        channel: 4,
    });
    let reference = |segment| Reference {
        segment,
        offset: 64,
    };
    let references: Vec<_> = frame.buffers().map(|_| reference(7)).collect();
    check("references", stamped.by_reference(&references).copy_rest());
    let mut hello = Hello::new(1 << 30);
    hello.name = "golden".into();
    check("hello", hello.encode());
}

/// The example in Python sends without numpush, over ZeroMQ.
#[test]
fn a_python_program_without_numpush_sends_an_array() {
    let Some(python) = python_with("numpy, zmq") else {
        return;
    };
    let mut listener = numpush::listen("zmq+tcp://127.0.0.1:0").unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/python/send.py");
    let mut sender = Command::new(python)
        .arg(script)
        .arg(listener.address())
        .spawn()
        .unwrap();
    let received = listener.accept().unwrap().recv().unwrap().message;
    let array = received
        .as_array()
        .unwrap()
        .as_ndarray::<f64, ndarray::IxDyn>()
        .unwrap();
    let shape = array.shape();
    assert_eq!(
        (shape, array[[2, 3]], array.sum()),
        (&[3, 4][..], 11.0, 66.0)
    );
    assert!(sender.wait().unwrap().success());
}

#[test]
fn a_second_implementation_agrees() {
    let Some(python) = python_with("numpy, msgpack") else {
        return;
    };
    let scratch = TempPath::new("second");
    std::fs::create_dir(&scratch.0).unwrap();
    for (name, message, checksums) in samples() {
        numpush::file::write(&scratch.0.join(format!("{name}.np")), &message, checksums).unwrap();
    }
    let others = [
        "aligned",
        "part",
        "references",
        "hello",
        "schema-given",
        "schema-by-number",
    ];
    for name in others {
        let file = format!("{name}.record");
        std::fs::copy(folder().join(&file), scratch.0.join(&file)).unwrap();
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/golden.py");
    let output = Command::new(python)
        .arg(script)
        .arg(&scratch.0)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        said.contains(&format!("read {} files", samples().len())),
        "{said}"
    );
    // What it wrote, we read.
    let read = |name: &str| {
        numpush::file::read(&scratch.0.join(name), &mut HeapAllocator::new(), u64::MAX)
            .unwrap()
            .message
    };
    let fortran = read("python-fortran.out");
    let floats = fortran
        .as_array()
        .unwrap()
        .as_ndarray::<f64, ndarray::Ix2>()
        .unwrap();
    assert_eq!((floats.shape(), floats[[2, 1]]), (&[3, 4][..], 9.0));
    assert_eq!(fortran.attributes["from"], "python");
    let times = read("python-times.out");
    assert_eq!(times.as_array().unwrap().dtype().to_string(), "<M8[ns]");
    let frame = read("python-frame.out");
    let text = &frame.as_frame().unwrap().column("text").unwrap().data();
    assert_eq!(
        (&*text.buffers()[2], text.null_count()),
        ("añb".as_bytes(), 1)
    );
}
