//! Calls one operation a given number of times: `numpush-instructions CASE COUNT`. Without arguments it lists its cases.
//!
//! `benches/instructions/run` runs each case twice under valgrind, with two counts. The difference is what one call
//! costs, without what prepares it.
//!
//! A task of a pool is missing: its worker is this program again, which valgrind does not let itself start.
#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program for a script to run; what fails has nothing to count"
)]

use std::hint::black_box;
use std::process::ExitCode;

use ndarray::Ix1;
use numpush_message::{
    Array, Buffer, BufferAllocator, Column, ColumnData, ColumnType, Decoder, Element, Encoder,
    Flags, Frame, HeapAllocator, Limits, Message, Record,
};
use numpush_shm::{Arena, Handle, SharedArray, SharedMutex};
use numpush_transports::Connection;

/// A name and what prepares and repeats the operation.
type Case = (&'static str, fn(u32));

const CASES: &[Case] = &[
    ("encode-array", |count| encode(ARRAY, count)),
    ("encode-frame", |count| encode(FRAME, count)),
    ("decode-array", |count| decode(ARRAY, count)),
    ("decode-frame", |count| decode(FRAME, count)),
    ("again-array", |count| decode_again(ARRAY, count)),
    ("again-frame", |count| decode_again(FRAME, count)),
    ("decode-wide", |count| decode(&wide_record(), count)),
    ("again-wide", |count| decode_again(&wide_record(), count)),
    ("read-lock", read_lock),
    ("write-lock", write_lock),
    ("mutex", mutex),
    ("arena-take", arena_take),
    ("handle-text", handle_text),
    ("tcp-send", |count| stream("tcp://127.0.0.1:0", count)),
    ("tcp-send-all", |count| batches("tcp://127.0.0.1:0", count)),
    ("unix-send", |count| stream(&unix_name(), count)),
    ("unix-send-all", |count| batches(&unix_name(), count)),
];

/// A 4 by 3 array in Fortran's order.
const ARRAY: &[u8] = include_bytes!("../../../tests/golden/fortran.np");
/// A frame with a column of every type.
const FRAME: &[u8] = include_bytes!("../../../tests/golden/frame.np");

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, count] = &arguments[..] else {
        CASES.iter().for_each(|(name, _)| println!("{name}"));
        return ExitCode::SUCCESS;
    };
    let case = CASES.iter().find(|(case, _)| case == name);
    let (Some((_, run)), Ok(count)) = (case, count.parse()) else {
        return ExitCode::FAILURE;
    };
    run(count);
    ExitCode::SUCCESS
}

fn read(record: &[u8], allocator: &mut dyn BufferAllocator) -> Message<'static> {
    read_with(&mut Decoder::new(Limits::default()), record, allocator)
}

fn read_with(
    decoder: &mut Decoder,
    record: &[u8],
    allocator: &mut dyn BufferAllocator,
) -> Message<'static> {
    let mut rest = record;
    loop {
        let spare = decoder.spare().unwrap();
        let (now, later) = rest.split_at(spare.len().min(rest.len()));
        spare[..now.len()].copy_from_slice(now);
        if let Some(Record::Message(_, message)) = decoder.filled(now.len(), allocator).unwrap() {
            return message;
        }
        rest = later;
    }
}

fn encode(record: &[u8], count: u32) {
    let message = read(record, &mut HeapAllocator::new());
    for _ in 0..count {
        drop(black_box(Encoder::new(
            black_box(&message),
            Flags::default(),
        )));
    }
}

fn decode(record: &[u8], count: u32) {
    let mut heap = HeapAllocator::new();
    for _ in 0..count {
        drop(black_box(read(black_box(record), &mut heap)));
    }
}

/// As one of many on a connection.
fn decode_again(record: &[u8], count: u32) {
    let (mut heap, mut decoder) = (HeapAllocator::new(), Decoder::new(Limits::default()));
    for _ in 0..count {
        let message = read_with(&mut decoder, black_box(record), &mut heap);
        drop(black_box(message));
    }
}

/// A frame of a hundred columns of one row.
fn wide() -> Message<'static> {
    let column = |index: usize| {
        let buffers = vec![Buffer::default(), vec![0; 8].into()];
        let data = ColumnData::new(ColumnType::Float64, 1, buffers).unwrap();
        Column::new(format!("column_{index}"), data).unwrap()
    };
    Message::from(Frame::new((0..100).map(column).collect()).unwrap())
}

fn wide_record() -> Vec<u8> {
    let message = wide();
    let encoder = Encoder::new(&message, Flags::default()).unwrap();
    encoder.copy_rest()
}

fn shared() -> (Arena, SharedArray<f64, Ix1>) {
    let arena = Arena::new(1 << 30);
    let array = SharedArray::zeros(&arena, 1000).unwrap();
    (arena, array)
}

fn read_lock(count: u32) {
    let (_arena, array) = shared();
    for _ in 0..count {
        drop(black_box(array.read()));
    }
}

fn write_lock(count: u32) {
    let (_arena, array) = shared();
    for _ in 0..count {
        drop(black_box(array.write()));
    }
}

fn mutex(count: u32) {
    let mutex = SharedMutex::new().unwrap();
    for _ in 0..count {
        drop(black_box(mutex.lock()));
    }
}

fn arena_take(count: u32) {
    let (mut arena, _array) = shared();
    for _ in 0..count {
        drop(black_box(arena.allocate(black_box(10_000))));
    }
}

fn handle_text(count: u32) {
    let (_arena, array) = shared();
    let handle = array.handle().unwrap();
    for _ in 0..count {
        let text = black_box(&handle).to_string();
        drop(black_box(text.parse::<Handle>()));
    }
}

/// A name that no other process has at the same time.
fn unix_name() -> String {
    format!("unix:@numpush-instructions-{}", std::process::id())
}

/// Two ends of a connection in this thread.
fn pair(endpoint: &str) -> [Connection; 2] {
    let mut listener = numpush_transports::listen(endpoint).unwrap();
    let sender = numpush_transports::connect(&listener.address()).unwrap();
    [sender, listener.accept().unwrap()]
}

/// 64 bytes as an array, whose copies share their bytes.
fn tick() -> Message<'static> {
    let array = Array::new(u8::SCALAR, &[64], vec![0; 64].into()).unwrap();
    Message::from(array)
}

/// Sends a message by itself and receives it: the instructions of both sides, without the kernel's.
fn stream(endpoint: &str, count: u32) {
    let [mut sender, mut receiver] = pair(endpoint);
    let message = tick();
    for _ in 0..count {
        sender.send(black_box(&message)).unwrap();
        drop(black_box(receiver.recv().unwrap()));
    }
}

/// As [`stream`], 50 messages in a call.
fn batches(endpoint: &str, count: u32) {
    const BATCH: u32 = 50;
    let [mut sender, mut receiver] = pair(endpoint);
    let messages: Vec<_> = (0..BATCH).map(|_| tick()).collect();
    for _ in 0..count / BATCH {
        sender.send_all(black_box(&messages)).unwrap();
        for _ in 0..BATCH {
            drop(black_box(receiver.recv().unwrap()));
        }
    }
}
