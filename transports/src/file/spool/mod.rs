//! A folder through which processes of one user send each other message files.
//!
//! A connection is a folder of its own in it, with a lock file for each side: the kernel lets go of the lock of a process
//! that ends. Messages are files `c-N.np` of the connector and `l-N.np` of the listener; the removal of one acknowledges
//! it, and a large one is given back to be written over. `docs/design/0006-spool.md` is the protocol, and what a death at each step leaves.

mod acceptor;
mod calls;
mod connection;
mod incoming;
mod link;
mod names;
mod outgoing;
mod wait;

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

use numpush_os::Folder;

use crate::error::{Error, Operation};
use crate::file::spool::acceptor::SpoolAcceptor;
use crate::file::spool::connection::Spool;
use crate::file::spool::link::{Link, sweep};
use crate::options::Options;
use crate::transport::{Bound, Established};

pub(super) fn connect(path: &str, options: &Options) -> Result<Established, Error> {
    let sync = options.sync;
    let made = open(path)
        .and_then(|root| Link::make(&root, sync))
        .map_err(Error::io(Operation::Connect, &format!("file:{path}")))?;
    Ok(calls::established(Spool::made(path, made, options)))
}

pub(super) fn listen(path: &str, options: &Options) -> Result<Bound, Error> {
    let address = format!("file:{path}");
    let root = open(path).map_err(Error::io(Operation::Listen, &address))?;
    let acceptor = SpoolAcceptor::new(path, root, options);
    Ok(Bound::new(acceptor, address))
}

/// Opens the folder, which is made if it is not there, and removes what the dead have left in it.
fn open(path: &str) -> io::Result<Arc<Folder>> {
    // A link with a slash behind it would be followed.
    let path = Path::new(match path.trim_end_matches('/') {
        "" => "/",
        path => path,
    });
    let root = match Folder::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            DirBuilder::new().recursive(true).mode(0o700).create(path)?;
            Folder::open(path)?
        }
        root => root?,
    };
    let root = Arc::new(root);
    sweep(&root)?;
    Ok(root)
}
