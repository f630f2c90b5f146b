//! Files: a message is a file, on any mounted file system.
//!
//! | | send | receive |
//! | --- | --- | --- |
//! | copies by us | none | none |
//! | copies by the kernel | one, into the page cache | one (read), none (mapped) |
//!
//! A path that names a folder (or ends with `/`) is a spool: connections in both directions for any number of messages, each
//! a file that the receiver removes. Any number of listeners may share it, and each connection goes to one of them; messages
//! that nobody has received stay. The folder must belong to this user or to root, be writable by nobody else, and be no
//! symbolic link. Any other path is one message, written whole or not at all; a connection that a
//! listener accepted there only receives. What is made is readable by this user only. With `?sync=on` files and their names
//! are on the disk when a call returns; without it a power cut may leave a name without its bytes, which is an error then.
//! A file is mapped only if it cannot be truncated (sealed memory, the immutable
//! attribute, fs-verity): a read past the end of a mapping is a SIGBUS. Else it is read into the allocator.

mod mapped;
mod output;
mod record;
mod single;
mod spool;

use std::path::Path;

use crate::endpoint::{Endpoint, Scheme};
use crate::error::Error;
use crate::options::{Options, Parameter};
use crate::transport::{Bound, Established, Factory};

pub use mapped::{map, snapshot};
pub use output::OutputFile;
pub use record::{read, write};

/// The factory of this transport.
pub(crate) struct Files;

impl Factory for Files {
    fn scheme(&self) -> Scheme {
        Scheme::File
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[Parameter::MAX, Parameter::CHECKSUMS, Parameter::SYNC]
    }

    /// Opens the path for one message, or a connection through the spool in the folder.
    fn connect(&self, to: &Endpoint, options: &Options) -> Result<Established, Error> {
        if is_spool(to.address()) {
            spool::connect(to.address(), options)
        } else {
            Ok(single::open(to.address()))
        }
    }

    /// Listens at the path for a message file, or in the folder for connections.
    fn listen(&self, at: &Endpoint, options: &Options) -> Result<Bound, Error> {
        if is_spool(at.address()) {
            spool::listen(at.address(), options)
        } else {
            Ok(single::listen(at.address()))
        }
    }
}

fn is_spool(path: &str) -> bool {
    path.ends_with('/') || Path::new(path).is_dir()
}
