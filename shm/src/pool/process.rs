//! One worker, from the side of the pool.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use numpush_os::{set_receive_tick, wait};

use crate::channel::{Channel, Fault, MAX_FRAME};
use crate::object::{Origin, registry};
use crate::pool::PoolOptions;
use crate::pool::error::{HeldLock, PoolError, TaskError};
use crate::pool::worker::{ARGUMENTS, DONE, PANICKED, UNKNOWN, VARIABLE};

/// A process that was started is expected to report within this.
const START: Duration = Duration::from_secs(20);
/// A worker whose socket is closed ends by itself; this is how long it may take.
const END: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Worker {
    pub(super) child: Child,
    pub(super) channel: Channel,
}

impl Worker {
    /// Starts the program again, with one end of a socket as its standard input.
    pub(super) fn start(options: &PoolOptions) -> std::io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        // What is running now, even if its file has been replaced since.
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

    /// Waits for its first word.
    pub(super) fn greet(&mut self, number: usize) -> Result<(), PoolError> {
        let silent = || PoolError::Silent {
            number,
            seconds: START.as_secs(),
        };
        set_receive_tick(self.channel.socket(), START).map_err(|_| silent())?;
        self.channel.receive_bytes().map_err(|_| silent())?;
        set_receive_tick(self.channel.socket(), Duration::ZERO).map_err(|_| silent())
    }

    /// True if the process is gone: its end of the socket is closed then. It is not waited for yet.
    pub(super) fn has_ended(&self) -> bool {
        numpush_os::is_hung_up(self.channel.socket())
    }

    /// Sends it a task. An error says that the arguments are too long; that the worker is gone shows when its result is
    /// read.
    pub(super) fn call(&mut self, name: &str, arguments: &[u8]) -> Result<(), TaskError> {
        let sent = self.channel.send_bytes(|call| {
            call.extend_from_slice(name.as_bytes());
            call.push(0);
            call.extend_from_slice(arguments);
        });
        match sent {
            Err(Fault::Garbled(_)) => Err(TaskError::Arguments {
                task: name.into(),
                fault: too_long("arguments"),
            }),
            _ => Ok(()),
        }
    }

    /// The result of the task it runs, or `None` if it died.
    pub(super) fn result(&mut self, name: &str) -> Option<Result<Vec<u8>, TaskError>> {
        let mut reply = self.channel.receive_bytes().ok()?;
        let task = name.to_owned();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Some(match *reply.first()? {
            DONE => {
                reply.drain(..1);
                Ok(reply)
            }
            PANICKED => {
                let (message, location) = rmp_serde::from_slice(&reply[1..]).unwrap_or_default();
                Err(TaskError::Panicked {
                    task,
                    message,
                    location,
                })
            }
            UNKNOWN => Err(TaskError::Unknown { task }),
            ARGUMENTS => Err(TaskError::Arguments {
                task,
                fault: text(&reply[1..]),
            }),
            _ => Err(TaskError::Arguments {
                task,
                fault: "the worker's answer makes no sense".into(),
            }),
        })
    }

    /// How it died, and with what in its hands.
    pub(super) fn post_mortem(mut self, name: &str) -> TaskError {
        let pid = self.child.id();
        let _ = self.channel.socket().shutdown(std::net::Shutdown::Both);
        let how = match end(&mut self.child) {
            Some(status) => describe(status),
            None => "was ended".into(),
        };
        TaskError::Died {
            task: name.to_owned(),
            pid,
            how,
            held: held_by(pid),
        }
    }

    /// Closes the socket, which ends it, and waits for that.
    pub(super) fn end(mut self) {
        let _ = self.channel.socket().shutdown(std::net::Shutdown::Both);
        let _ = end(&mut self.child);
    }
}

/// What to say of arguments or of a result over the limit.
pub(super) fn too_long(what: &str) -> String {
    format!(
        "its {what} are over the limit of {MAX_FRAME} bytes: send a handle, and the data in shared memory"
    )
}

/// Waits for a process that is about to end, and kills it if it takes too long.
fn end(child: &mut Child) -> Option<ExitStatus> {
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
fn held_by(pid: u32) -> Vec<HeldLock> {
    let mut held = Vec::new();
    for (_, value) in registry().all() {
        let (Origin::Owned(_), Ok(handle)) = (&value.origin, value.handle()) else {
            continue;
        };
        for lock in value.locks() {
            let state = lock.state();
            let writes = |holder: &numpush_shm_core::Holder| holder.pid == pid;
            let dirty = state
                .poison
                .filter(|poison| poison.pid == pid && !state.partitioned);
            let dirty = dirty.map(|poison| poison.dirty.start..poison.dirty.end.min(value.len()));
            if dirty.is_some()
                || state.writer.iter().any(writes)
                || state.readers.iter().any(writes)
            {
                held.push(HeldLock {
                    handle: handle.to_string(),
                    dirty,
                });
            }
        }
    }
    held
}

/// Which of `workers` has something to say; waits until one has.
pub(super) fn wait_for_one(workers: &[&Worker]) -> usize {
    use std::os::fd::AsFd;
    if workers.len() < 2 {
        return 0;
    }
    let sockets: Vec<_> = workers
        .iter()
        .map(|worker| (worker.channel.socket().as_fd(), numpush_os::Ready::READ))
        .collect();
    let ready = wait(&sockets, None).unwrap_or_default();
    ready.iter().position(|ready| ready.read).unwrap_or(0)
}
