//! Many descriptors that one thread waits for.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::failpoint::point;
use crate::poll::Ready;

/// A set of descriptors to wait for, and a bell that any thread can ring; epoll(7) and eventfd(2).
#[derive(Debug)]
pub struct Events {
    epoll: Epoll,
    bell: EventFd,
}

/// A descriptor that is ready, by the number it was added under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// The number.
    pub token: u64,
    /// What it is ready for. At its end, and on an error, it is ready for both.
    pub ready: Ready,
}

/// No descriptor is added under this number.
const BELL: u64 = u64::MAX;
/// Most events of one wait. The rest comes with the next one.
const BATCH: usize = 64;

impl Events {
    /// An empty set.
    ///
    /// # Errors
    /// What epoll_create(2) and eventfd(2) report.
    pub fn new() -> io::Result<Self> {
        point("epoll_create1")?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        point("eventfd2")?;
        let bell = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        point("epoll_ctl")?;
        epoll.add(&bell, EpollEvent::new(EpollFlags::EPOLLIN, BELL))?;
        Ok(Self { epoll, bell })
    }

    /// Adds a descriptor under a number below [`u64::MAX`].
    ///
    /// # Errors
    /// What epoll_ctl(2) reports.
    pub fn add(&self, descriptor: impl AsFd, token: u64, want: Ready) -> io::Result<()> {
        point("epoll_ctl")?;
        Ok(self.epoll.add(descriptor, event(token, want))?)
    }

    /// Waits for something else of a descriptor that was added.
    ///
    /// # Errors
    /// What epoll_ctl(2) reports.
    pub fn change(&self, descriptor: impl AsFd, token: u64, want: Ready) -> io::Result<()> {
        point("epoll_ctl")?;
        Ok(self.epoll.modify(descriptor, &mut event(token, want))?)
    }

    /// Takes a descriptor out. One that is closed everywhere is out already.
    ///
    /// # Errors
    /// What epoll_ctl(2) reports.
    pub fn remove(&self, descriptor: impl AsFd) -> io::Result<()> {
        point("epoll_ctl")?;
        Ok(self.epoll.delete(descriptor)?)
    }

    /// Ends the wait of the thread that waits, or else the next one.
    pub fn ring(&self) {
        // It fails only if it has rung 2^64 times and nobody listens, or by a signal.
        while self.bell.write(1) == Err(Errno::EINTR) {}
    }

    /// Waits until a descriptor is ready or somebody rings, at most for `timeout`. Returns what is ready.
    ///
    /// # Errors
    /// What epoll_wait(2) reports.
    pub fn wait(&self, timeout: Option<Duration>) -> io::Result<Vec<Event>> {
        let mut ready = Vec::new();
        self.wait_into(&mut ready, timeout)?;
        Ok(ready)
    }

    /// As [`Self::wait`], into memory of the caller's. Returns true if somebody rang.
    ///
    /// # Errors
    /// What epoll_wait(2) reports.
    pub fn wait_into(&self, ready: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<bool> {
        let mut events = [EpollEvent::empty(); BATCH];
        let timeout = timeout.map_or(EpollTimeout::NONE, |timeout| {
            let millis = timeout.as_nanos().div_ceil(1_000_000);
            EpollTimeout::try_from(millis).unwrap_or(EpollTimeout::MAX)
        });
        let count = match point("epoll_wait").and_then(|()| self.epoll.wait(&mut events, timeout)) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(errno) => return Err(errno.into()),
        };
        let mut rang = false;
        for event in &events[..count] {
            if event.data() == BELL {
                let _ = self.bell.read();
                rang = true;
            } else {
                ready.push(Event {
                    token: event.data(),
                    ready: readiness(event.events()),
                });
            }
        }
        Ok(rang)
    }
}

/// It is readable while a descriptor is ready or somebody has rung: a set can be waited for in another one.
impl AsFd for Events {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

fn event(token: u64, want: Ready) -> EpollEvent {
    let mut events = EpollFlags::empty();
    // Who cannot read now would be told of the end of the peer's stream again and again.
    events.set(EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLIN, want.read);
    events.set(EpollFlags::EPOLLOUT, want.write);
    EpollEvent::new(events, token)
}

fn readiness(events: EpollFlags) -> Ready {
    let ended =
        events.intersects(EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP | EpollFlags::EPOLLRDHUP);
    Ready {
        read: ended || events.contains(EpollFlags::EPOLLIN),
        write: ended || events.contains(EpollFlags::EPOLLOUT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::os::unix::net::UnixStream;

    #[test]
    fn what_is_ready_is_named_and_the_bell_is_not() {
        let events = Events::new().unwrap();
        let (near, mut far) = UnixStream::pair().unwrap();
        events.add(&near, 7, Ready::READ).unwrap();
        events.ring();
        assert_eq!(events.wait(None).unwrap(), []);
        assert_eq!(events.wait(Some(Duration::ZERO)).unwrap(), []);
        far.write_all(b"x").unwrap();
        let event = events.wait(None).unwrap()[0];
        assert_eq!((event.token, event.ready), (7, Ready::READ));
        events.change(&near, 7, Ready::BOTH).unwrap();
        assert_eq!(events.wait(None).unwrap()[0].ready, Ready::BOTH);
        events.remove(&near).unwrap();
        drop(far);
        assert_eq!(events.wait(Some(Duration::ZERO)).unwrap(), []);
    }

    #[test]
    fn a_set_is_readable_while_something_in_it_is_ready() {
        let events = Events::new().unwrap();
        let is_ready = || {
            let now = Some(std::time::Instant::now());
            crate::poll::wait(&[(events.as_fd(), Ready::READ)], now).unwrap()[0].read
        };
        assert!(!is_ready());
        events.ring();
        assert!(is_ready());
        assert_eq!(events.wait(None).unwrap(), []);
        assert!(!is_ready());
        let (near, far) = UnixStream::pair().unwrap();
        events.add(&near, 1, Ready::READ).unwrap();
        assert!(!is_ready());
        drop(far);
        assert!(is_ready());
    }

    #[test]
    fn an_end_is_ready_for_both() {
        let events = Events::new().unwrap();
        let (near, far) = UnixStream::pair().unwrap();
        events.add(&near, 1, Ready::READ).unwrap();
        drop(far);
        assert_eq!(events.wait(None).unwrap()[0].ready, Ready::BOTH);
    }
}
