use std::fmt;
use std::io;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};

use crate::failpoint::failpoint;

/// How many descriptors this process may have open; [getrlimit(2)](https://man7.org/linux/man-pages/man2/getrlimit.2.html),
/// the soft limit of RLIMIT_NOFILE.
///
/// # Errors
/// What getrlimit(2) reports.
pub fn descriptor_limit() -> io::Result<u64> {
    failpoint("getrlimit")?;
    Ok(getrlimit(Resource::RLIMIT_NOFILE)?.0)
}

/// The error for a descriptor that was lost because this process may open no more. It names the limit.
pub fn out_of_descriptors() -> io::Error {
    let limit = descriptor_limit().ok();
    io::Error::new(
        io::Error::from(Errno::EMFILE).kind(),
        OutOfDescriptors { limit },
    )
}

#[derive(Debug)]
struct OutOfDescriptors {
    limit: Option<u64>,
}

impl std::error::Error for OutOfDescriptors {}

impl fmt::Display for OutOfDescriptors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a descriptor was lost: this process may not open more")?;
        match self.limit {
            Some(limit) => write!(f, " than {limit} (RLIMIT_NOFILE)"),
            None => Ok(()),
        }
    }
}
