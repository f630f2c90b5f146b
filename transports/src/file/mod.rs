//! Files: a message is a file, on any mounted file system.
//!
//! | | send | receive |
//! | --- | --- | --- |
//! | copies by us | none | none |
//! | copies by the kernel | one, into the page cache | one (read), none (mapped) |
//!
//! A path that names a folder (or ends with `/`) is a spool: a link in both directions for any number of messages, each
//! a file that the receiver takes away. Any other path is one message, written whole or not at all. A file is mapped
//! only if it cannot be truncated (sealed memory, the immutable attribute, fs-verity): a read behind the end of a mapping
//! is a SIGBUS. Else it is read into the allocator.

mod output;
mod record;
mod single;
mod spool;

use std::path::Path;

use numpush_message::BufferAllocator;

use crate::error::Error;
use crate::options::Options;
use crate::transport::{Acceptor, AllocatorFactory, Transport};

/// Opens the path for one message, or a link through the spool in the folder.
///
/// # Errors
/// [`Error::Io`] if the folder is not there.
pub fn connect(
    path: &str,
    options: &Options,
    allocator: Box<dyn BufferAllocator>,
) -> Result<Box<dyn Transport>, Error> {
    if is_spool(path)? {
        spool::connect(path, options, allocator)
    } else {
        single::open(path, options, allocator)
    }
}

/// Waits at the path for a message file, or in the folder for links.
///
/// # Errors
/// [`Error::Io`] if the folder is not there and cannot be made.
pub fn listen(
    path: &str,
    options: &Options,
    allocators: AllocatorFactory,
) -> Result<Box<dyn Acceptor>, Error> {
    if is_spool(path)? {
        spool::listen(path, options, allocators)
    } else {
        single::listen(path, options, allocators)
    }
}

pub use output::OutputFile;
pub use record::{read, write};

fn is_spool(path: &str) -> Result<bool, Error> {
    if path.is_empty() {
        return Err(Error::Address {
            address: path.to_owned(),
            fault: "a file needs a path",
        });
    }
    Ok(path.ends_with('/') || Path::new(path).is_dir())
}
