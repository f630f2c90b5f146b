//! Victims that live together and die together.

use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::random::Random;
use crate::victim::{PLANT, VARIABLE};

/// Longest time between the first word of the last victim and the next deaths.
const LIFE_MICROS: u64 = 2000;

/// A process that is to be killed, in a process group of its own.
pub(crate) struct Victim {
    child: Child,
    pub(crate) output: ChildStdout,
    /// True once its first report was read.
    works: bool,
}

impl Victim {
    pub(crate) fn start(role: &str, plant: bool) -> io::Result<Self> {
        let mut command = Command::new("/proc/self/exe");
        command
            .env(VARIABLE, role)
            .env(PLANT, if plant { "1" } else { "" })
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .process_group(0);
        let mut child = command.spawn()?;
        let output = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Self {
            child,
            output,
            works: false,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Reads its first report, which says that it works.
    pub(crate) fn hear(&mut self, len: usize) -> Vec<u8> {
        let mut first = vec![0; len];
        if !self.works {
            self.works = true;
            let _ = self.output.read_exact(&mut first);
        }
        first
    }

    /// Sends it a signal, and its children too if `group`. One that has ended gets none.
    pub(crate) fn signal(&self, signal: Signal, group: bool) {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        let _ = if group {
            killpg(pid, signal)
        } else {
            kill(pid, signal)
        };
    }

    /// All that it has still said, and how it ended.
    pub(crate) fn end(mut self) -> (Vec<u8>, Option<ExitStatus>) {
        let mut said = Vec::new();
        let _ = self.output.read_to_end(&mut said);
        (said, self.child.wait().ok())
    }
}

/// Takes those out of `living` that die now: each with three chances of four, and at least one, but no more than `most`.
pub(crate) fn doomed(living: &mut Vec<Victim>, random: &mut Random, most: u64) -> Vec<Victim> {
    let mut all = std::mem::take(living);
    let mut dying = Vec::new();
    let first = usize::try_from(random.below(all.len() as u64)).unwrap_or(0);
    dying.push(all.swap_remove(first));
    for victim in all {
        if random.below(4) > 0 && (dying.len() as u64) < most {
            dying.push(victim);
        } else {
            living.push(victim);
        }
    }
    dying
}

/// Microseconds are shorter than a sleep: waits in a loop, as a busy neighbour would.
pub(crate) fn pause(random: &mut Random) {
    let until = Instant::now() + Duration::from_micros(random.below(LIFE_MICROS));
    while Instant::now() < until {
        std::thread::yield_now();
    }
}
