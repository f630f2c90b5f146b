//! The promise, proven: the transfer reports, pointers, descriptors and a counting allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use numpush::model::{Body, Element, HeapAllocator};
use numpush::transfer::{PathReason, TransferPath};
use numpush::unix::SealedBufferMut;
use numpush::wire::{Decoder, Encoder, Flags, Limits, Record};
use numpush::{Array, Buffer, Connection, Listener, Message};
use numpush_tests::{TempPath, bytes, in_turn, tests};

/// Counts bytes, and how often they are asked for.
struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);
static CALLS: AtomicUsize = AtomicUsize::new(0);

#[expect(unsafe_code, reason = "an allocator has no safe interface")]
// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        CALLS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is the system allocator's.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const SIZE: usize = 32 << 20;

fn pair(endpoint: &str) -> (Connection, Connection, Listener) {
    let mut listener = numpush::listen(endpoint).unwrap();
    let tx = numpush::connect(&listener.address()).unwrap();
    let rx = listener.accept_for(numpush_tests::PATIENCE).unwrap();
    (tx, rx, listener)
}

fn segment() -> Message<'static> {
    let mut segment = SealedBufferMut::new(SIZE).unwrap();
    segment.as_mut_slice().fill(5);
    Message::new(Body::Bytes(segment.seal().unwrap()))
}

/// Bytes allocated by the whole process while `work` runs.
fn allocated(work: impl FnOnce()) -> usize {
    let before = ALLOCATED.load(Ordering::Relaxed);
    work();
    ALLOCATED.load(Ordering::Relaxed) - before
}

/// One test at a time, in this thread: what another allocates would count.
fn main() {
    in_turn(tests![
        tcp_lands_in_place,
        tcp_sends_pages_of_sealed_memory,
        unix_passes_the_descriptor,
        unix_copies_plain_memory_once,
        inproc_hands_the_pointer_over,
        a_sealed_file_is_mapped,
        an_ordinary_file_is_read,
        views_share_memory,
        a_small_array_takes_three_allocations_for_both_sides,
    ]);
}

/// What a read that looks for the next header may take of the payload behind it.
const READ_AHEAD: u64 = 16 << 10;

fn tcp_lands_in_place() {
    let (mut tx, mut rx, _listener) = pair("tcp://127.0.0.1:0");
    let message = bytes(SIZE, 1);
    let mut landed = Vec::new();
    for turn in 0..3 {
        let mut received = None;
        let bytes = allocated(|| {
            thread::scope(|scope| {
                let sending = scope.spawn(|| tx.send(&message).unwrap());
                received = Some(rx.recv().unwrap());
                let sent = sending.join().unwrap();
                assert_eq!(
                    (sent.copied, sent.path, sent.reason),
                    (0, TransferPath::Write, PathReason::PlainMemory)
                );
            });
        });
        let received = received.unwrap();
        assert_eq!(received.transfer.path, TransferPath::Read);
        assert!(
            received.transfer.copied <= READ_AHEAD,
            "only what was read with the header is copied: {:?}",
            received.transfer
        );
        landed.push(received.message.as_array().unwrap().data().as_ptr().addr());
        // The first region is asked for twice: once to learn whether it can be had, once zeroed.
        let limit = if turn == 0 {
            2 * SIZE + (1 << 20)
        } else {
            1 << 20
        };
        assert!(
            bytes < limit,
            "{bytes} bytes were allocated in turn {turn}: the allocator keeps its region"
        );
    }
    assert!(
        landed.windows(2).all(|pair| pair[0] == pair[1]),
        "the same warm pages each time"
    );
}

fn tcp_sends_pages_of_sealed_memory() {
    let mut listener = numpush::listen("tcp://127.0.0.1:0").unwrap();
    let mut tx = numpush::connect(&format!("{}?sendfile=on", listener.address())).unwrap();
    let mut rx = listener.accept_for(numpush_tests::PATIENCE).unwrap();
    let message = segment();
    thread::scope(|scope| {
        let sending = scope.spawn(|| tx.send(&message).unwrap());
        assert!(rx.recv().unwrap().message == message);
        let sent = sending.join().unwrap();
        assert_eq!(
            (sent.copied, sent.path, sent.reason),
            (0, TransferPath::SendFile, PathReason::StableDescriptor)
        );
    });
}

fn unix_passes_the_descriptor() {
    let (mut tx, mut rx, _listener) = pair(&format!("unix:{}", TempPath::new("zero").0.display()));
    let message = segment();
    let identity = |buffer: &Buffer<'_>| {
        let descriptor = buffer.backing().unwrap().file.as_fd().as_raw_fd();
        let data = std::fs::metadata(format!("/proc/self/fd/{descriptor}")).unwrap();
        (data.dev(), data.ino())
    };
    let mut mapped = Vec::new();
    for _ in 0..3 {
        let sent = tx.send(&message).unwrap();
        assert_eq!((sent.copied, sent.path), (0, TransferPath::Reference));
        let received = rx.recv().unwrap();
        assert_eq!(
            (received.transfer.copied, received.transfer.path),
            (0, TransferPath::Reference)
        );
        let buffer = received.message.as_bytes().unwrap();
        assert_eq!(
            identity(buffer),
            identity(message.as_bytes().unwrap()),
            "the same memory"
        );
        mapped.push(buffer.as_ptr().addr());
        assert!(received.message == message);
    }
    assert!(
        mapped.windows(2).all(|pair| pair[0] == pair[1]),
        "mapped once, named after that"
    );
}

