//! The other process of a measurement.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use numpush::Message;
use numpush::transfer::Received;

use crate::case::{Kind, Route};
use crate::error::{BenchError, bench_error};
use crate::{baseline, payload};

/// The first argument of the receiving process.
pub(crate) const WORD: &str = "peer";

/// What the receiver is to do.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) route: Route,
    pub(crate) address: String,
    /// Payload bytes of a message, for the baselines.
    pub(crate) size: usize,
    /// Messages before the clock starts.
    pub(crate) warm: usize,
    pub(crate) count: usize,
    pub(crate) part: Part,
}

/// What the receiver does with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Receives each message and touches every page of it.
    Take,
    /// Sends each message back, and touches only its ends.
    Echo,
    /// Sends a message of its own for each that it takes, before it does.
    Both,
}

impl Part {
    pub(crate) fn of(kind: Kind) -> Self {
        match kind {
            Kind::Throughput | Kind::Batches => Self::Take,
            Kind::RoundTrip => Self::Echo,
            Kind::BothWays => Self::Both,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Take => "take",
            Self::Echo => "echo",
            Self::Both => "both",
        }
    }

    fn named(name: &str) -> Option<Self> {
        [Self::Take, Self::Echo, Self::Both]
            .into_iter()
            .find(|part| part.name() == name)
    }
}

impl Peer {
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, BenchError> {
        let mut next = || words.next().unwrap_or_default();
        let number = |text: String| text.parse().map_err(|_| usage());
        Ok(Self {
            route: Route::named(&next()).ok_or_else(usage)?,
            address: next(),
            size: number(next())?,
            warm: number(next())?,
            count: number(next())?,
            part: Part::named(&next()).ok_or_else(usage)?,
        })
    }

    /// This program again, with the arguments that [`parse`](Self::parse) reads.
    pub(crate) fn start(&self) -> Result<Started, BenchError> {
        let numbers = [self.size, self.warm, self.count].map(|number| number.to_string());
        let mut command = Command::new(std::env::current_exe().map_err(bench_error)?);
        command.args([WORD, self.route.name(), &self.address]);
        command.args(numbers);
        command.arg(self.part.name());
        Started::new(&mut command)
    }
}

fn usage() -> BenchError {
    BenchError::Usage("a receiving process is started by the sending one".into())
}

/// What the receiver reports.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PeerStats {
    /// Payload bytes copied by us, of the last message.
    pub(crate) copied: u64,
    /// Payload bytes of the last message.
    pub(crate) bytes: u64,
    pub(crate) system_calls: u32,
    /// Processor seconds of the measured part.
    pub(crate) cpu: f64,
    /// Largest resident memory in bytes.
    pub(crate) peak: u64,
}

impl PeerStats {
    fn to_line(self) -> String {
        let Self {
            copied,
            bytes,
            system_calls,
            cpu,
            peak,
        } = self;
        format!("{copied} {bytes} {system_calls} {cpu} {peak}")
    }

    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        Some(Self {
            copied: words.next()?.parse().ok()?,
            bytes: words.next()?.parse().ok()?,
            system_calls: words.next()?.parse().ok()?,
            cpu: words.next()?.parse().ok()?,
            peak: words.next()?.parse().ok()?,
        })
    }
}

pub(crate) fn run(peer: &Peer) -> Result<(), BenchError> {
    match peer.route {
        Route::BareTcp | Route::BareSendfile | Route::BareSplice => {
            let listener = TcpListener::bind("127.0.0.1:0").map_err(bench_error)?;
            say(&format!(
                "at {}",
                listener.local_addr().map_err(bench_error)?
            ));
            let (socket, _) = listener.accept().map_err(bench_error)?;
            socket.set_nodelay(true).map_err(bench_error)?;
            bare(peer, socket)
        }
        Route::BareUnix => {
            let listener = UnixListener::bind(&peer.address).map_err(bench_error)?;
            say(&format!("at {}", peer.address));
            let (socket, _) = listener.accept().map_err(bench_error)?;
            bare(peer, socket)
        }
        Route::BareZmq | Route::BareZmqFrames => baseline::zmq_receiver(peer),
        Route::FileMap => {
            say("at the file");
            let mut heap = numpush::model::HeapAllocator::new();
            let mut read = || numpush::file::read(Path::new(&peer.address), &mut heap, u64::MAX);
            take(peer, || Ok(read()?))
        }
        _ => linked(peer),
    }
}

fn linked(peer: &Peer) -> Result<(), BenchError> {
    let mut listener = numpush::listen(&peer.address)?;
    say(&format!("at {}", listener.address()));
    let mut connection = listener.accept()?;
    match peer.part {
        Part::Take => return take(peer, || Ok(connection.recv()?)),
        Part::Both => {
            let message = payload::array(peer.route, peer.size)?;
            return take(peer, || {
                connection.send(&message)?;
                Ok(connection.recv()?)
            });
        }
        Part::Echo => {}
    }
    let mut turn = |last: &mut PeerStats| -> Result<(), BenchError> {
        let received = connection.recv()?;
        touch_ends(&received.message);
        note(&received, last);
        connection.send(&received.message)?;
        Ok(())
    };
    measured(peer, &mut turn)
}

