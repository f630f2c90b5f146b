//! One measurement.

use std::time::Instant;

use numpush::Transfer;

use crate::case::{Case, Route};
use crate::error::BenchError;
use crate::peer::{self, PeerStats, Started};
use crate::{baseline, libzmq, payload, stream};

/// What one run of a case gave.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    /// Payload bytes a second.
    pub(crate) rate: Option<f64>,
    /// Seconds of each round trip, sorted.
    pub(crate) trips: Vec<f64>,
    pub(crate) sent: Option<Transfer>,
    pub(crate) received: Option<PeerStats>,
    /// Processor seconds of both sides.
    pub(crate) cpu: Option<f64>,
    /// Payload bytes of one message.
    pub(crate) payload_len: u64,
}

pub(crate) fn measure(case: &Case) -> Result<Sample, BenchError> {
    let size = case.payload.len();
    let rate = |seconds: f64| Sample {
        rate: Some(size as f64 * case.count as f64 / seconds),
        payload_len: size as u64,
        ..Sample::default()
    };
    match case.route {
        Route::MemcpyWarm => Ok(rate(baseline::memcpy(size, case.count, false))),
        Route::MemcpyFresh => Ok(rate(baseline::memcpy(size, case.count, true))),
        Route::BareFile => Ok(rate(baseline::file(size, case.count)?)),
        Route::Libzmq => libzmq::in_c(case),
        Route::Pyzmq => libzmq::in_python(case),
        Route::BareChannel => stream::channel(case),
        Route::Inproc => stream::inproc(case, &payload::message(case)?),
        Route::BareSendfile | Route::BareSplice => stream::by_file(case, size),
        Route::BareTcp | Route::BareUnix | Route::BareZmq | Route::BareZmqFrames => {
            stream::bare(case, size)
        }
        Route::FileMap => stream::mapped(case, &payload::message(case)?),
        _ => stream::linked(case, &payload::message(case)?),
    }
}

/// Runs the warm-up, then the measured part, both by `send`; the clock stops when the peer has touched the last page.
pub(crate) fn timed(
    case: &Case,
    started: &mut Started,
    mut send: impl FnMut(usize) -> Result<(), BenchError>,
) -> Result<Sample, BenchError> {
    send(case.warm())?;
    started.line()?;
    let cpu = peer::cpu();
    let began = Instant::now();
    send(case.count)?;
    let received = started.stats()?;
    let seconds = began.elapsed().as_secs_f64();
    let bytes = received.bytes as f64 * case.count as f64 * case.kind.directions();
    Ok(Sample {
        rate: Some(bytes / seconds),
        cpu: Some(peer::cpu() - cpu + received.cpu),
        received: Some(received),
        payload_len: received.bytes,
        ..Sample::default()
    })
}

/// Times `count` round trips after the warm-up.
pub(crate) fn trips(
    case: &Case,
    mut turn: impl FnMut() -> Result<Transfer, BenchError>,
    started: Option<&mut Started>,
) -> Result<Sample, BenchError> {
    for _ in 0..case.warm() {
        turn()?;
    }
    let cpu = peer::cpu();
    let mut seconds = Vec::with_capacity(case.count);
    let mut last = Transfer::default();
    for _ in 0..case.count {
        let began = Instant::now();
        last = turn()?;
        seconds.push(began.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    let received = match started {
        Some(started) => {
            started.line()?;
            Some(started.stats()?)
        }
        None => None,
    };
    let cpu = peer::cpu() - cpu + received.map_or(0.0, |stats| stats.cpu);
    Ok(Sample {
        trips: seconds,
        sent: Some(last),
        received,
        cpu: Some(cpu),
        payload_len: last.bytes,
        ..Sample::default()
    })
}
