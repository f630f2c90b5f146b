//! One worker process, as the pool sees it.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use numpush_os::{Ready, is_hung_up, set_receive_tick, wait};

use crate::mutex::SharedMutex;
use crate::object::{Channel, ChannelError, Value, handle_of_owned, owned_values};
use crate::pool::PoolOptions;
use crate::pool::error::{HeldLock, LockPurpose, PoolError, TaskError};
use crate::pool::protocol::{Call, Reply, VARIABLE, too_long};

/// How long a process that was started may take to report.
const START: Duration = Duration::from_secs(20);
/// How long a worker may take to end after its socket was closed.
const END: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Worker {
    child: Child,
    pub(super) channel: Channel,
}

impl Worker {
    /// Starts the program again, with one end of a socket as its standard input.
    pub(super) fn start(options: &PoolOptions) -> std::io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        // The program that runs now, even if its file has been replaced since.
        let mut command = Command::new("/proc/self/exe");
        if let Some(name) = std::env::args_os().next() {
            command.arg0(name);
        }
        let child = command
            .args(&options.arguments)
            .env(VARIABLE, "1")
            .stdin(OwnedFd::from(theirs))
            .spawn()?;
        Ok(Self {
            child,
            channel: Channel::new(ours),
        })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the first frame, which says that the program serves.
    pub(super) fn wait_until_ready(&mut self, number: usize) -> Result<(), PoolError> {
        let started = Instant::now();
        let socket = self.channel.socket();
        let ready = set_receive_tick(socket, START)
            .map_err(ChannelError::from)
            .and_then(|()| self.channel.receive_bytes())
            .and_then(|_| Ok(set_receive_tick(self.channel.socket(), Duration::ZERO)?));
        ready.map_err(|_| PoolError::WorkerNotReady {
            number,
            after: started.elapsed(),
            ended: self.try_wait().map(describe),
        })
    }

    /// How the process ended, if it closed its socket because it ended.
    fn try_wait(&mut self) -> Option<ExitStatus> {
        if self.has_ended() {
            return wait_for_end(&mut self.child);
        }
        self.child.try_wait().ok().flatten()
    }

    /// True if the process is gone: its end of the socket is closed then. It is not waited for yet.
    pub(super) fn has_ended(&self) -> bool {
        is_hung_up(self.channel.socket())
    }

    /// Sends it a task. An error says that the arguments are too long. That the worker is gone shows when its result is
    /// read.
    pub(super) fn call(&mut self, task: &str, arguments: &[u8]) -> Result<(), TaskError> {
        let call = Call { task, arguments };
        match self.channel.send_bytes(|frame| call.encode(frame)) {
            Err(ChannelError::Malformed) => Err(TaskError::Arguments {
                task: task.into(),
                fault: too_long("arguments"),
            }),
            _ => Ok(()),
        }
    }

    /// The result of the task it runs, or `None` if it died.
    pub(super) fn result(&mut self, task: &str) -> Option<Result<Vec<u8>, TaskError>> {
        let frame = self.channel.receive_bytes().ok()?;
        let task = task.to_owned();
        Some(match Reply::decode(frame) {
            Some(Reply::Done(result)) => Ok(result),
            Some(Reply::Panicked { message, location }) => Err(TaskError::Panicked {
                task,
                message,
                location,
            }),
            Some(Reply::Unknown) => Err(TaskError::Unknown { task }),
            Some(Reply::Unsendable(fault)) => Err(TaskError::Arguments { task, fault }),
            None => Err(TaskError::Arguments {
                task,
                fault: "the worker's reply is malformed".into(),
            }),
        })
    }

    /// How the worker died while it ran `task`, and which locks it held.
    pub(super) fn death_report(mut self, task: &str) -> TaskError {
        let pid = self.pid();
        self.close();
        let status = wait_for_end(&mut self.child);
        TaskError::Died {
            task: task.to_owned(),
            pid,
            how: status.map_or_else(|| "was ended".into(), describe),
            held: locks_held_by(pid),
        }
    }

    /// Ends the worker and waits for its end.
    pub(super) fn end(mut self) {
        self.close();
        let _ = wait_for_end(&mut self.child);
    }

    /// Closes the socket, at which a worker ends.
    fn close(&self) {
        let _ = self.channel.socket().shutdown(std::net::Shutdown::Both);
    }
}

/// Waits for a process that is about to end, and kills it if it takes too long.
fn wait_for_end(child: &mut Child) -> Option<ExitStatus> {
    let until = Instant::now() + END;
    while Instant::now() < until {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        // There is nothing to wait on but the process itself, and it is nearly gone.
        std::thread::sleep(Duration::from_micros(200));
    }
    let _ = child.kill();
    let _ = child.wait();
    None
}

fn describe(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("was killed by signal {signal}"),
        (None, code) => format!("exited with code {}", code.unwrap_or(0)),
    }
}

/// The locks of this process's values that `pid` held when it died.
fn locks_held_by(pid: u32) -> Vec<HeldLock> {
    let mut held = Vec::new();
    for object in owned_values() {
        let Ok(handle) = handle_of_owned(&object) else {
            continue;
        };
        held.extend(purposes(&object, pid).map(|purpose| HeldLock {
            handle: handle.to_string(),
            purpose,
        }));
    }
    held
}

/// What `pid` held each lock of a value for.
fn purposes(object: &Value, pid: u32) -> impl Iterator<Item = LockPurpose> {
    let purpose = move |lock: &numpush_shm_core::RobustRwLock| {
        let state = lock.state();
        let poison = state.poison.filter(|poison| poison.pid == pid);
        if let Some(poison) = poison.filter(|_| !state.partitioned) {
            let end = poison.dirty.end.min(object.spans.byte_len());
            return Some(LockPurpose::Write(poison.dirty.start..end));
        }
        if state.writer.is_some_and(|holder| holder.pid == pid) {
            return Some(if object.kind() == SharedMutex::KIND {
                LockPurpose::Exclude
            } else if object.spans.double().is_some() {
                LockPurpose::Commit
            } else {
                LockPurpose::Write(0..0)
            });
        }
        let reads = state.readers.iter().any(|holder| holder.pid == pid);
        reads.then_some(LockPurpose::Read)
    };
    object.spans.locks().into_iter().filter_map(purpose)
}

/// The place of one of `workers` that has sent something or has died; waits until one has.
pub(super) fn wait_for_one(workers: &[&Worker]) -> usize {
    if workers.len() < 2 {
        return 0;
    }

    let sockets: Vec<_> = workers
        .iter()
        .map(|worker| (worker.channel.socket().as_fd(), Ready::READ))
        .collect();
    let ready = wait(&sockets, None).unwrap_or_default();
    ready.iter().position(|ready| ready.read).unwrap_or(0)
}