/// Receives the warm-up and the measured messages, touching every page.
fn take(
    peer: &Peer,
    mut recv: impl FnMut() -> Result<Received, BenchError>,
) -> Result<(), BenchError> {
    measured(peer, &mut |last| {
        let received = recv()?;
        touch(&received.message);
        note(&received, last);
        Ok(())
    })
}

/// Runs the warm-up and the measured part, and reports when each is over.
pub(crate) fn measured(
    peer: &Peer,
    turn: &mut dyn FnMut(&mut PeerStats) -> Result<(), BenchError>,
) -> Result<(), BenchError> {
    let mut last = PeerStats::default();
    for _ in 0..peer.warm {
        turn(&mut last)?;
    }
    say("warm");
    let before = cpu();
    for _ in 0..peer.count {
        turn(&mut last)?;
    }
    last.cpu = cpu() - before;
    last.peak = numpush_os::peak_memory().unwrap_or(0);
    say(&last.to_line());
    Ok(())
}

fn bare(peer: &Peer, mut socket: impl Read + Write) -> Result<(), BenchError> {
    let mut bytes = vec![1_u8; peer.size];
    measured(peer, &mut |last| {
        socket.read_exact(&mut bytes).map_err(bench_error)?;
        last.bytes = peer.size as u64;
        if peer.part == Part::Echo {
            socket.write_all(&bytes).map_err(bench_error)?;
        } else {
            touch_pages(&bytes);
        }
        Ok(())
    })
}

fn note(received: &Received, last: &mut PeerStats) {
    last.copied = received.transfer.copied;
    last.bytes = received.transfer.bytes;
    last.system_calls = received.transfer.system_calls;
}

/// Reads a byte of every page of every buffer.
pub(crate) fn touch(message: &Message<'_>) {
    message.buffers().for_each(|buffer| touch_pages(buffer));
}

pub(crate) fn touch_pages(bytes: &[u8]) {
    let sum = bytes
        .iter()
        .step_by(4096)
        .fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    std::hint::black_box(sum);
}

fn touch_ends(message: &Message<'_>) {
    message.buffers().for_each(|buffer| {
        std::hint::black_box((buffer.first(), buffer.last()));
    });
}

/// Processor seconds of this process.
pub(crate) fn cpu() -> f64 {
    numpush_os::usage().map_or(0.0, |usage| (usage.user + usage.system).as_secs_f64())
}

pub(crate) fn say(line: &str) {
    println!("{line}");
}

/// A peer as the process that started it sees it; ended with its handle.
pub(crate) struct Started {
    child: Child,
    input: Option<ChildStdin>,
    lines: BufReader<ChildStdout>,
}

impl Started {
    pub(crate) fn new(command: &mut Command) -> Result<Self, BenchError> {
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .map_err(bench_error)?;
        let lines = child
            .stdout
            .take()
            .ok_or_else(|| BenchError::Case("the peer has no output".into()))?;
        Ok(Self {
            input: child.stdin.take(),
            child,
            lines: BufReader::new(lines),
        })
    }

    /// The next line the peer says.
    pub(crate) fn line(&mut self) -> Result<String, BenchError> {
        let mut line = String::new();
        let count = self.lines.read_line(&mut line).map_err(bench_error)?;
        if count == 0 {
            let status = self.child.wait().map_err(bench_error)?;
            return Err(BenchError::Case(format!(
                "the receiving process ended early ({status})"
            )));
        }
        Ok(line.trim().to_owned())
    }

    /// Tells the peer something, if it was started with a standard input of its own.
    pub(crate) fn tell(&mut self, line: &str) -> Result<(), BenchError> {
        let input = self.input.as_mut();
        input.map_or(Ok(()), |input| {
            writeln!(input, "{line}").map_err(bench_error)
        })
    }

    pub(crate) fn stats(&mut self) -> Result<PeerStats, BenchError> {
        let line = self.line()?;
        PeerStats::parse(&line)
            .ok_or_else(|| BenchError::Case(format!("the receiver said {line:?}")))
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // It ends by itself when it has said its last line; whatever keeps it must not keep us.
        for _ in 0..200 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Connects to a bare peer.
pub(crate) fn bare_connect(route: Route, address: &str) -> Result<Box<dyn ReadWrite>, BenchError> {
    if route == Route::BareUnix {
        return Ok(Box::new(UnixStream::connect(address).map_err(bench_error)?));
    }
    let socket = TcpStream::connect(address).map_err(bench_error)?;
    socket.set_nodelay(true).map_err(bench_error)?;
    Ok(Box::new(socket))
}

pub(crate) trait ReadWrite: Read + Write {}

impl<T: Read + Write> ReadWrite for T {}
