//! What libzmq does, from C and from Python.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::case::{Case, Kind};
use crate::error::{BenchError, bench_error};
use crate::peer::Started;
use crate::processor;
use crate::run::Sample;

const C: &str = include_str!("../libzmq/peer.c");
const PYTHON: &str = include_str!("../libzmq/peer.py");

/// Prints the library that a wheel of pyzmq brings.
const LIBRARY: &str = "
import glob, os, zmq
folder = os.path.dirname(os.path.dirname(zmq.__file__))
print(glob.glob(os.path.join(folder, 'pyzmq.libs', 'libzmq*'))[0])
";

/// From one process in C to another.
pub(crate) fn in_c(case: &Case) -> Result<Sample, BenchError> {
    let library = library()?;
    let program = Program::build()?;
    let command = || {
        let mut command = Command::new(&program.0);
        command.arg(&library);
        command
    };
    match case.kind {
        Kind::RoundTrip => trips(case, &command),
        _ => throughput(case, &command),
    }
}

/// From one process in Python to another.
pub(crate) fn in_python(case: &Case) -> Result<Sample, BenchError> {
    library()?;
    throughput(case, &|| {
        let mut command = Command::new(python());
        command.args(["-c", PYTHON]);
        command
    })
}

/// The Python that `NUMPUSH_PYTHON` names, or else the one that `tests/run` has set up.
fn python() -> String {
    std::env::var("NUMPUSH_PYTHON").unwrap_or_else(|_| {
        let set_up = "target/python/bin/python3";
        let found = if Path::new(set_up).exists() {
            set_up
        } else {
            "python3"
        };
        found.into()
    })
}

/// The library of the Python that [`python`] names.
fn library() -> Result<PathBuf, BenchError> {
    let python = python();
    let found = Command::new(&python)
        .args(["-c", LIBRARY])
        .stderr(Stdio::null())
        .output();
    match found {
        Ok(output) if output.status.success() => {
            Ok(String::from_utf8_lossy(&output.stdout).trim().into())
        }
        _ => Err(BenchError::Case(format!(
            "{python} has no pyzmq from a wheel: name one with NUMPUSH_PYTHON, or run tests/run, which sets one up"
        ))),
    }
}

/// The program in C, removed with its handle.
struct Program(PathBuf);

impl Program {
    fn build() -> Result<Self, BenchError> {
        let name = format!("numpush-bench-libzmq-{}", std::process::id());
        let program = Self(std::env::temp_dir().join(name));
        let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
        let mut compiling = Command::new(&compiler)
            .args(["-O2", "-x", "c", "-o"])
            .arg(&program.0)
            .args(["-", "-ldl"])
            .stdin(Stdio::piped())
            .spawn()
            .map_err(|error| BenchError::Case(format!("{compiler}: {error}")))?;
        let input = compiling.stdin.take();
        let written = input.map_or(Ok(()), |mut input| input.write_all(C.as_bytes()));
        let status = compiling.wait().map_err(bench_error)?;
        written.map_err(bench_error)?;
        if status.success() {
            return Ok(program);
        }
        Err(BenchError::Case(format!("{compiler} failed ({status})")))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Gives an end its role and its numbers, and starts it.
fn start(
    case: &Case,
    command: &dyn Fn() -> Command,
    role: &str,
    address: &str,
) -> Result<Started, BenchError> {
    let numbers = [case.payload.len(), case.warm(), case.count].map(|number| number.to_string());
    let mut command = command();
    command.args([role, address]).args(numbers);
    Started::new(command.stdin(Stdio::piped()))
}

/// Starts the end that listens, and says where it does.
fn listen(
    case: &Case,
    command: &dyn Fn() -> Command,
    role: &str,
) -> Result<(Started, String), BenchError> {
    let mut listening = processor::apart(case.processors, || {
        start(case, command, role, "tcp://127.0.0.1:*")
    })?;
    let line = listening.line()?;
    let address = line.strip_prefix("at ").unwrap_or(&line).to_owned();
    Ok((listening, address))
}

fn throughput(case: &Case, command: &dyn Fn() -> Command) -> Result<Sample, BenchError> {
    let (mut pull, address) = listen(case, command, "pull")?;
    let mut push = start(case, command, "push", &address)?;
    pull.line()?;
    let began = Instant::now();
    push.tell("go")?;
    let received = pull.stats()?;
    let seconds = began.elapsed().as_secs_f64();
    push.tell("end")?;
    let sent = push.stats()?;
    Ok(Sample {
        rate: Some(case.payload.len() as f64 * case.count as f64 / seconds),
        cpu: Some(received.cpu + sent.cpu),
        received: Some(received),
        payload_len: received.bytes,
        ..Sample::default()
    })
}

fn trips(case: &Case, command: &dyn Fn() -> Command) -> Result<Sample, BenchError> {
    let (_reply, address) = listen(case, command, "rep")?;
    let mut request = start(case, command, "req", &address)?;
    let line = request.line()?;
    let mut trips = Vec::with_capacity(case.count);
    for word in line.split_whitespace() {
        let nanoseconds: f64 = word.parse().map_err(bench_error)?;
        trips.push(nanoseconds / 1e9);
    }
    trips.sort_by(f64::total_cmp);
    Ok(Sample {
        trips,
        payload_len: case.payload.len() as u64,
        ..Sample::default()
    })
}
