//! A path for one message.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use numpush_message::{BufferAllocator, Message};

use crate::deadline;
use crate::deadline::Backoff;
use crate::error::Error;
use crate::file::record;
use crate::options::{Checksums, Options};
use crate::transfer::Transfer;
use crate::transport::{Acceptor, AllocatorFactory, Capabilities, Received, Transport};

pub(super) fn open(
    path: &str,
    options: &Options,
    allocator: Box<dyn BufferAllocator>,
) -> Result<Box<dyn Transport>, Error> {
    let name = path.to_owned();
    Ok(Box::new(Single {
        path: path.into(),
        name,
        options: options.clone(),
        allocator,
        written: false,
        read: false,
    }))
}

pub(super) fn listen(
    path: &str,
    options: &Options,
    allocators: AllocatorFactory,
) -> Result<Box<dyn Acceptor>, Error> {
    Ok(Box::new(Watcher {
        name: path.to_owned(),
        options: options.clone(),
        allocators,
        seen: None,
    }))
}

struct Single {
    path: PathBuf,
    name: String,
    options: Options,
    allocator: Box<dyn BufferAllocator>,
    written: bool,
    read: bool,
}

impl Transport for Single {
    fn send(&mut self, message: &Message<'_>) -> Result<Transfer, Error> {
        if self.written {
            let operation =
                "put a second message into one file: end the path with / for a folder of messages";
            return Err(Error::Unsupported {
                transport: "file",
                operation,
            });
        }
        let (len, limit) = (message.payload_len(), self.options.max_message);
        if len > limit {
            return Err(Error::TooLarge {
                len,
                limit,
                whose: "this side",
            });
        }
        let transfer = record::write(
            &self.path,
            message,
            self.options.checksums != Checksums::Off,
        )?;
        self.written = true;
        Ok(transfer)
    }

    fn recv(&mut self) -> Result<Received, Error> {
        if self.read {
            return Err(Error::Closed {
                peer: self.name.clone(),
            });
        }
        let received = record::read(&self.path, &mut *self.allocator, self.options.max_message)?;
        self.read = true;
        Ok(received)
    }

    fn flush(&mut self) -> Result<(), Error> {
        Err(Error::Unsupported {
            transport: "file",
            operation: "tell whether a file was read",
        })
    }

    fn close(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn set_timeouts(&mut self, send: Option<Duration>, recv: Option<Duration>) {
        (self.options.send_timeout, self.options.recv_timeout) = (send, recv);
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            two_way: false,
            acknowledges: false,
            notices_death: false,
            limits_size: true,
            passes_descriptors: false,
        }
    }

    fn peer(&self) -> &str {
        &self.name
    }
}

/// Waits for a file to appear, or to be replaced.
struct Watcher {
    name: String,
    options: Options,
    allocators: AllocatorFactory,
    /// Identity and time of the file accepted last.
    seen: Option<(u64, u64, i64, i64)>,
}

impl Acceptor for Watcher {
    fn accept(&mut self, timeout: Option<Duration>) -> Result<Box<dyn Transport>, Error> {
        let deadline = deadline::deadline(timeout);
        let mut backoff = Backoff::new();
        loop {
            let data = std::fs::metadata(&self.name).ok();
            let now = data.map(|data| (data.dev(), data.ino(), data.mtime(), data.mtime_nsec()));
            if now.is_some() && now != self.seen {
                self.seen = now;
                return open(&self.name, &self.options, self.allocators.make());
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
        format!("file:{}", self.name)
    }
}

impl fmt::Debug for Single {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Single")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher")
            .field("path", &self.name)
            .finish_non_exhaustive()
    }
}
