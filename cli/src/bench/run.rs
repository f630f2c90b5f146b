//! One measurement.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use numpush::{
    Array, Buffer, Connection, Encoder, Flags, Message, Scalar, SealedBufferMut, Transfer,
};

use crate::bench::case::{Case, Kind, Load, Way};
use crate::bench::floor;
use crate::bench::peer::{self, Account, Started, broken};
use crate::failure::Failure;

/// What one run of a case gave.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    /// Payload bytes a second.
    pub(crate) rate: Option<f64>,
    /// Seconds of each round trip, sorted.
    pub(crate) trips: Vec<f64>,
    pub(crate) sent: Option<Transfer>,
    pub(crate) received: Option<Account>,
    /// Processor seconds of both sides.
    pub(crate) cpu: Option<f64>,
    /// Payload bytes of one message.
    pub(crate) payload: u64,
}

pub(crate) fn measure(case: &Case, frame: Option<&Message<'static>>) -> Result<Sample, Failure> {
    let size = match case.load {
        Load::Array(bytes) => bytes,
        Load::Frame => 0,
    };
    let rate = |seconds: f64| Sample {
        rate: Some(size as f64 * case.count as f64 / seconds),
        payload: size as u64,
        ..Sample::default()
    };
    match case.way {
        Way::MemcpyWarm | Way::MemcpyFresh => Ok(rate(floor::memcpy(
            size,
            case.count,
            case.way == Way::MemcpyFresh,
        ))),
        Way::Pyzmq => Ok(rate(floor::pyzmq(size, WARM, case.count)?)),
        Way::Inproc => inproc(case, &load(case, frame)?),
        Way::BareSendfile | Way::BareSplice => by_file(case, size),
        Way::BareTcp | Way::BareUnix | Way::BareZmq | Way::BareZmqFrames => bare(case, size),
        Way::FileMap => mapped(case, &load(case, frame)?),
        _ => linked(case, &load(case, frame)?),
    }
}

/// Messages before the clock starts: they fault in the pages that a program in its stride has warm.
const WARM: usize = 2;

