//! What the tests of this folder share.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use numpush::model::{Element, Scalar};
use numpush::{Array, Message};

/// Longest wait for anything in a test: long enough for a busy machine, short enough to tell a hang.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// An array of `len` bytes that tells `seed` in every byte.
pub fn bytes(len: usize, seed: u8) -> Message<'static> {
    let data: Vec<u8> = (0..251)
        .cycle()
        .take(len)
        .map(|byte: u8| byte.wrapping_add(seed))
        .collect();
    Message::from(Array::new(u8::SCALAR, &[len], data.into()).unwrap())
}

/// An array of every element type there is, in the order given by `strides` or C.
pub fn every_dtype() -> Vec<Message<'static>> {
    let plain = "|b1 |i1 |u1 <i2 >i2 <u2 <i4 <u4 <i8 >u8 <f2 <f4 >f4 <f8 <c8 >c16 |S5 <U3 >U2 <M8[ns] <m8[25s]";
    let array = |typestr: &str| {
        let scalar: Scalar = typestr.parse().unwrap();
        let data: Vec<u8> = [0, 1].into_iter().cycle().take(6 * scalar.size()).collect();
        Message::from(Array::new(scalar, &[2, 3], data.into()).unwrap())
    };
    plain.split(' ').map(array).collect()
}

/// A path of its own for each call, which is gone with the guard.
#[derive(Debug)]
pub struct TempPath(
    /// The path.
    pub PathBuf,
);

impl TempPath {
    /// A path in the temporary folder, where nothing is yet.
    pub fn new(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Self(std::env::temp_dir().join(format!("numpush-test-{name}-{process}-{count}")))
    }
}

impl Drop for TempPath {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The test `name` of this test program again, in a process of its own, with `role` in its environment.
#[derive(Debug)]
pub struct Peer {
    /// The process.
    pub child: Child,
    lines: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts the test `test` with `variables` in its environment.
    pub fn start(test: &str, variables: &[(&str, &str)]) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// The rest of the next line that says `word: …`; the test harness writes lines of its own.
    pub fn hears(&mut self, word: &str) -> String {
        let mark = format!("{word}: ");
        loop {
            let mut line = String::new();
            assert!(
                self.lines.read_line(&mut line).unwrap() > 0,
                "the peer ended before it said {word:?}"
            );
            if let Some((_, said)) = line.split_once(&mark) {
                return said.trim().to_owned();
            }
        }
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for a good end.
    pub fn ends_well(mut self) {
        let status = self.child.wait().unwrap();
        assert!(status.success(), "the peer ended with {status}");
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until `done`, and fails if that takes too long.
pub fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !done() {
        assert!(
            Instant::now() < until,
            "waited {PATIENCE:?} in vain for: {what}"
        );
        std::thread::yield_now();
    }
}

/// Open descriptors of this process.
pub fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Says that a test did not run, past the harness, which hides what a test prints that does not fail.
pub fn not_run(why: &str) {
    let _ = writeln!(std::io::stderr(), "NOT RUN: {why}");
}
