//! A folder through which two processes send each other message files.
//!
//! The connector makes a folder for the link, `link-TIME-PROCESS-COUNT`, under a hidden name, and renames it when all is
//! in place: `connector.lock`, which it holds locked, and a folder for each direction. The listener takes the link by
//! making `listener.lock`. Messages are files `N.np`, counted from 1 in each direction; taking one away acknowledges it;
//! `N.end` says that nothing more comes. A side whose lock can be had is dead: the kernel frees it, however it died.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use numpush_message::{BufferAllocator, Message};
use numpush_os as os;

use crate::deadline;
use crate::deadline::Backoff;
use crate::error::Error;
use crate::file::record;
use crate::options::{Checksums, Options};
use crate::transfer::Transfer;
use crate::transport::{Acceptor, AllocatorFactory, Capabilities, Received, Transport};

/// One side of a link.
struct Side {
    /// Name of its lock file.
    lock: &'static str,
    /// Folder of what it sends.
    out: &'static str,
}

static CONNECTOR: Side = Side {
    lock: "connector.lock",
    out: "to-listener",
};
static LISTENER: Side = Side {
    lock: "listener.lock",
    out: "to-connector",
};

pub(super) fn connect(
    path: &str,
    options: &Options,
    allocator: Box<dyn BufferAllocator>,
) -> Result<Box<dyn Transport>, Error> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let failed = |source| Error::io("connect to", path)(source);
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let name = format!("link-{:020}-{process}-{count}", since.as_nanos());
    fs::create_dir_all(path).map_err(failed)?;
    let hidden = Path::new(path).join(format!(".{name}"));
    let folder = Path::new(path).join(&name);
    let make = || {
        fs::create_dir(&hidden)?;
        fs::create_dir(hidden.join(CONNECTOR.out))?;
        fs::create_dir(hidden.join(LISTENER.out))?;
        let lock = create_locked(&hidden.join(CONNECTOR.lock))?;
        fs::rename(&hidden, &folder)?;
        Ok(lock)
    };
    let lock = make().map_err(|error| {
        let _ = fs::remove_dir_all(&hidden);
        failed(error)
    })?;
    Ok(Box::new(Spool::new(
        folder, &CONNECTOR, &LISTENER, lock, options, allocator,
    )))
}

pub(super) fn listen(
    path: &str,
    options: &Options,
    allocators: AllocatorFactory,
) -> Result<Box<dyn Acceptor>, Error> {
    fs::create_dir_all(path).map_err(Error::io("listen on", path))?;
    Ok(Box::new(Listener {
        path: path.to_owned(),
        options: options.clone(),
        allocators,
    }))
}

/// Makes a lock file that was not there, and holds it.
fn create_locked(path: &Path) -> io::Result<Box<dyn Send>> {
    let file = OpenOptions::new().write(true).create_new(true).open(path)?;
    Ok(Box::new(os::lock_exclusive(file)?))
}

/// True if the lock is there and nobody holds it.
fn is_free(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| os::lock_exclusive(file).is_ok())
}

struct Spool {
    folder: PathBuf,
    name: String,
    ours: &'static Side,
    theirs: &'static Side,
    options: Options,
    allocator: Box<dyn BufferAllocator>,
    sent: u32,
    received: u32,
    /// Payload bytes of the messages sent that may still be there, oldest first.
    in_flight: Vec<(u32, u64)>,
    ended: bool,
    lock: Option<Box<dyn Send>>,
}

/// How often a wait asks whether the peer is alive.
const PULSE: Duration = Duration::from_millis(20);

impl Spool {
    fn new(
        folder: PathBuf,
        ours: &'static Side,
        theirs: &'static Side,
        lock: Box<dyn Send>,
        options: &Options,
        allocator: Box<dyn BufferAllocator>,
    ) -> Self {
        let (name, options, lock) = (
            format!("file:{}", folder.display()),
            options.clone(),
            Some(lock),
        );
        let (in_flight, ended) = (Vec::new(), false);
        Self {
            folder,
            name,
            ours,
            theirs,
            options,
            allocator,
            sent: 0,
            received: 0,
            in_flight,
            ended,
            lock,
        }
    }

    fn file(&self, side: &Side, number: u32, ending: &str) -> PathBuf {
        self.folder
            .join(side.out)
            .join(format!("{number}.{ending}"))
    }

    /// The peer was here and is not any more.
    fn peer_is_gone(&self) -> bool {
        !self.folder.exists() || is_free(&self.folder.join(self.theirs.lock))
    }

    /// Asks again and again until `done`, the peer's death or the deadline.
    fn wait_for<T>(
        &mut self,
        operation: &'static str,
        timeout: Option<Duration>,
        mut done: impl FnMut(&mut Self) -> Result<Option<T>, Error>,
    ) -> Result<T, Error> {
        let deadline = deadline::deadline(timeout);
        let mut backoff = Backoff::new();
        let mut pulse = Instant::now() + PULSE;
        loop {
            if let Some(result) = done(self)? {
                return Ok(result);
            }
            if Instant::now() >= pulse {
                pulse = Instant::now() + PULSE;
                if self.peer_is_gone() {
                    // It may have done what we wait for and then died.
                    let gone = Error::Disconnected {
                        peer: self.name.clone(),
                        missing: 0,
                    };
                    return done(self)?.ok_or(gone);
                }
            }
            if deadline::passed(deadline) {
                return Err(Error::Timeout {
                    operation,
                    after: timeout.unwrap_or_default(),
                });
            }
            backoff.sleep();
        }
    }

