//! Headers in any other form, and claims that nothing is allocated for.

use numpush_message::{
    AllocError, BufferAllocator, BufferMut, DecodeError, Decoder, Limits, Preamble, RecordKind,
};

use crate::bytes::{decode, forged};

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
    let claim_of = |kind, header_len, buffers, payload_len| {
        let preamble = Preamble {
            header_len,
            buffers,
            ..Preamble::control(kind, 1, payload_len)
        };
        let mut decoder = Decoder::new(Limits::default());
        let bytes = preamble.encode(&[]);
        decoder.spare().unwrap().copy_from_slice(&bytes);
        let result = decoder.filled(bytes.len(), &mut Never).map(|_| ());
        result.map(|()| decoder.spare().unwrap().len())
    };
    let claim = |header_len, buffers, payload_len| {
        claim_of(RecordKind::Array, header_len, buffers, payload_len)
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
    // A header of attributes that claims buffers to be long: F20 allows what its kind needs.
    for kind in [RecordKind::Bytes, RecordKind::Array, RecordKind::Part] {
        assert!(matches!(
            claim_of(kind, 7_800_000, 8000, 64),
            Err(DecodeError::BufferCount { expected: 1, .. })
        ));
        assert!(matches!(
            claim_of(kind, 7_800_000, 1, 64),
            Err(DecodeError::HeaderTooLong { max: 67_584, .. })
        ));
    }
    let most = u32::try_from(Limits::header(RecordKind::Frame, 3000)).unwrap();
    assert_eq!(
        claim_of(RecordKind::Frame, most, 3000, 1 << 29),
        Ok(64 << 10),
        "a header is read in steps of 64 KiB"
    );
}

#[test]
fn a_small_stack_is_enough() {
    let nested = forged(RecordKind::Frame, &vec![0x91; 60_000], 1, &[]);
    let thread = std::thread::Builder::new()
        .stack_size(64 << 10)
        .spawn(move || decode(&nested, || usize::MAX).is_err());
    assert!(thread.unwrap().join().unwrap());
}
