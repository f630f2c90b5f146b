//! The other process of a measurement.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use numpush::{Message, Received};
use serde::{Deserialize, Serialize};

use crate::bench::case::Way;
use crate::bench::floor;
use crate::failure::Failure;

/// What the receiver is to do.
#[derive(clap::Args)]
pub(crate) struct Peer {
    #[arg(long, value_enum)]
    pub(crate) way: Way,
    #[arg(long)]
    pub(crate) address: String,
    /// Payload bytes of a message, for the bare ways
    #[arg(long)]
    pub(crate) size: usize,
    /// Messages before the clock starts
    #[arg(long)]
    pub(crate) warm: usize,
    #[arg(long)]
    pub(crate) count: usize,
    /// Send each message back, and touch only its ends
    #[arg(long)]
    pub(crate) echo: bool,
}

/// What the receiver has to tell.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Account {
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

pub(crate) fn run(peer: &Peer) -> Result<(), Failure> {
    match peer.way {
        Way::BareTcp | Way::BareSendfile | Way::BareSplice => {
            let listener = TcpListener::bind("127.0.0.1:0").map_err(broken)?;
            say(&format!("at {}", listener.local_addr().map_err(broken)?));
            let (socket, _) = listener.accept().map_err(broken)?;
            socket.set_nodelay(true).map_err(broken)?;
            bare(peer, socket)
        }
        Way::BareUnix => {
            let listener = UnixListener::bind(&peer.address).map_err(broken)?;
            say(&format!("at {}", peer.address));
            let (socket, _) = listener.accept().map_err(broken)?;
            bare(peer, socket)
        }
        Way::BareZmq | Way::BareZmqFrames => floor::zmq_receiver(peer),
        Way::FileMap => {
            say("at the file");
            let mut heap = numpush::HeapAllocator::new();
            let mut read = || numpush::file::read(Path::new(&peer.address), &mut heap, u64::MAX);
            take(peer, || Ok(read().map_err(numpush::Error::from)?))
        }
        _ => linked(peer),
    }
}

fn linked(peer: &Peer) -> Result<(), Failure> {
    let mut listener = numpush::listen(&peer.address)?;
    say(&format!("at {}", listener.address()));
    let mut connection = listener.accept()?;
    if !peer.echo {
        return take(peer, || Ok(connection.recv()?));
    }
    let mut turn = |last: &mut Account| -> Result<(), Failure> {
        let received = connection.recv()?;
        touch_ends(&received.message);
        account(&received, last);
        connection.send(&received.message)?;
        Ok(())
    };
    measured(peer, &mut turn)
}

/// Receives the warm-up and the measured messages, touching every page.
fn take(peer: &Peer, mut recv: impl FnMut() -> Result<Received, Failure>) -> Result<(), Failure> {
    measured(peer, &mut |last| {
        let received = recv()?;
        touch(&received.message);
        account(&received, last);
        Ok(())
    })
}

/// Runs the warm-up and the measured part, and tells when each is over.
pub(crate) fn measured(
    peer: &Peer,
    turn: &mut dyn FnMut(&mut Account) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut last = Account::default();
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
    say(&serde_json::to_string(&last).unwrap_or_default());
    Ok(())
}

fn bare(peer: &Peer, mut socket: impl Read + Write) -> Result<(), Failure> {
    let mut bytes = vec![1_u8; peer.size];
    measured(peer, &mut |last| {
        socket.read_exact(&mut bytes).map_err(broken)?;
        last.bytes = peer.size as u64;
        if peer.echo {
            socket.write_all(&bytes).map_err(broken)?;
        } else {
            touch_pages(&bytes);
        }
        Ok(())
    })
}

fn account(received: &Received, last: &mut Account) {
    last.copied = received.transfer.copied;
    last.bytes = received.transfer.bytes;
    last.system_calls = received.transfer.system_calls;
}

/// Reads a byte of every page of every buffer.
pub(crate) fn touch(message: &Message<'_>) {
    message
        .buffers()
        .into_iter()
        .for_each(|buffer| touch_pages(buffer));
}

pub(crate) fn touch_pages(bytes: &[u8]) {
    let sum = bytes
        .iter()
        .step_by(4096)
        .fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    std::hint::black_box(sum);
}

fn touch_ends(message: &Message<'_>) {
    message.buffers().into_iter().for_each(|buffer| {
        std::hint::black_box((buffer.first(), buffer.last()));
    });
}

/// Processor seconds of this process.
pub(crate) fn cpu() -> f64 {
    numpush_os::usage().map_or(0.0, |usage| (usage.user + usage.system).as_secs_f64())
}

#[expect(
    clippy::print_stdout,
    reason = "how the peer talks to the process that started it"
)]
pub(crate) fn say(line: &str) {
    println!("{line}");
}

pub(crate) fn broken(error: impl std::fmt::Display) -> Failure {
    Failure::Bench(error.to_string())
}

/// A peer as the process that started it sees it; ended with its handle.
pub(crate) struct Started {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Started {
    pub(crate) fn new(command: &mut Command) -> Result<Self, Failure> {
        let mut child = command.stdout(Stdio::piped()).spawn().map_err(broken)?;
        let lines = child
            .stdout
            .take()
            .ok_or_else(|| Failure::Bench("the peer has no output".into()))?;
        Ok(Self {
            child,
            lines: BufReader::new(lines),
        })
    }

    /// The next line the peer says.
    pub(crate) fn line(&mut self) -> Result<String, Failure> {
        let mut line = String::new();
        let count = self.lines.read_line(&mut line).map_err(broken)?;
        if count == 0 {
            let status = self.child.wait().map_err(broken)?;
            return Err(Failure::Bench(format!(
                "the receiving process ended early ({status})"
            )));
        }
        Ok(line.trim().to_owned())
    }

    pub(crate) fn account(&mut self) -> Result<Account, Failure> {
        let line = self.line()?;
        serde_json::from_str(&line).map_err(broken)
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
pub(crate) fn bare_connect(way: Way, address: &str) -> Result<Box<dyn ReadWrite>, Failure> {
    if way == Way::BareUnix {
        return Ok(Box::new(UnixStream::connect(address).map_err(broken)?));
    }
    let socket = TcpStream::connect(address).map_err(broken)?;
    socket.set_nodelay(true).map_err(broken)?;
    Ok(Box::new(socket))
}

pub(crate) trait ReadWrite: Read + Write {}

impl<T: Read + Write> ReadWrite for T {}
