//! The measurements that have two ends.

use std::io::{Read, Write};
use std::sync::mpsc;
use std::time::Instant;

use numpush::{Connection, Message, Transfer};

use crate::case::{BATCH, Case, Kind, Route};
use crate::error::{BenchError, bench_error};
use crate::peer::{self, Part, Peer, PeerStats, Started};
use crate::place::{Place, SPIN};
use crate::run::{Sample, timed, trips};
use crate::{baseline, payload, processor};

fn start(case: &Case, address: &str, size: usize) -> Result<Started, BenchError> {
    let peer = Peer {
        route: case.route,
        address: address.to_owned(),
        size,
        warm: case.warm(),
        count: case.count,
        part: Part::of(case.kind),
    };
    processor::apart(case.processors, || peer.start())
}

fn address_of(started: &mut Started) -> Result<String, BenchError> {
    let line = started.line()?;
    Ok(line.strip_prefix("at ").unwrap_or(&line).to_owned())
}

pub(crate) fn linked(case: &Case, message: &Message<'static>) -> Result<Sample, BenchError> {
    let mut place = Place::new(case.route);
    // The kinds of sockets that answer, as the program over libzmq has them.
    let asks = case.kind == Kind::RoundTrip && case.route == Route::ZmqTcp;
    if asks {
        place.endpoint += "?socket=rep";
    }
    let mut started = start(case, &place.endpoint, case.payload.len())?;
    let listening = address_of(&mut started)?;
    let endpoint = match case.route {
        _ if asks => format!("{listening}?socket=req"),
        Route::TcpChecksums => format!("{listening}?checksums=on"),
        Route::TcpSendfile => format!("{listening}?sendfile=on"),
        Route::TcpSpin => format!("{listening}?{SPIN}"),
        Route::Unix | Route::UnixSpin | Route::UnixSegment | Route::File => place.endpoint.clone(),
        _ => listening,
    };
    let mut connection = numpush::connect(&endpoint)?;
    if case.kind == Kind::RoundTrip {
        return trips(case, || turn(&mut connection, message), Some(&mut started));
    }
    if case.kind == Kind::Batches {
        return timed(case, &mut started, batches(&mut connection, message));
    }
    let mut last = None;
    let sample = timed(case, &mut started, |count| {
        for _ in 0..count {
            last = Some(connection.send(message)?);
            if case.kind == Kind::BothWays {
                peer::touch(&connection.recv()?.message);
            }
        }
        Ok(())
    })?;
    Ok(Sample {
        sent: last,
        ..sample
    })
}

/// Sends a message so many times, [`BATCH`] times in a call.
fn batches(
    connection: &mut Connection,
    message: &Message<'static>,
) -> impl FnMut(usize) -> Result<(), BenchError> {
    let messages = vec![message.clone(); BATCH];
    move |mut count| {
        while count > 0 {
            let step = count.min(BATCH);
            connection
                .send_all(&messages[..step])
                .map_err(numpush::Error::from)?;
            count -= step;
        }
        Ok(())
    }
}

fn turn(connection: &mut Connection, message: &Message<'_>) -> Result<Transfer, BenchError> {
    let sent = connection.send(message)?;
    let received = connection.recv()?;
    std::hint::black_box(&received);
    Ok(sent)
}

pub(crate) fn bare(case: &Case, size: usize) -> Result<Sample, BenchError> {
    if case.kind == Kind::Batches {
        // As many bytes, in as many system calls.
        let together = Case {
            kind: Kind::Throughput,
            count: case.count / BATCH,
            ..*case
        };
        return bare(&together, size * BATCH);
    }
    let place = Place::new(case.route);
    let mut started = start(case, &place.endpoint, size)?;
    let address = address_of(&mut started)?;
    if matches!(case.route, Route::BareZmq | Route::BareZmqFrames) {
        let send = baseline::zmq_sender(&address, size, case.route == Route::BareZmqFrames)?;
        return timed(case, &mut started, send);
    }
    let mut socket = peer::bare_connect(case.route, &address)?;
    let mut bytes = vec![7_u8; size];
    if case.kind == Kind::RoundTrip {
        let turn = || {
            socket.write_all(&bytes).map_err(bench_error)?;
            socket.read_exact(&mut bytes).map_err(bench_error)?;
            Ok(Transfer::default())
        };
        let sample = trips(case, turn, Some(&mut started))?;
        return Ok(Sample {
            sent: None,
            payload_len: size as u64,
            ..sample
        });
    }
    timed(case, &mut started, |count| {
        for _ in 0..count {
            socket.write_all(&bytes).map_err(bench_error)?;
        }
        Ok(())
    })
}

