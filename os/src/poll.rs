use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

use crate::failpoint::point;

/// Directions in which a descriptor is ready, or should be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ready {
    /// A read does not block. What it returns may be an error or the end of the stream.
    pub read: bool,
    /// A write does not block.
    pub write: bool,
}

impl Ready {
    /// Reading only.
    pub const READ: Self = Self {
        read: true,
        write: false,
    };
    /// Writing only.
    pub const WRITE: Self = Self {
        read: false,
        write: true,
    };
    /// Either.
    pub const BOTH: Self = Self {
        read: true,
        write: true,
    };

    /// True for reading, writing or both.
    pub fn any(self) -> bool {
        self.read || self.write
    }
}

/// Waits until one of `descriptors` is ready for what is wanted of it, or until `deadline`; ppoll(2).
///
/// Returns what each descriptor is ready for, in order. After the deadline none is ready. A signal does not end the wait.
///
/// # Errors
/// What ppoll(2) reports.
pub fn wait(
    descriptors: &[(BorrowedFd<'_>, Ready)],
    deadline: Option<Instant>,
) -> io::Result<Vec<Ready>> {
    let mut polled: Vec<PollFd<'_>> = descriptors
        .iter()
        .map(|(fd, want)| PollFd::new(*fd, events(*want)))
        .collect();
    loop {
        match point("ppoll").and_then(|()| ppoll(&mut polled, timeout(deadline), None)) {
            Ok(0) if deadline.is_none_or(|deadline| Instant::now() < deadline) => {}
            Ok(_) => break,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(polled
        .iter()
        .map(|one| ready(one.revents().unwrap_or(PollFlags::empty())))
        .collect())
}

fn events(want: Ready) -> PollFlags {
    let mut events = PollFlags::empty();
    events.set(PollFlags::POLLIN, want.read);
    events.set(PollFlags::POLLOUT, want.write);
    events
}

fn ready(events: PollFlags) -> Ready {
    let ended = events.intersects(PollFlags::POLLERR | PollFlags::POLLHUP | PollFlags::POLLNVAL);
    Ready {
        read: ended || events.contains(PollFlags::POLLIN),
        write: ended || events.contains(PollFlags::POLLOUT),
    }
}

/// The time left until `deadline`, to the nanosecond: poll(2) would wait a millisecond for less than one.
fn timeout(deadline: Option<Instant>) -> Option<TimeSpec> {
    let left = deadline?.saturating_duration_since(Instant::now());
    // Longer than anybody waits, and short enough to count.
    Some(TimeSpec::from_duration(left.min(LONGEST)))
}

const LONGEST: Duration = Duration::from_secs(1 << 30);
