//! A connection's folder: how it is made, claimed by one listener, left and removed. `docs/design/0006-spool.md` has the steps.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex};

use numpush_os::{self as os, FileId, Folder, OwnerLock};

use crate::file::spool::names::{
    self, CONNECTOR, CONNECTOR_LOCK, GONE, LINK, LISTENER_LOCK, NEW, WAITING,
};

/// The folder of a connection.
pub(super) struct Link {
    /// The spool.
    root: Arc<Folder>,
    /// Its name, without what says how far it is.
    name: String,
    pub(super) folder: Arc<Folder>,
}

/// A connection that was just made.
pub(super) struct Made {
    pub(super) link: Link,
    pub(super) lock: OwnerLock,
    /// The listener's lock file.
    pub(super) listener: File,
}

/// A connection whose listener's lock is held: nobody else accepts or removes it.
pub(super) struct Claim {
    pub(super) link: Link,
    pub(super) lock: OwnerLock,
    /// The connector's lock file, unless it has left.
    pub(super) connector: Option<File>,
    pub(super) is_accepted: bool,
    is_alive: bool,
    first: Option<u64>,
    end: Option<u64>,
}

/// The names of the connections that a listener has in hand, or has given up because of what is in them. It does not look at
/// them again.
pub(super) type Known = Arc<Mutex<BTreeSet<String>>>;

/// How often a connection is begun anew because a sweeper took it for a dead one's.
const TRIES: usize = 100;

impl Link {
    /// Makes a connection. With `sync` it is on the disk afterwards.
    pub(super) fn make(root: &Arc<Folder>, sync: bool) -> io::Result<Made> {
        for _ in 1..TRIES {
            match Self::try_make(root, sync) {
                Err(error) if was_swept(&error) => {}
                made => return made,
            }
        }
        Self::try_make(root, sync)
    }

    fn try_make(root: &Arc<Folder>, sync: bool) -> io::Result<Made> {
        let name = names::unique();
        let new = format!("{NEW}{name}");
        root.make_folder(&new)?;
        let made = Self::furnish(root, &name, sync);
        if made.is_err()
            && let Ok(folder) = root.open_folder(&new)
        {
            let _ = empty(root, &new, &folder);
        }
        made
    }

    /// Makes what is in a connection, and then gives it its name.
    fn furnish(root: &Arc<Folder>, name: &str, sync: bool) -> io::Result<Made> {
        let (new, complete) = (format!("{NEW}{name}"), format!("{LINK}{name}"));
        let folder = root.open_folder(&new)?;
        let lock = OwnerLock::take(folder.create(CONNECTOR_LOCK)?)?;
        if os::is_removed(lock.file())? {
            return Err(io::ErrorKind::NotFound.into());
        }
        // From here on no sweeper takes it.
        let listener = folder.create(WAITING)?;
        if sync {
            folder.sync()?;
        }
        root.rename(&new, &complete)?;
        if sync {
            root.sync()?;
        }
        let link = Self {
            root: Arc::clone(root),
            name: name.to_owned(),
            folder: Arc::new(folder),
        };
        Ok(Made {
            link,
            lock,
            listener,
        })
    }

    /// Takes the listener's lock of the connection `name`. `None` if somebody has it, if there is no connection of that name
    /// any more, or if it was accepted and its connector lives.
    pub(super) fn claim(root: &Arc<Folder>, name: &str) -> io::Result<Option<Claim>> {
        let complete = format!("{LINK}{name}");
        let folder = root.open_folder(&complete)?;
        let file = match folder.open_file(WAITING, true) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Its connector would take who locks it for its listener, even for a moment.
                if connector_of(&folder)?.is_some_and(|(_, is_alive)| is_alive) {
                    return Ok(None);
                }
                folder.open_file(LISTENER_LOCK, true)?
            }
            file => file?,
        };
        let lock = match OwnerLock::take(file) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            lock => lock?,
        };
        if root.find(&complete)? != Some(FileId::of(&folder)?) {
            return Ok(None);
        }
        // Another listener may have accepted, and died, since the file was opened.
        let is_accepted = folder.find(WAITING)?.is_none();
        let (connector, is_alive) = connector_of(&folder)?.unzip();
        // What a connector leaves is there before it is known to be gone.
        let names = folder.names()?;
        let link = Self {
            root: Arc::clone(root),
            name: name.to_owned(),
            folder: Arc::new(folder),
        };
        Ok(Some(Claim {
            link,
            lock,
            connector,
            is_accepted,
            is_alive: is_alive == Some(true),
            first: CONNECTOR.first_message(&names),
            end: CONNECTOR.ended_at(&names),
        }))
    }

    /// True if a listener has accepted.
    pub(super) fn is_accepted(&self) -> io::Result<bool> {
        Ok(self.folder.find(WAITING)?.is_none())
    }

    /// The name of the connection in its spool, without what says how far it is.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Removes the connection, unless it has something for the next listener. The connector is gone, and the caller holds the
    /// listener's lock. `is_told` is true if the connector knows that its messages were not received.
    pub(super) fn settle(&self, is_told: bool) -> io::Result<()> {
        let names = self.folder.names()?;
        let is_left = CONNECTOR.first_message(&names).is_some() && !is_told;
        let is_waiting = names.iter().any(|name| name == WAITING);
        if is_left || (is_waiting && CONNECTOR.ended_at(&names).is_some()) {
            return Ok(());
        }
        self.remove()
    }

    fn remove(&self) -> io::Result<()> {
        let gone = format!("{GONE}{}", self.name);
        self.root.rename(&format!("{LINK}{}", self.name), &gone)?;
        empty(&self.root, &gone, &self.folder)
    }
}