/// sendfile or splice from sealed memory, in a loop.
pub(crate) fn by_file(case: &Case, size: usize) -> Result<Sample, BenchError> {
    let message = payload::message(&Case {
        route: Route::TcpSegment,
        ..*case
    })?;
    let backing = message
        .buffers()
        .next()
        .and_then(|buffer| buffer.backing().cloned());
    let backing =
        backing.ok_or_else(|| BenchError::Case("a segment without a descriptor".into()))?;
    let mut started = start(case, "-", size)?;
    let address = address_of(&mut started)?;
    let socket = std::net::TcpStream::connect(address).map_err(bench_error)?;
    let splice = case.route == Route::BareSplice;
    timed(case, &mut started, |count| {
        for _ in 0..count {
            baseline::send_descriptor(&socket, &backing.file, size, splice).map_err(bench_error)?;
        }
        Ok(())
    })
}

pub(crate) fn inproc(case: &Case, message: &Message<'static>) -> Result<Sample, BenchError> {
    let mut listener = numpush::listen("inproc:bench")?;
    let echo = case.kind == Kind::RoundTrip;
    let receive = move || -> Result<Transfer, BenchError> {
        let mut connection = listener.accept()?;
        let mut last = Transfer::default();
        loop {
            let received = match connection.recv() {
                Err(numpush::Error::Closed { .. }) => {
                    return Ok(last);
                }
                result => result?,
            };
            last = received.transfer;
            if echo {
                connection.send(&received.message)?;
            } else {
                peer::touch(&received.message);
            }
        }
    };
    let receiver = processor::apart(case.processors, || Ok(std::thread::spawn(receive)))?;
    let mut connection = numpush::connect("inproc:bench")?;
    let mut sample = if echo {
        trips(case, || turn(&mut connection, message), None)?
    } else {
        connection.send(message)?;
        connection.flush()?;
        let began = Instant::now();
        let mut last = Transfer::default();
        if case.kind == Kind::Batches {
            batches(&mut connection, message)(case.count)?;
            last.bytes = message.payload_len();
        } else {
            for _ in 0..case.count {
                last = connection.send(message)?;
            }
        }
        connection.flush()?;
        let seconds = began.elapsed().as_secs_f64();
        let rate = Some(last.bytes as f64 * case.count as f64 / seconds);
        Sample {
            rate,
            sent: Some(last),
            payload_len: last.bytes,
            ..Sample::default()
        }
    };
    connection.close()?;
    let transfer = receiver.join().map_err(|_| panicked())??;
    let (copied, bytes) = (transfer.copied, transfer.bytes);
    sample.received = Some(PeerStats {
        copied,
        bytes,
        ..PeerStats::default()
    });
    Ok(sample)
}

/// Numbers from thread to thread through channels of the standard library, or there and back.
pub(crate) fn channel(case: &Case) -> Result<Sample, BenchError> {
    let echo = case.kind == Kind::RoundTrip;
    let (to, requests) = mpsc::channel::<u64>();
    let (answers, from) = mpsc::channel();
    let receive = move || -> u64 {
        let answer = |number| u64::from(!echo || answers.send(number).is_ok());
        requests.into_iter().map(answer).sum()
    };
    let receiver = processor::apart(case.processors, || Ok(std::thread::spawn(receive)))?;
    let sample = if echo {
        let turn = || {
            to.send(1).map_err(bench_error)?;
            from.recv().map_err(bench_error)?;
            Ok(Transfer::default())
        };
        trips(case, turn, None)?
    } else {
        let began = Instant::now();
        (0..case.count as u64)
            .try_for_each(|number| to.send(number))
            .map_err(bench_error)?;
        drop(to);
        let count = receiver.join().map_err(|_| panicked())?;
        let bytes = count as f64 * case.payload.len() as f64;
        Sample {
            rate: Some(bytes / began.elapsed().as_secs_f64()),
            ..Sample::default()
        }
    };
    Ok(Sample {
        sent: None,
        ..sample
    })
}

fn panicked() -> BenchError {
    BenchError::Case("the receiving thread panicked".into())
}

/// The receiver maps a file that cannot change: memory of ours, sealed, by its name in /proc.
pub(crate) fn mapped(case: &Case, message: &Message<'static>) -> Result<Sample, BenchError> {
    let record = payload::record(message)?;
    let backing = record
        .backing()
        .ok_or_else(|| BenchError::Case("a segment without a descriptor".into()))?;
    let descriptor = std::os::fd::AsRawFd::as_raw_fd(&*backing.file);
    let path = format!("/proc/{}/fd/{descriptor}", std::process::id());
    let mut started = start(case, &path, 0)?;
    address_of(&mut started)?;
    timed(case, &mut started, |_| Ok(()))
}
