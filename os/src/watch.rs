//! Changes of a folder, to be waited for.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use crate::failpoint::point;
use crate::folder::Folder;
use crate::poll::{Ready, wait};

/// Wakes whoever waits for a name in a folder to appear or to go; inotify(7).
///
/// It sees what processes of this machine do. On a network file system others may change the folder unseen, and the removal
/// of the folder itself is not seen anywhere.
#[derive(Debug)]
pub struct FolderWatch(Inotify);

impl FolderWatch {
    /// Begins to watch.
    ///
    /// # Errors
    /// EMFILE if this user has too many watches (128 on most machines); [`io::ErrorKind::NotFound`] without /proc; what
    /// inotify_init(2) and inotify_add_watch(2) report.
    pub fn new(folder: &Folder) -> io::Result<Self> {
        point("inotify_init1")?;
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        let changes = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_DELETE | AddWatchFlags::IN_MOVE;
        // There is no call that takes a descriptor.
        let path = format!("/proc/self/fd/{}", folder.as_fd().as_raw_fd());
        point("inotify_add_watch")?;
        inotify.add_watch(path.as_str(), changes)?;
        Ok(Self(inotify))
    }

    /// Waits until a name has changed since the last call, or until `deadline`.
    ///
    /// # Errors
    /// What poll(2) and read(2) report.
    pub fn wait(&self, deadline: Instant) -> io::Result<()> {
        wait(&[(self.0.as_fd(), Ready::READ)], Some(deadline))?;
        loop {
            match self.0.read_events() {
                Ok(_) => {}
                Err(Errno::EAGAIN) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::DirBuilderExt;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_change_ends_the_wait_and_is_seen_once() {
        let path = std::env::temp_dir().join(format!("numpush-watch-{}", std::process::id()));
        // Of a process that was killed.
        let _ = std::fs::remove_dir_all(&path);
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .unwrap();
        let folder = Folder::open(&path).unwrap();
        let watch = FolderWatch::new(&folder);
        if let Err(error) = &watch
            && error.raw_os_error() == Some(libc::EMFILE)
        {
            std::fs::remove_dir(&path).unwrap();
            // Past the harness, which hides what a test prints that does not fail.
            let _ = writeln!(
                io::stderr(),
                "NOT RUN: this user has too many inotify instances: {error}"
            );
            return;
        }
        let watch = watch.unwrap();
        let far = || Instant::now() + Duration::from_secs(1000);
        folder.create("a").unwrap();
        watch.wait(far()).unwrap();
        let soon = Instant::now() + Duration::from_millis(20);
        watch.wait(soon).unwrap();
        assert!(Instant::now() >= soon, "nothing has changed");
        folder.rename("a", "b").unwrap();
        watch.wait(far()).unwrap();
        folder.remove("b").unwrap();
        watch.wait(far()).unwrap();
        std::fs::remove_dir(&path).unwrap();
    }
}
