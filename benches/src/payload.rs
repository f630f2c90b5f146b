//! What is sent, from where the case wants it to lie.

use numpush::model::{Column, ColumnData, ColumnType, Element};
use numpush::unix::SealedBufferMut;
use numpush::wire::{Encoder, Flags, Limits};
use numpush::{Array, Buffer, Frame, Message};

use crate::case::{Case, Payload, Route};
use crate::error::{BenchError, bench_error};

/// Rows and columns of the dataframe: as many as New York's flights of 2013, which the tests ship.
pub(crate) const ROWS: usize = 336_776;
const NUMBERS: usize = 14;
const TEXTS: usize = 5;
/// Letters of a text, as many as an airport's code has.
const LETTERS: usize = 3;
/// Payload bytes of the dataframe.
pub(crate) const FRAME_LEN: usize = NUMBERS * ROWS * 8 + TEXTS * ((ROWS + 1) * 4 + ROWS * LETTERS);

/// The message of a case.
pub(crate) fn message(case: &Case) -> Result<Message<'static>, BenchError> {
    match case.payload {
        Payload::Frame if is_in_segment(case.route) => reopened(&frame()?),
        Payload::Frame => Ok(frame()?),
        Payload::Array(bytes) => array(case.route, bytes),
    }
}

/// An array of so many bytes.
pub(crate) fn array(route: Route, bytes: usize) -> Result<Message<'static>, BenchError> {
    let buffer = if is_in_segment(route) {
        let mut segment = SealedBufferMut::new(bytes).map_err(numpush::Error::from)?;
        segment.as_mut_slice().fill(7);
        segment.seal().map_err(numpush::Error::from)?
    } else {
        Buffer::from(vec![7; bytes])
    };
    let array = Array::new(f64::SCALAR, &[bytes / 8], buffer);
    Ok(Message::from(array.map_err(numpush::Error::from)?))
}

fn is_in_segment(route: Route) -> bool {
    matches!(
        route,
        Route::TcpSegment | Route::TcpSendfile | Route::UnixSegment
    )
}

/// The message's record in sealed memory.
pub(crate) fn record(message: &Message<'_>) -> Result<Buffer<'static>, BenchError> {
    let mut encoder = Encoder::new(message, Flags::default()).map_err(numpush::Error::from)?;
    let len = usize::try_from(encoder.rest_len()).map_err(bench_error)?;
    let mut segment = SealedBufferMut::new(len).map_err(numpush::Error::from)?;
    let mut at = 0;
    while let Some(next) = encoder.next() {
        let count = next.bytes.len();
        segment.as_mut_slice()[at..at + count].copy_from_slice(next.bytes);
        at += count;
        encoder.advance(count);
    }
    Ok(segment.seal().map_err(numpush::Error::from)?)
}

/// The same message with all its buffers in one sealed segment.
fn reopened(message: &Message<'_>) -> Result<Message<'static>, BenchError> {
    let limits = Limits::default().with_payload(u64::MAX);
    Ok(Message::open(&record(message)?, &limits).map_err(numpush::Error::from)?)
}

/// A dataframe of fourteen columns of numbers and five of short texts.
fn frame() -> Result<Message<'static>, numpush::Error> {
    let column = |name: String, column_type, buffers| {
        let data = ColumnData::new(column_type, ROWS, buffers)?;
        Ok::<_, numpush::Error>(Column::new(name, data)?.with_nullable(false))
    };
    let numbers = (0..NUMBERS).map(|at| {
        let buffers = vec![Buffer::default(), vec![7; ROWS * 8].into()];
        column(format!("number_{at}"), ColumnType::Float64, buffers)
    });
    let texts = (0..TEXTS).map(|at| {
        let ends = (0_i32..).step_by(LETTERS).take(ROWS + 1);
        let offsets: Vec<u8> = ends.flat_map(i32::to_le_bytes).collect();
        let letters = vec![b'a'; ROWS * LETTERS];
        let buffers = vec![Buffer::default(), offsets.into(), letters.into()];
        column(format!("text_{at}"), ColumnType::Utf8, buffers)
    });
    let columns = numbers.chain(texts).collect::<Result<_, _>>()?;
    Ok(Message::from(Frame::new(columns)?))
}
