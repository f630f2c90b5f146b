//! A path for one message.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use numpush_message::Message;
use numpush_os::FileId;

use crate::deadline::poll_until;
use crate::error::{Error, Operation};
use crate::file::record;
use crate::transfer::{Capabilities, Received, Transfer};
use crate::transport::{AcceptContext, Acceptor, Bound, Context, Established, Transport};

/// A connection that writes the message at `path`, or reads it.
pub(super) fn open(path: &str) -> Established {
    established(path, false)
}

fn established(path: &str, accepted: bool) -> Established {
    let single = Single {
        path: path.into(),
        accepted,
        written: false,
        read: false,
    };
    Established::new(single, path.to_owned())
}

pub(super) fn listen(path: &str) -> Bound {
    let watcher = Watcher {
        path: path.to_owned(),
        seen: None,
    };
    Bound::new(watcher, format!("file:{path}"))
}

struct Single {
    path: PathBuf,
    /// The file came to a listener: to send would replace it.
    accepted: bool,
    written: bool,
    read: bool,
}

impl Transport for Single {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            two_way: false,
            acknowledges: false,
            notices_death: false,
            limits_size: true,
            passes_descriptors: false,
            fills_allocator: true,
        }
    }

    fn send(&mut self, message: &Message<'_>, cx: &mut Context<'_>) -> Result<Transfer, Error> {
        if self.accepted {
            return Err(unsupported(
                Operation::Send,
                "a listener only receives it; end the path with / for a folder, which goes both ways",
            ));
        }
        if self.written {
            return Err(unsupported(
                Operation::Send,
                "it holds one message; end the path with / for a folder of messages",
            ));
        }
        let checksums = cx.options.checksums.or(true);
        let sync = cx.options.sync;
        let transfer = record::write_private(&self.path, message, checksums, cx.tag, sync)?;
        self.written = true;
        Ok(transfer)
    }

    fn recv(&mut self, cx: &mut Context<'_>) -> Result<Received, Error> {
        if self.read {
            return Err(cx.closed());
        }
        let received = record::read(&self.path, &mut *cx.allocator, cx.options.max_message)?;
        self.read = true;
        Ok(received)
    }

    fn flush(&mut self, _: &mut Context<'_>) -> Result<(), Error> {
        Err(unsupported(
            Operation::Flush,
            "nobody reports that it was read",
        ))
    }

    fn close(&mut self, _: &mut Context<'_>) -> Result<(), Error> {
        Ok(())
    }
}

fn unsupported(operation: Operation, reason: &'static str) -> Error {
    Error::Unsupported {
        transport: "a file",
        operation,
        reason,
    }
}

/// Waits for a file to appear, or to be replaced.
struct Watcher {
    path: String,
    /// The file accepted last.
    seen: Option<Version>,
}

/// Which file it is, and when it was changed last.
type Version = (FileId, SystemTime);

impl Acceptor for Watcher {
    fn accept(&mut self, cx: &AcceptContext<'_>) -> Result<Established, Error> {
        let new = poll_until(cx.deadline, || {
            let now = version(Path::new(&self.path));
            Ok::<_, Error>(now.filter(|_| now != self.seen))
        })?;
        let new = new.ok_or_else(|| cx.deadline.error(Operation::Accept, cx.address))?;
        self.seen = Some(new);
        Ok(established(&self.path, true))
    }
}

fn version(path: &Path) -> Option<Version> {
    let data = std::fs::metadata(path).ok()?;
    Some((FileId::from(&data), data.modified().ok()?))
}