    /// Forgets the messages that the peer has taken away, and tells how many bytes are still there.
    fn still_there(&mut self) -> u64 {
        let taken = self
            .in_flight
            .iter()
            .take_while(|(number, _)| !self.file(self.ours, *number, "np").exists());
        let taken = taken.count();
        self.in_flight.drain(..taken);
        self.in_flight.iter().map(|(_, bytes)| bytes).sum()
    }

    fn flush_messages(&mut self, operation: &'static str) -> Result<(), Error> {
        let timeout = self.options.send_timeout;
        self.wait_for(operation, timeout, |this| {
            Ok((this.still_there() == 0 && this.in_flight.is_empty()).then_some(()))
        })
    }

    fn end(&mut self) -> io::Result<()> {
        if !self.ended {
            File::create(self.file(self.ours, self.sent + 1, "end"))?;
            self.ended = true;
        }
        Ok(())
    }
}

impl Transport for Spool {
    fn send(&mut self, message: &Message<'_>) -> Result<Transfer, Error> {
        let (len, limit) = (message.payload_len(), self.options.max_message);
        if len > limit {
            return Err(Error::TooLarge {
                len,
                limit,
                whose: "this side",
            });
        }
        let (window, timeout) = (self.options.window, self.options.send_timeout);
        self.wait_for("send", timeout, |this| {
            let there = this.still_there();
            Ok((this.in_flight.is_empty() || there.saturating_add(len) <= window).then_some(()))
        })?;
        let path = self.file(self.ours, self.sent + 1, "np");
        let transfer =
            record::write_entry(&path, message, self.options.checksums == Checksums::On)?;
        self.sent += 1;
        self.in_flight.push((self.sent, len));
        Ok(transfer)
    }

    fn recv(&mut self) -> Result<Received, Error> {
        let timeout = self.options.recv_timeout;
        let next = self.received + 1;
        let path = self.file(self.theirs, next, "np");
        let end = self.file(self.theirs, next, "end");
        self.wait_for("recv", timeout, |this| {
            if path.exists() {
                return Ok(Some(()));
            }
            if end.exists() {
                Err(Error::Closed {
                    peer: this.name.clone(),
                })
            } else {
                Ok(None)
            }
        })?;
        let received = record::read(&path, &mut *self.allocator, self.options.max_message)?;
        // Taking the file away tells the sender that we have it; a mapping of ours keeps the bytes.
        fs::remove_file(&path).map_err(Error::io("take away", &path.display().to_string()))?;
        self.received = next;
        Ok(received)
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.flush_messages("flush")
    }

    fn close(&mut self) -> Result<(), Error> {
        self.flush_messages("close")?;
        self.end().map_err(Error::io("close", &self.name))
    }

    fn set_timeouts(&mut self, send: Option<Duration>, recv: Option<Duration>) {
        (self.options.send_timeout, self.options.recv_timeout) = (send, recv);
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            two_way: true,
            acknowledges: true,
            notices_death: true,
            limits_size: true,
            passes_descriptors: false,
        }
    }

    fn peer(&self) -> &str {
        &self.name
    }
}

impl Drop for Spool {
    /// Says that nothing more comes. Whoever leaves last takes the folder away; messages nobody has taken stay for
    /// the listener that comes later.
    fn drop(&mut self) {
        let _ = self.end();
        self.lock = None;
        let other = self.folder.join(self.theirs.lock);
        let taken = self.ours.lock == LISTENER.lock || other.exists();
        if taken && is_free(&other) {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

struct Listener {
    path: String,
    options: Options,
    allocators: AllocatorFactory,
}

impl Listener {
    /// The oldest link that no listener has taken.
    fn take(&self) -> io::Result<Option<(PathBuf, Box<dyn Send>)>> {
        let mut links = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with("link-") {
                links.push(entry.path());
            }
        }
        links.sort();
        for folder in links {
            match create_locked(&folder.join(LISTENER.lock)) {
                Ok(lock) => return Ok(Some((folder, lock))),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    remove_abandoned(&folder)
                }
                // Its connector has just left.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

/// Takes a link away both of whose sides are dead.
fn remove_abandoned(folder: &Path) {
    if is_free(&folder.join(CONNECTOR.lock)) && is_free(&folder.join(LISTENER.lock)) {
        let _ = fs::remove_dir_all(folder);
    }
}

impl Acceptor for Listener {
    fn accept(&mut self, timeout: Option<Duration>) -> Result<Box<dyn Transport>, Error> {
        let deadline = deadline::deadline(timeout);
        let mut backoff = Backoff::new();
        loop {
            let taken = self.take().map_err(Error::io("accept at", &self.path))?;
            if let Some((folder, lock)) = taken {
                let allocator = self.allocators.make();
                return Ok(Box::new(Spool::new(
                    folder,
                    &LISTENER,
                    &CONNECTOR,
                    lock,
                    &self.options,
                    allocator,
                )));
            }
            if deadline::passed(deadline) {
                return Err(Error::Timeout {
                    operation: "accept",
                    after: timeout.unwrap_or_default(),
                });
            }
            backoff.sleep();
        }
    }

    fn set_allocators(&mut self, allocators: AllocatorFactory) {
        self.allocators = allocators;
    }

    fn address(&self) -> String {
        format!("file:{}", self.path)
    }
}

impl fmt::Debug for Spool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spool")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}
