//! Waits for a change of a folder.

use std::time::{Duration, Instant};

use numpush_os::{Folder, FolderWatch};

/// Waits that a change ends, where changes are seen.
#[derive(Default)]
pub(super) struct Waiter {
    watch: Option<FolderWatch>,
    /// A watch was asked for, and may have been refused.
    was_asked: bool,
}

/// A wait that is shorter sleeps. To make and to end a watch costs more, and a user may have few of them.
const WORTH_WATCHING: Duration = Duration::from_millis(1);

impl Waiter {
    /// Waits for `time`, or until a name in `folder` has changed.
    pub(super) fn pause(&mut self, folder: &Folder, time: Duration) {
        if !self.was_asked && time >= WORTH_WATCHING {
            self.was_asked = true;
            self.watch = FolderWatch::new(folder).ok();
            if self.watch.is_some() {
                // What has changed before was not seen: the caller looks once more.
                return;
            }
        }
        match &self.watch {
            Some(watch) if watch.wait(Instant::now() + time).is_ok() => {}
            _ => std::thread::sleep(time),
        }
    }
}
