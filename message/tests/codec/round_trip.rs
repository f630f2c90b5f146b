//! Any split is the same message; any flipped byte and any truncation is found.

use numpush_message::{Buffer, DecodeError, Limits, Message};

use crate::bytes::{decode, encode, mend, random};
use crate::samples::{array, frame, samples};

#[test]
fn any_split_gives_the_same_message() {
    for message in samples() {
        for checksums in [false, true] {
            let bytes = encode(&message, checksums);
            let mut next = random(bytes.len() as u64);
            assert_eq!(
                decode(&bytes, || usize::MAX).unwrap().as_ref(),
                Some(&message)
            );
            assert_eq!(
                decode(&bytes, || next() % 5000).unwrap().as_ref(),
                Some(&message)
            );
            if bytes.len() < 10_000 {
                assert_eq!(decode(&bytes, || 1).unwrap().as_ref(), Some(&message));
            }
            let whole = Message::open(&bytes.into(), &Limits::default());
            assert_eq!(whole.as_ref(), Ok(&message));
        }
    }
}

#[test]
fn buffers_land_aligned_and_in_place() {
    for message in samples() {
        let received = decode(&encode(&message, false), || usize::MAX)
            .unwrap()
            .unwrap();
        for buffer in received.buffers().filter(|buffer| !buffer.is_empty()) {
            assert_eq!(buffer.as_ptr().addr() % numpush_message::ALIGNMENT, 0);
        }
    }
}

#[test]
fn with_checksums_every_flipped_bit_is_found() {
    for message in [array(100), array(70_000), Message::from(frame())] {
        let bytes = encode(&message, true);
        let mut next = random(7);
        let bits = bytes.len() * 8;
        let exhaustive = bits < 10_000;
        for turn in 0..bits.min(3_000) {
            let bit = if exhaustive { turn } else { next() % bits };
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let found = decode(&flipped, || usize::MAX);
            assert!(
                !matches!(&found, Ok(Some(_))),
                "bit {bit} of {}: {found:?}",
                bytes.len()
            );
        }
    }
}

#[test]
fn every_truncation_is_found() {
    let bytes = encode(&Message::from(frame()), true);
    for len in 0..bytes.len() {
        assert_eq!(decode(&bytes[..len], || usize::MAX).unwrap(), None);
        assert!(Message::open(&Buffer::copy_of(&bytes[..len]), &Limits::default()).is_err());
    }
    let mut longer = bytes;
    longer.push(0);
    let error = Message::open(&longer.into(), &Limits::default()).unwrap_err();
    assert_eq!(error, DecodeError::TrailingBytes { count: 1 });
}

#[test]
fn random_damage_never_panics() {
    let mut next = random(42);
    for message in samples()
        .iter()
        .filter(|message| message.payload_len() < 10_000)
    {
        let bytes = encode(message, false);
        for _ in 0..4_000 {
            let mut damaged = bytes.clone();
            for _ in 0..=next() % 4 {
                let at = next() % damaged.len();
                damaged[at] = u8::try_from(next() % 256).unwrap();
            }
            // The header's checksum would hide every other fault: mend it, as an attacker would.
            mend(&mut damaged);
            let _ = decode(&damaged, || 17);
            let _ = Message::open(&damaged.into(), &Limits::default());
        }
    }
}
