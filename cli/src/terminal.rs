//! The terminal that a person sits at.

use std::io::IsTerminal;
use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
};

/// Columns and rows of standard output, if it is a terminal.
pub(crate) fn size() -> Option<(usize, usize)> {
    let size = tcgetwinsize(std::io::stdout()).ok()?;
    (size.ws_col > 0).then(|| (size.ws_col.into(), size.ws_row.into()))
}

/// Keys, one by one and without an echo, until it is dropped.
pub(crate) struct Keys {
    before: Termios,
}

impl Keys {
    /// `None` if standard input is no terminal.
    pub(crate) fn new() -> Option<Self> {
        let input = std::io::stdin();
        if !input.is_terminal() {
            return None;
        }
        let before = tcgetattr(&input).ok()?;
        let mut now = before.clone();
        now.local_modes
            .remove(LocalModes::ICANON | LocalModes::ECHO);
        now.special_codes[SpecialCodeIndex::VMIN] = 0;
        now.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(&input, OptionalActions::Now, &now).ok()?;
        Some(Self { before })
    }

    /// The key that is pressed within this time.
    pub(crate) fn wait(&self, nanoseconds: i64) -> Option<u8> {
        let input = std::io::stdin();
        let mut wanted = [PollFd::from_borrowed_fd(input.as_fd(), PollFlags::IN)];
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: nanoseconds,
        };
        poll(&mut wanted, Some(&timeout))
            .ok()
            .filter(|&ready| ready > 0)?;
        let mut key = [0];
        let count = rustix::io::read(&input, &mut key).ok()?;
        (count == 1).then_some(key[0])
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.before);
    }
}
