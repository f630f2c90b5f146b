//! What comes after a good handshake: rubbish, forgeries, halves of messages, and messages in any pieces.

use std::io::Write;

use numpush::Error;
use numpush::wire::{DecodeError, Preamble, Record, RecordKind};
use numpush_tests::{bytes, record};

use crate::raw::{answer_to, raw_tcp};

/// F20, F21, F27: claims, overflows and truncation.
#[test]
fn rubbish_after_a_good_handshake_is_named() {
    let preamble = |header_len, buffers, payload_len| {
        Preamble {
            header_len,
            buffers,
            ..Preamble::control(RecordKind::Array, 1, payload_len)
        }
        .encode(&[])
    };
    let decode = |sent: &[u8]| match answer_to(sent) {
        Error::InvalidMessage { source, .. } => source,
        error => panic!("{error:?}"),
    };
    assert!(matches!(
        decode(&preamble(100, 1, 1 << 50)),
        DecodeError::PayloadTooLong { .. }
    ));
    assert!(matches!(
        decode(&preamble(u32::MAX, 1, 64)),
        DecodeError::HeaderTooLong { .. }
    ));
    assert!(matches!(
        decode(&preamble(100, u32::MAX, 64)),
        DecodeError::TooManyBuffers { .. }
    ));
    assert!(matches!(
        decode(&[0; 128]),
        DecodeError::ForeignProtocol { .. }
    ));
    let good = record(&bytes(1000, 1), 1);
    let mut flipped = good.clone();
    flipped[70] ^= 1;
    assert!(matches!(
        decode(&flipped),
        DecodeError::HeaderChecksum { .. }
    ));
    let mut flags = good;
    flags[6] = 0x08;
    assert!(matches!(decode(&flags), DecodeError::UnknownFlags { .. }));
    let wrong_number = record(&bytes(1000, 1), 7);
    assert!(
        matches!(answer_to(&wrong_number), Error::ProtocolViolation { .. }),
        "a message is missing"
    );
    let twice = record(&bytes(10, 1), 1);
    let (mut raw, mut link, _listener) = raw_tcp();
    raw.write_all(&twice).unwrap();
    raw.write_all(&twice).unwrap();
    assert_eq!(link.recv().unwrap().message, bytes(10, 1));
    assert!(
        matches!(link.recv().unwrap_err(), Error::ProtocolViolation { .. }),
        "F34: a message came twice"
    );
}

#[test]
fn a_forged_acknowledgement_is_refused() {
    for id in [1, 77] {
        let error = answer_to(
            &Preamble::control(RecordKind::Ack, 0, 0)
                .with_ack(id)
                .encode(&[]),
        );
        assert!(
            matches!(error, Error::ProtocolViolation { .. }),
            "{id}: {error:?}"
        );
    }
    // tcp takes no segments, and none comes without its memory.
    for argument in [0, 1] {
        let (mut raw, mut link, _listener) = raw_tcp();
        let segment = Preamble::control(RecordKind::Segment, 1, argument).encode(&[]);
        raw.write_all(&segment).unwrap();
        let error = link.recv().unwrap_err();
        let expected = match argument {
            0 => matches!(error, Error::Io { .. }),
            _ => matches!(error, Error::ProtocolViolation { .. }),
        };
        assert!(expected, "{argument}: {error:?}");
    }
}

/// F27: a partial message is never shown.
#[test]
fn a_connection_cut_in_mid_message_shows_nothing() {
    let record = record(&bytes(1 << 20, 1), 1);
    for cut in [1, 63, 64, 100, 5000, record.len() - 1] {
        let (mut raw, mut link, _listener) = raw_tcp();
        raw.write_all(&record[..cut]).unwrap();
        drop(raw);
        let error = link.recv().unwrap_err();
        assert!(
            matches!(error, Error::Disconnected { missing: 1.., .. }),
            "cut at {cut}: {error:?}"
        );
    }
}

#[test]
fn a_header_that_does_not_go_on_is_given_up() {
    let (mut raw, mut link, _listener) = raw_tcp();
    raw.write_all(&record(&bytes(1 << 20, 1), 1)[..80]).unwrap();
    let error = link.recv().unwrap_err();
    assert!(matches!(error, Error::Stalled { .. }), "{error:?}");
}

/// F26: short calls change nothing: the receiver gets every split the sender makes.
#[test]
fn bytes_in_any_pieces_are_the_same_message() {
    let message = bytes(300_000, 1);
    let record = record(&message, 1);
    for piece in [1, 7, 33, 4096] {
        let (mut raw, mut link, _listener) = raw_tcp();
        raw.set_nodelay(true).unwrap();
        let record = record.clone();
        let count = if piece == 1 { 3000 } else { record.len() };
        let writer = std::thread::spawn(move || {
            record[..count]
                .chunks(piece)
                .for_each(|part| raw.write_all(part).unwrap());
            raw.write_all(&record[count..]).unwrap();
            raw
        });
        assert_eq!(link.recv().unwrap().message, message);
        drop(writer.join().unwrap());
    }
}

#[test]
fn a_decoder_that_failed_stays_failed() {
    let mut decoder = numpush::wire::Decoder::new(numpush::wire::Limits::default());
    decoder.spare().unwrap().fill(7);
    let mut heap = numpush::model::HeapAllocator::new();
    assert!(matches!(
        decoder.filled(64, &mut heap).map(|_: Option<Record>| ()),
        Err(DecodeError::ForeignProtocol { .. })
    ));
    assert!(decoder.spare().is_err());
}
