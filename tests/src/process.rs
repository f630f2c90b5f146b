//! This program again, as another process.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::not_run;

/// The test `test` of this test program, and only that, in a process of its own.
pub fn again(test: &str) -> Command {
    under(&[], test)
}

/// As [`again`], started by `wrapper`: a program that starts what the words after its own name.
pub fn under(wrapper: &[&str], test: &str) -> Command {
    let program = std::env::current_exe().unwrap();
    let mut command = match wrapper.split_first() {
        None => Command::new(program),
        Some((first, rest)) => {
            let mut command = Command::new(first);
            command.args(rest).arg(program);
            command
        }
    };
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
    command
}

/// True if `command`, started by `wrapper`, ends well on this machine; otherwise reports that a test did not run.
pub fn can_run(wrapper: &[&str], command: &[&str]) -> bool {
    let words: Vec<&str> = wrapper.iter().chain(command).copied().collect();
    let done = Command::new(words[0]).args(&words[1..]).output();
    let can = done.as_ref().is_ok_and(|output| output.status.success());
    if !can {
        not_run(&format!(
            "`{}` is not allowed here: {done:?}",
            words.join(" ")
        ));
    }
    can
}

/// Writes a line that [`Peer::hears`] finds.
pub fn say(word: &str, value: impl std::fmt::Display) {
    // The harness may have begun a line of its own.
    println!("\n{word}: {value}");
    std::io::stdout().flush().unwrap();
}

/// Sends the process `pid` a signal by its name, such as `-STOP`.
pub fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill")
        .args([name, &pid.to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
}

/// Another process that says lines and reads ours. It is killed with its handle.
#[derive(Debug)]
pub struct Peer {
    child: Child,
    input: ChildStdin,
    lines: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts `command`, most often one of [`again`].
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self {
            child,
            input,
            lines,
        }
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What the next line of `word` says; see [`say`]. The test harness writes lines of its own.
    pub fn hears(&mut self, word: &str) -> String {
        let mark = format!("{word}: ");
        loop {
            let mut line = String::new();
            let len = self.lines.read_line(&mut line).unwrap();
            assert!(len > 0, "the peer ended before it said {word:?}");
            if let Some(value) = line.strip_prefix(&mark) {
                return value.trim().to_owned();
            }
        }
    }

    /// Writes an empty line to its standard input.
    pub fn nod(&mut self) {
        self.input.write_all(b"\n").unwrap();
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends it a signal by its name, such as `-STOP`.
    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// Waits for its end, which must be a good one.
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
