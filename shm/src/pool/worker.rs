//! One worker process, as the pool sees it.

use std::collections::VecDeque;
use std::io;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::pool::call::{Common, Waiting};
use crate::pool::frames::{Inbox, Outbox, Received};
use crate::pool::options::PoolOptions;
use crate::pool::protocol::{VARIABLE, encode_call, encode_opened};

/// How long a process that was started may take to report.
const START: Duration = Duration::from_secs(20);
/// How long a worker may take to end after its socket was closed.
const END: Duration = Duration::from_secs(5);

/// A worker, from its start until it has been waited for.
#[derive(Debug)]
pub(super) struct Worker {
    child: Child,
    pub(super) socket: Arc<UnixStream>,
    pub(super) inbox: Inbox,
    outbox: Outbox,
    pub(super) phase: Phase,
    pub(super) started: Instant,
    pub(super) has_served: bool,
    /// The tasks that it has, in the order in which it runs them. It runs the first.
    pub(super) out: VecDeque<Sent>,
    /// When the first of them began, or later: when the pool has heard that the one before has ended.
    pub(super) since: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It has not reported yet.
    Starting { until: Instant },
    /// It runs tasks, or waits for one.
    Serving,
    /// Its socket is closed, or it was killed: it ends, and is killed after `until`.
    Ending { until: Instant, cause: Cause },
}

/// Why a worker ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// By itself, or because somebody killed it.
    Unknown,
    /// It has not reported in time.
    Silent,
    /// Its first task ran longer than this.
    Timeout(Duration),
}

/// A task that was sent to a worker.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) common: Arc<Common>,
    /// Kept to send it to another worker, if this one dies before it begins.
    pub(super) task: Waiting,
    /// Where its frame ends among the bytes of the outbox.
    end: u64,
}

/// Why a process was not started.
#[derive(Debug)]
pub(super) enum StartError {
    Spawn(io::Error),
    Bind(Vec<usize>, io::Error),
}

impl Worker {
    /// Starts the program again, with one end of a socket as its standard input. It is worker number `number`.
    pub(super) fn start(options: &PoolOptions, number: usize) -> Result<Self, StartError> {
        let (ours, theirs) = UnixStream::pair().map_err(StartError::Spawn)?;
        // The program that runs now, even if its file has been replaced since.
        let mut command = Command::new("/proc/self/exe");
        if let Some(name) = std::env::args_os().next() {
            command.arg0(name);
        }
        let child = command
            .args(&options.arguments)
            .env(VARIABLE, std::process::id().to_string())
            .stdin(OwnedFd::from(theirs))
            .spawn()
            .map_err(StartError::Spawn)?;
        let now = Instant::now();
        let worker = Self {
            child,
            socket: Arc::new(ours),
            inbox: Inbox::default(),
            outbox: Outbox::default(),
            phase: Phase::Starting { until: now + START },
            started: now,
            has_served: false,
            out: VecDeque::new(),
            since: now,
        };
        let sets = &options.processors;
        if let Some(set) = sets.get(number % sets.len().max(1))
            && let Err(error) = numpush_os::bind_to_processors(worker.pid(), set)
        {
            worker.end();
            return Err(StartError::Bind(set.clone(), error));
        }
        Ok(worker)
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.phase == Phase::Serving && self.out.is_empty()
    }

    /// True if it has tasks, and all of what they need.
    pub(super) fn is_busy(&self) -> bool {
        self.phase == Phase::Serving && !self.out.is_empty() && !self.has_unsent()
    }

    /// Hands it a task. Nothing is sent before [`Self::flush`].
    pub(super) fn push(&mut self, common: &Arc<Common>, task: Waiting) {
        if self.out.is_empty() {
            self.since = Instant::now();
        }
        let item = &task.arguments.bytes;
        let argument = common.argument.as_ref().map(|all| all.bytes.as_slice());
        // Its length was checked before it came to wait.
        let _ = self
            .outbox
            .push(|frame| encode_call(frame, common.task, item, argument));
        self.out.push_back(Sent {
            common: Arc::clone(common),
            task,
            end: self.outbox.appended(),
        });
    }

    /// Says that the values of its oldest result are open here.
    pub(super) fn push_opened(&mut self) {
        let _ = self.outbox.push(encode_opened);
    }

    /// Sends what the socket takes. That the worker is gone is an error: what was not sent, it has not begun.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.outbox.flush(&*self.socket, false)
    }

    pub(super) fn has_unsent(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// Takes back the tasks that it cannot have begun. The one that it may have begun is left.
    pub(super) fn take_unbegun(&mut self) -> VecDeque<Sent> {
        let begun = self
            .out
            .front()
            .is_some_and(|first| first.end <= self.outbox.sent());
        self.out.split_off(usize::from(begun))
    }

    /// When its first task is to be over.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let limit = self.out.front()?.common.options.timeout?;
        self.since.checked_add(limit)
    }

    /// Notes that it serves.
    pub(super) fn serve(&mut self) {
        self.phase = Phase::Serving;
        self.has_served = true;
    }

    /// Receives once.
    pub(super) fn receive(&mut self) -> Received {
        self.inbox.fill(&*self.socket, false)
    }

    /// Closes the socket, at which a worker ends.
    pub(super) fn close(&mut self, cause: Cause) {
        let _ = self.socket.shutdown(Shutdown::Both);
        self.phase = Phase::Ending {
            until: Instant::now() + END,
            cause,
        };
    }

    pub(super) fn send_kill(&mut self) {
        let _ = self.child.kill();
    }

    /// Kills it. What it has sent can still be received.
    pub(super) fn kill(&mut self, cause: Cause) {
        self.send_kill();
        self.phase = Phase::Ending {
            until: Instant::now() + END,
            cause,
        };
    }

    /// How it ended, once it has.
    pub(super) fn status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Closes the socket and waits until the process has ended; kills it if that takes too long.
    pub(super) fn end(mut self) {
        self.close(Cause::Unknown);
        let until = Instant::now() + END;
        while Instant::now() < until {
            if self.status().is_some() {
                return;
            }
            // There is nothing to wait on but the process itself, and it is nearly gone.
            std::thread::sleep(Duration::from_micros(200));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