/// The message a case sends, from where the case wants it to lie.
fn load(case: &Case, frame: Option<&Message<'static>>) -> Result<Message<'static>, Failure> {
    let in_segment = matches!(
        case.way,
        Way::TcpSegment | Way::TcpSendfile | Way::UnixSegment
    );
    let Load::Array(bytes) = case.load else {
        let frame = frame
            .cloned()
            .ok_or_else(|| Failure::Bench("no dataframe".into()))?;
        return if in_segment {
            reopened(&frame)
        } else {
            Ok(frame)
        };
    };
    let buffer = if in_segment {
        let mut segment = SealedBufferMut::new(bytes).map_err(numpush::Error::from)?;
        segment.as_mut_slice().fill(7);
        segment.seal().map_err(numpush::Error::from)?
    } else {
        Buffer::from(vec![7; bytes])
    };
    let float: Scalar = "<f8"
        .parse()
        .map_err(numpush::DecodeError::from)
        .map_err(numpush::Error::from)?;
    Ok(Message::from(
        Array::new(float, &[bytes / 8], buffer).map_err(numpush::Error::from)?,
    ))
}

/// The message's record in sealed memory.
fn record(message: &Message<'_>) -> Result<Buffer<'static>, Failure> {
    let mut encoder = Encoder::new(message, 0, Flags::default()).map_err(numpush::Error::from)?;
    let len = usize::try_from(encoder.record_len()).map_err(broken)?;
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
fn reopened(message: &Message<'_>) -> Result<Message<'static>, Failure> {
    let limits = numpush::Limits::default().with_payload(u64::MAX);
    Ok(Message::open(&record(message)?, &limits).map_err(numpush::Error::from)?)
}

fn start(case: &Case, address: &str, size: usize) -> Result<Started, Failure> {
    let program = std::env::current_exe().map_err(broken)?;
    let way =
        clap::ValueEnum::to_possible_value(&case.way).map(|value| value.get_name().to_owned());
    let numbers = [size, WARM, case.count].map(|number| number.to_string());
    let mut command = Command::new(program);
    command.args([
        "bench-peer",
        "--way",
        &way.unwrap_or_default(),
        "--address",
        address,
    ]);
    command.args([
        "--size",
        &numbers[0],
        "--warm",
        &numbers[1],
        "--count",
        &numbers[2],
    ]);
    if case.kind == Kind::RoundTrip {
        command.arg("--echo");
    }
    Started::new(&mut command)
}

fn address_of(started: &mut Started) -> Result<String, Failure> {
    let line = started.line()?;
    Ok(line.strip_prefix("at ").unwrap_or(&line).to_owned())
}

/// Runs the warm-up, then the measured part, both by `send`; the clock stops when the peer has touched the last page.
fn timed(
    case: &Case,
    started: &mut Started,
    mut send: impl FnMut(usize) -> Result<(), Failure>,
) -> Result<Sample, Failure> {
    send(WARM)?;
    started.line()?;
    let cpu = peer::cpu();
    let began = Instant::now();
    send(case.count)?;
    let received = started.account()?;
    let seconds = began.elapsed().as_secs_f64();
    Ok(Sample {
        rate: Some(received.bytes as f64 * case.count as f64 / seconds),
        cpu: Some(peer::cpu() - cpu + received.cpu),
        received: Some(received),
        payload: received.bytes,
        ..Sample::default()
    })
}

fn linked(case: &Case, message: &Message<'static>) -> Result<Sample, Failure> {
    let place = Place::new(case.way);
    let mut started = start(case, &place.endpoint, 0)?;
    let listening = address_of(&mut started)?;
    let endpoint = match case.way {
        Way::TcpChecksums => format!("{listening}?checksums=on"),
        Way::TcpSendfile => format!("{listening}?sendfile=on"),
        Way::Unix | Way::UnixSegment | Way::File => place.endpoint.clone(),
        _ => listening,
    };
    let mut connection = numpush::connect(&endpoint)?;
    if case.kind == Kind::RoundTrip {
        return trips(case, || turn(&mut connection, message), Some(&mut started));
    }
    let mut last = None;
    let sample = timed(case, &mut started, |count| {
        for _ in 0..count {
            last = Some(connection.send(message)?);
        }
        Ok(())
    })?;
    Ok(Sample {
        sent: last,
        ..sample
    })
}

fn turn(connection: &mut Connection, message: &Message<'_>) -> Result<Transfer, Failure> {
    let sent = connection.send(message)?;
    let received = connection.recv()?;
    std::hint::black_box(&received);
    Ok(sent)
}

/// Times `count` round trips after the warm-up.
fn trips(
    case: &Case,
    mut turn: impl FnMut() -> Result<Transfer, Failure>,
    started: Option<&mut Started>,
) -> Result<Sample, Failure> {
    for _ in 0..WARM {
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
            Some(started.account()?)
        }
        None => None,
    };
    let cpu = peer::cpu() - cpu + received.map_or(0.0, |account| account.cpu);
    Ok(Sample {
        trips: seconds,
        sent: Some(last),
        received,
        cpu: Some(cpu),
        payload: last.bytes,
        ..Sample::default()
    })
}

fn bare(case: &Case, size: usize) -> Result<Sample, Failure> {
    let place = Place::new(case.way);
    let mut started = start(case, &place.endpoint, size)?;
    let address = address_of(&mut started)?;
    if matches!(case.way, Way::BareZmq | Way::BareZmqFrames) {
        let send = floor::zmq_sender(&address, size, case.way == Way::BareZmqFrames)?;
        return timed(case, &mut started, send);
    }
    let mut socket = peer::bare_connect(case.way, &address)?;
    let mut payload = vec![7_u8; size];
    if case.kind == Kind::RoundTrip {
        let turn = || {
            socket.write_all(&payload).map_err(broken)?;
            socket.read_exact(&mut payload).map_err(broken)?;
            Ok(Transfer::default())
        };
        let sample = trips(case, turn, Some(&mut started))?;
        return Ok(Sample {
            sent: None,
            payload: size as u64,
            ..sample
        });
    }
    timed(case, &mut started, |count| {
        for _ in 0..count {
            socket.write_all(&payload).map_err(broken)?;
        }
        Ok(())
    })
}

/// sendfile or splice from sealed memory, in a loop.
fn by_file(case: &Case, size: usize) -> Result<Sample, Failure> {
    let buffer = load(
        &Case {
            way: Way::TcpSegment,
            ..*case
        },
        None,
    )?;
    let backing = buffer
        .buffers()
        .first()
        .and_then(|buffer| buffer.backing().cloned());
    let backing = backing.ok_or_else(|| Failure::Bench("a segment without a descriptor".into()))?;
    let mut started = start(case, "-", size)?;
    let address = address_of(&mut started)?;
    let socket = std::net::TcpStream::connect(address).map_err(broken)?;
    let splice = case.way == Way::BareSplice;
    timed(case, &mut started, |count| {
        for _ in 0..count {
            floor::send_descriptor(&socket, &backing.file, size, splice).map_err(broken)?;
        }
        Ok(())
    })
}

fn inproc(case: &Case, message: &Message<'static>) -> Result<Sample, Failure> {
    let mut listener = numpush::listen("inproc:bench")?;
    let echo = case.kind == Kind::RoundTrip;
    let receiver = std::thread::spawn(move || -> Result<Transfer, Failure> {
        let mut connection = listener.accept()?;
        let mut last = Transfer::default();
        loop {
            let received = match connection.recv() {
                Err(numpush::Error::Transport(numpush::TransportError::Closed { .. })) => {
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
    });
    let mut connection = numpush::connect("inproc:bench")?;
    let mut sample = if echo {
        trips(case, || turn(&mut connection, message), None)?
    } else {
        connection.send(message)?;
        connection.flush()?;
        let began = Instant::now();
        let mut last = Transfer::default();
        for _ in 0..case.count {
            last = connection.send(message)?;
        }
        connection.flush()?;
        let seconds = began.elapsed().as_secs_f64();
        let rate = Some(last.bytes as f64 * case.count as f64 / seconds);
        Sample {
            rate,
            sent: Some(last),
            payload: last.bytes,
            ..Sample::default()
        }
    };
    connection.close()?;
    let transfer = receiver
        .join()
        .map_err(|_| Failure::Bench("the receiving thread panicked".into()))??;
    let (copied, bytes) = (transfer.copied, transfer.bytes);
    sample.received = Some(Account {
        copied,
        bytes,
        ..Account::default()
    });
    Ok(sample)
}

/// The receiver maps a file that cannot change: memory of ours, sealed, by its name in /proc.
fn mapped(case: &Case, message: &Message<'static>) -> Result<Sample, Failure> {
    let record = record(message)?;
    let backing = record
        .backing()
        .ok_or_else(|| Failure::Bench("a segment without a descriptor".into()))?;
    let descriptor = std::os::fd::AsRawFd::as_raw_fd(&*backing.file);
    let path = format!("/proc/{}/fd/{descriptor}", std::process::id());
    let mut started = start(case, &path, 0)?;
    address_of(&mut started)?;
    timed(case, &mut started, |_| Ok(()))
}

/// An endpoint of its own for each measurement, cleaned up after it.
struct Place {
    endpoint: String,
    folder: Option<std::path::PathBuf>,
}

impl Place {
    fn new(way: Way) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "numpush-bench-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(&name);
        let shown = path.display();
        let (endpoint, is_folder) = match way {
            Way::Unix | Way::UnixSegment => (format!("unix:@{name}"), false),
            Way::BareUnix => (shown.to_string(), true),
            Way::File => (format!("file:{shown}/"), true),
            Way::ZmqIpc => (format!("zmq+ipc:{shown}"), true),
            Way::ZmqTcp => ("zmq+tcp://127.0.0.1:0".to_owned(), false),
            _ => ("tcp://127.0.0.1:0".to_owned(), false),
        };
        Self {
            endpoint,
            folder: is_folder.then_some(path),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(path) = &self.folder {
            let _ = std::fs::remove_file(path);
            let _ = std::fs::remove_dir_all(path);
        }
    }
}