fn unix_copies_plain_memory_once() {
    let (mut tx, mut rx, _listener) = pair(&format!("unix:{}", TempPath::new("once").0.display()));
    let message = bytes(SIZE, 2);
    for _ in 0..3 {
        let sent = tx.send(&message).unwrap();
        assert_eq!(
            (sent.copied, sent.path),
            (SIZE as u64, TransferPath::SegmentCopy)
        );
        let received = rx.recv().unwrap();
        assert_eq!(
            (received.transfer.copied, received.transfer.path),
            (0, TransferPath::Reference)
        );
        assert_eq!(received.message, message);
    }
    // Below the threshold one write is cheaper than a segment.
    let sent = tx.send(&bytes(1000, 1)).unwrap();
    assert_eq!(
        (sent.copied, sent.path, sent.reason, sent.system_calls),
        (0, TransferPath::Write, PathReason::Small, 1)
    );
}

fn inproc_hands_the_pointer_over() {
    let (mut tx, mut rx, _listener) = pair("inproc:zero-copy");
    let message = bytes(SIZE, 3);
    let cost = allocated(|| {
        let sent = tx.send(&message).unwrap();
        assert_eq!((sent.copied, sent.path), (0, TransferPath::Handover));
        let received = rx.recv().unwrap();
        assert_eq!(
            received.message.as_array().unwrap().data().as_ptr(),
            message.as_array().unwrap().data().as_ptr()
        );
    });
    assert!(cost < 10_000, "{cost} bytes for a handover");
    let local = vec![1_u8; 1000];
    let borrowed = Message::new(Body::Bytes(Buffer::borrowed(&local)));
    let sent = tx.send(&borrowed).unwrap();
    assert_eq!(
        (sent.copied, sent.reason),
        (1000, PathReason::Borrowed),
        "what is borrowed cannot be handed over"
    );
}

fn a_sealed_file_is_mapped() {
    let message = bytes(SIZE, 4);
    let path = TempPath::new("sealed");
    numpush::file::write(&path.0, &message, false).unwrap();
    let record = std::fs::read(&path.0).unwrap();
    let mut memory = SealedBufferMut::new(record.len()).unwrap();
    memory.as_mut_slice().copy_from_slice(&record);
    let sealed = memory.seal().unwrap();
    let name = format!(
        "/proc/self/fd/{}",
        sealed.backing().unwrap().file.as_raw_fd()
    );
    let mut received = None;
    let cost = allocated(|| {
        received =
            Some(numpush::file::read(name.as_ref(), &mut HeapAllocator::new(), u64::MAX).unwrap());
    });
    let received = received.unwrap();
    assert!(cost < 10_000, "{cost} bytes to map a file");
    assert_eq!(
        (received.transfer.copied, received.transfer.path),
        (0, TransferPath::Map)
    );
    assert_eq!(received.message, message);
    assert!(
        received
            .message
            .as_array()
            .unwrap()
            .data()
            .backing()
            .is_some(),
        "it can be passed on without a copy"
    );
}

fn an_ordinary_file_is_read() {
    let message = bytes(SIZE, 4);
    let path = TempPath::new("ordinary");
    let written = numpush::file::write(&path.0, &message, true).unwrap();
    assert_eq!((written.copied, written.path), (0, TransferPath::Write));
    let received = numpush::file::read(&path.0, &mut HeapAllocator::new(), u64::MAX).unwrap();
    let transfer = received.transfer;
    assert_eq!(
        (transfer.copied, transfer.path, transfer.reason),
        (0, TransferPath::Read, PathReason::NotImmutable)
    );
    assert_eq!(received.message, message);
}

fn views_share_memory() {
    let array = Array::new(
        "<f8".parse::<numpush::model::Scalar>().unwrap(),
        &[1024, 1024],
        vec![0; 8 << 20].into(),
    )
    .unwrap();
    let cost = allocated(|| {
        let view = array.as_ndarray::<f64, ndarray::Ix2>().unwrap();
        assert_eq!(view.as_ptr().addr(), array.data().as_ptr().addr());
        let again = Message::from(Array::borrowed(&view).unwrap());
        assert_eq!(
            again.as_array().unwrap().data().as_ptr(),
            array.data().as_ptr()
        );
    });
    assert!(cost < 1000, "{cost} bytes for two views");
}

/// One for the head of the record, and two for the memory that it is received into: its bytes, and what the allocator of the
/// program hands out. A header seen before takes none.
fn a_small_array_takes_three_allocations_for_both_sides() {
    let message = Message::from(Array::new(f64::SCALAR, &[2, 2, 2], vec![7; 64].into()).unwrap());
    let (mut decoder, mut heap) = (Decoder::new(Limits::default()), HeapAllocator::new());
    // Other threads of the process may ask for memory too: the least of some counts is ours.
    let (mut encode, mut decode) = (usize::MAX, usize::MAX);
    for _ in 0..20 {
        let before = CALLS.load(Ordering::Relaxed);
        let encoder = Encoder::new(&message, Flags::default()).unwrap();
        let encoded = CALLS.load(Ordering::Relaxed);
        let record = encoder.copy_rest();
        let mut rest = &record[..];
        let copied = CALLS.load(Ordering::Relaxed);
        let received = loop {
            let spare = decoder.spare().unwrap();
            let (now, later) = rest.split_at(spare.len().min(rest.len()));
            spare[..now.len()].copy_from_slice(now);
            rest = later;
            if let Some(Record::Message(_, message)) = decoder.filled(now.len(), &mut heap).unwrap()
            {
                break message;
            }
        };
        encode = encode.min(encoded - before);
        decode = decode.min(CALLS.load(Ordering::Relaxed) - copied);
        assert_eq!(received, message);
    }
    assert_eq!((encode, decode), (1, 2));
}
