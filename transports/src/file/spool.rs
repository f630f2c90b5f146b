//! A folder through which two processes send each other message files.
//!
//! The connector makes a folder for the connection, `link-TIME-PROCESS-COUNT`, under a hidden name, and renames it when all is
//! in place: `connector.lock`, which it holds locked, and a folder for each direction. The listener accepts it by
//! making `listener.lock`. Messages are files `N.np`, counted from 1 in each direction; removing one acknowledges it;
//! `N.end` means that nothing more comes. A side whose lock is free is dead: the kernel frees the lock of a process that ends.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use numpush_message::Message;
use numpush_os as os;

use crate::deadline::poll_until;
use crate::error::{Error, Operation};
use crate::file::record;
use crate::transfer::{Capabilities, Received, Transfer};
use crate::transport::{AcceptContext, Acceptor, Bound, Context, Established, Transport};

/// One side of a connection.
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

pub(super) fn connect(path: &str) -> Result<Established, Error> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let name = format!("link-{:020}-{process}-{count}", since.as_nanos());
    let hidden = Path::new(path).join(format!(".{name}"));
    let folder = Path::new(path).join(&name);
    let make = || {
        fs::create_dir_all(path)?;
        fs::create_dir(&hidden)?;
        fs::create_dir(hidden.join(CONNECTOR.out))?;
        fs::create_dir(hidden.join(LISTENER.out))?;
        let lock = create_locked(&hidden.join(CONNECTOR.lock))?;
        fs::rename(&hidden, &folder)?;
        Ok(lock)
    };
    let lock = make().map_err(|error| {
        let _ = fs::remove_dir_all(&hidden);
        Error::io(Operation::Connect, &format!("file:{path}"))(error)
    })?;
    Ok(Spool::established(folder, &CONNECTOR, &LISTENER, lock))
}

pub(super) fn listen(path: &str) -> Result<Bound, Error> {
    let address = format!("file:{path}");
    fs::create_dir_all(path).map_err(Error::io(Operation::Listen, &address))?;
    let acceptor = SpoolAcceptor { path: path.into() };
    Ok(Bound::new(acceptor, address))
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
    ours: &'static Side,
    theirs: &'static Side,
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
    fn established(
        folder: PathBuf,
        ours: &'static Side,
        theirs: &'static Side,
        lock: Box<dyn Send>,
    ) -> Established {
        let peer = format!("file:{}", folder.display());
        let spool = Self {
            folder,
            ours,
            theirs,
            sent: 0,
            received: 0,
            in_flight: Vec::new(),
            ended: false,
            lock: Some(lock),
        };
        Established::new(spool, peer)
    }

    fn file(&self, side: &Side, number: u32, ending: &str) -> PathBuf {
        self.folder
            .join(side.out)
            .join(format!("{number}.{ending}"))
    }

    /// True if the peer was here and has died.
    fn peer_is_gone(&self) -> bool {
        !self.folder.exists() || is_free(&self.folder.join(self.theirs.lock))
    }

    /// Polls until `done`, the peer's death or the deadline.
    fn wait_for(
        &mut self,
        operation: Operation,
        cx: &Context<'_>,
        mut done: impl FnMut(&mut Self) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let mut pulse = Instant::now() + PULSE;
        let result = poll_until(cx.deadline, || {
            if done(self)? {
                return Ok(Some(()));
            }
            if Instant::now() >= pulse {
                pulse = Instant::now() + PULSE;
                // The peer may have done what is waited for, and then died.
                if self.peer_is_gone() {
                    let done = done(self)?;
                    return done.then_some(Some(())).ok_or_else(|| cx.disconnected(0));
                }
            }
            Ok(None)
        })?;
        result.ok_or_else(|| cx.timeout(operation))
    }

    /// Forgets the messages that the peer has removed, and returns how many bytes are still there.
    fn still_there(&mut self) -> u64 {
        let removed = self
            .in_flight
            .iter()
            .take_while(|(number, _)| !self.file(self.ours, *number, "np").exists());
        let removed = removed.count();
        self.in_flight.drain(..removed);
        self.in_flight.iter().map(|(_, bytes)| bytes).sum()
    }

    fn flush_messages(&mut self, operation: Operation, cx: &Context<'_>) -> Result<(), Error> {
        self.wait_for(operation, cx, |this| {
            this.still_there();
            Ok(this.in_flight.is_empty())
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
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            two_way: true,
            acknowledges: true,
            notices_death: true,
            limits_size: true,
            passes_descriptors: false,
            fills_allocator: true,
        }
    }

    fn send(&mut self, message: &Message<'_>, cx: &mut Context<'_>) -> Result<Transfer, Error> {
        let (len, window) = (message.payload_len(), cx.options.window);
        self.wait_for(Operation::Send, cx, |this| {
            let there = this.still_there();
            Ok(this.in_flight.is_empty() || there.saturating_add(len) <= window)
        })?;
        let path = self.file(self.ours, self.sent + 1, "np");
        let checksums = cx.options.checksums.or(false);
        let transfer = record::write_entry(&path, message, checksums)?;
        self.sent += 1;
        self.in_flight.push((self.sent, len));
        Ok(transfer)
    }

    fn recv(&mut self, cx: &mut Context<'_>) -> Result<Received, Error> {
        let next = self.received + 1;
        let path = self.file(self.theirs, next, "np");
        let end = self.file(self.theirs, next, "end");
        self.wait_for(Operation::Recv, cx, |_| {
            if path.exists() {
                Ok(true)
            } else if end.exists() {
                Err(cx.closed())
            } else {
                Ok(false)
            }
        })?;
        let received = record::read(&path, &mut *cx.allocator, cx.options.max_message)?;
        // The file's removal reports to the sender that we have it; a mapping of ours keeps the bytes.
        let name = path.display().to_string();
        fs::remove_file(&path).map_err(Error::io(Operation::Remove, &name))?;
        self.received = next;
        Ok(received)
    }

    fn flush(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        self.flush_messages(Operation::Flush, cx)
    }

    fn close(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        self.flush_messages(Operation::Close, cx)?;
        self.end().map_err(Error::io(Operation::Close, cx.peer))
    }
}

impl Drop for Spool {
    /// Reports that nothing more comes. Whoever leaves last removes the folder; messages that nobody has received stay
    /// for the listener that comes later.
    fn drop(&mut self) {
        let _ = self.end();
        self.lock = None;
        let other = self.folder.join(self.theirs.lock);
        let accepted = self.ours.lock == LISTENER.lock || other.exists();
        if accepted && is_free(&other) {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

struct SpoolAcceptor {
    path: PathBuf,
}

impl SpoolAcceptor {
    /// Takes the oldest connection that no listener has.
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
                    remove_abandoned(&folder);
                }
                // Its connector has just left.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

/// Removes a connection both of whose sides are dead.
fn remove_abandoned(folder: &Path) {
    if is_free(&folder.join(CONNECTOR.lock)) && is_free(&folder.join(LISTENER.lock)) {
        let _ = fs::remove_dir_all(folder);
    }
}

impl Acceptor for SpoolAcceptor {
    fn accept(&mut self, cx: &AcceptContext<'_>) -> Result<Established, Error> {
        let taken = poll_until(cx.deadline, || self.take())
            .map_err(Error::io(Operation::Accept, cx.address))?;
        let (folder, lock) =
            taken.ok_or_else(|| cx.deadline.error(Operation::Accept, cx.address))?;
        Ok(Spool::established(folder, &LISTENER, &CONNECTOR, lock))
    }
}
