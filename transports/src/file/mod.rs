//! Files: a message is a file, on any mounted file system.
//!
//! | | send | receive |
//! | --- | --- | --- |
//! | copies by us | none | none |
//! | copies by the kernel | one, into the page cache | one (read), none (mapped) |
//!
//! A path that names a folder (or ends with `/`) is a spool: a connection in both directions for any number of messages, each
//! a file that the receiver removes. Any other path is one message, written whole or not at all; a connection that a
//! listener accepted there only receives. A file is mapped only if it cannot be truncated (sealed memory, the immutable
//! attribute, fs-verity): a read past the end of a mapping is a SIGBUS. Else it is read into the allocator.

mod output;
mod record;
mod single;
mod spool;

use std::path::Path;

use crate::endpoint::{Endpoint, Scheme};
use crate::error::Error;
use crate::options::{Options, Parameter};
use crate::transport::{Bound, Established, Factory};

pub use output::OutputFile;
pub use record::{map, read, write};

/// The factory of this transport.
pub(crate) struct Files;

impl Factory for Files {
    fn scheme(&self) -> Scheme {
        Scheme::File
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[Parameter::MAX, Parameter::CHECKSUMS]
    }

    /// Opens the path for one message, or a connection through the spool in the folder.
    fn connect(&self, to: &Endpoint, _: &Options) -> Result<Established, Error> {
        if is_spool(to.address()) {
            spool::connect(to.address())
        } else {
            Ok(single::open(to.address()))
        }
    }

    /// Listens at the path for a message file, or in the folder for connections.
    fn listen(&self, at: &Endpoint, _: &Options) -> Result<Bound, Error> {
        if is_spool(at.address()) {
            spool::listen(at.address())
        } else {
            Ok(single::listen(at.address()))
        }
    }
}

fn is_spool(path: &str) -> bool {
    path.ends_with('/') || Path::new(path).is_dir()
}