impl Claim {
    /// True if there is something for a listener: a connector that nobody has accepted, or messages of one that is gone.
    pub(super) fn is_for_us(&self) -> bool {
        if self.is_alive {
            // A connector whose listener has died learns of it, and removes the connection.
            return !self.is_accepted;
        }
        self.first.is_some() || (!self.is_accepted && self.end.is_some())
    }

    /// Removes the connection if its connector is gone and nothing is left for a listener.
    pub(super) fn remove_if_over(self) -> io::Result<()> {
        if self.is_alive || self.is_for_us() {
            return Ok(());
        }
        self.link.remove()
    }

    /// Marks the connection as accepted.
    pub(super) fn accept(&self) -> io::Result<()> {
        if self.is_accepted {
            return Ok(());
        }
        self.link.folder.rename(WAITING, LISTENER_LOCK)
    }

    /// The number of messages that another listener has received.
    pub(super) fn received(&self) -> u64 {
        let next = self.first.or(self.end).filter(|_| self.is_accepted);
        next.map_or(0, |next| next - 1)
    }
}

/// The connector's lock file, and whether it is locked. `None` if the connector has left.
fn connector_of(folder: &Folder) -> io::Result<Option<(File, bool)>> {
    match folder.open_file(CONNECTOR_LOCK, true) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        file => {
            let file = file?;
            let is_alive = os::is_locked(&file)?;
            Ok(Some((file, is_alive)))
        }
    }
}

/// Removes what the dead have left of connections that they were making or removing. What another process has in hand, and
/// what is none of ours, stays.
pub(super) fn sweep(root: &Folder) -> io::Result<()> {
    for entry in root.names()? {
        // An entry that cannot be removed must not keep the others.
        let _ = sweep_entry(root, &entry);
    }
    Ok(())
}

fn sweep_entry(root: &Folder, entry: &str) -> io::Result<()> {
    if entry.starts_with(GONE) {
        empty(root, entry, &root.open_folder(entry)?)?;
    } else if entry.starts_with(NEW) {
        sweep_new(root, entry)?;
    }
    Ok(())
}

/// Removes a connection that was begun, if its maker is dead.
fn sweep_new(root: &Folder, entry: &str) -> io::Result<()> {
    let folder = root.open_folder(entry)?;
    let _lock = match folder.open_file(CONNECTOR_LOCK, true) {
        // Its maker, if it lives, begins anew.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return root.remove_folder(entry);
        }
        file => OwnerLock::take(file?)?,
    };
    // Its maker may have given it its name, and died, since it was opened.
    if root.find(entry)? != Some(FileId::of(&folder)?) {
        return Ok(());
    }
    empty(root, entry, &folder)
}

/// Removes a folder, and the files and empty folders in it.
fn empty(root: &Folder, name: &str, folder: &Folder) -> io::Result<()> {
    for entry in folder.names()? {
        let removed = match folder.remove(&entry) {
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
                folder.remove_folder(&entry)
            }
            removed => removed,
        };
        gone_already(removed)?;
    }
    gone_already(root.remove_folder(name))
}

fn gone_already(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// True for what a maker meets if a sweeper took its folder for a dead one's.
fn was_swept(error: &io::Error) -> bool {
    use io::ErrorKind::{AlreadyExists, NotFound, WouldBlock};
    matches!(error.kind(), AlreadyExists | NotFound | WouldBlock)
}
