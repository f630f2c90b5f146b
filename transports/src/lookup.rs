//! The addresses of a host's name, within a time.
//!
//! getaddrinfo(3) cannot be told how long to wait, and nothing ends it: with a name server that does not answer it takes half a
//! minute and more. So it runs in a thread of its own, which is left behind when the time is over, and ends when the system
//! gives up. There are at most [`MOST`] of them in a process.

#[cfg(test)]
mod tests;

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, sync_channel};
use std::time::Duration;

use numpush_os::{self as os, Bell, GlobalMutex};

/// Threads that look up names at once, with those that nobody waits for any more. Each has a descriptor.
const MOST: u32 = 16;

/// A look-up has so long at the least: that of an answer from a file of this machine.
pub(crate) const LEAST: Duration = Duration::from_millis(100);

/// One for the process.
static THREADS: GlobalMutex<Threads> = GlobalMutex::new(Threads { count: 0, forks: 0 });

/// The threads at work.
struct Threads {
    count: u32,
    /// A forked child has none of its parent's.
    forks: u32,
}

/// The addresses that `address`, a host and a port, stands for. Waits for at most `timeout`; `None` waits as long as it takes.
pub(crate) fn addresses(address: &str, timeout: Option<Duration>) -> io::Result<Vec<SocketAddr>> {
    match address.parse() {
        Ok(literal) => Ok(vec![literal]),
        Err(_) => LookUp::start(address, timeout)?.wait(),
    }
}

/// A look-up that has begun.
pub(crate) struct LookUp {
    answer: Receiver<io::Result<Vec<SocketAddr>>>,
    bell: Arc<Bell>,
    address: String,
    timeout: Option<Duration>,
    /// The thread is in the process that has started it.
    forks: u32,
}

/// Wakes who waits, when it is dropped.
struct Ring(Arc<Bell>);

impl Drop for Ring {
    fn drop(&mut self) {
        self.0.ring();
    }
}

impl LookUp {
    /// Fails with [`WouldBlock`](io::ErrorKind::WouldBlock) if there are too many.
    pub(crate) fn start(address: &str, timeout: Option<Duration>) -> io::Result<Self> {
        Self::start_in(&THREADS, address, timeout)
    }

    fn start_in(
        threads: &'static GlobalMutex<Threads>,
        address: &str,
        timeout: Option<Duration>,
    ) -> io::Result<Self> {
        let place = Place::take(threads)?;
        let bell = Arc::new(Bell::new()?);
        let (tell, answer) = sync_channel(1);
        let (asked, ring) = (address.to_owned(), Arc::clone(&bell));
        let work = move || {
            // Dropped in this order, also in a panic: who waits is woken last.
            let ring = Ring(ring);
            let (tell, place) = (tell, place);
            let found = resolve(&asked);
            drop(place);
            // If nobody waits any more, nobody hears it.
            let _ = tell.send(found);
            drop((tell, ring));
        };
        let thread = std::thread::Builder::new().name("numpush-lookup".into());
        let no_thread = |error| {
            let text = format!("no thread could be started that looks the name up: {error}");
            io::Error::other(text)
        };
        thread.spawn(work).map_err(no_thread)?;
        Ok(Self {
            forks: os::forks(),
            answer,
            bell,
            address: address.to_owned(),
            timeout: timeout.map(|timeout| timeout.max(LEAST)),
        })
    }

    /// The addresses, if they are there.
    pub(crate) fn try_take(&self) -> io::Result<Option<Vec<SocketAddr>>> {
        if self.forks != os::forks() {
            return Err(io::Error::other(
                "the name is looked up in the parent of this process",
            ));
        }
        match self.answer.try_recv() {
            Ok(found) => found.map(Some),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(died()),
        }
    }

    /// What is readable once they are there.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    fn wait(self) -> io::Result<Vec<SocketAddr>> {
        let Some(timeout) = self.timeout else {
            return self.answer.recv().unwrap_or_else(|_| Err(died()));
        };
        match self.answer.recv_timeout(timeout) {
            Ok(found) => found,
            Err(RecvTimeoutError::Disconnected) => Err(died()),
            Err(RecvTimeoutError::Timeout) => {
                let host = self.address.rsplit_once(':').map_or("", |(host, _)| host);
                let text = format!("the name {host} was not answered within {timeout:.1?}");
                Err(io::Error::new(io::ErrorKind::TimedOut, text))
            }
        }
    }
}

fn died() -> io::Error {
    io::Error::other("the thread that looked the name up has died")
}

/// One of the threads, or the right to start it.
struct Place(&'static GlobalMutex<Threads>);

impl Place {
    fn take(all: &'static GlobalMutex<Threads>) -> io::Result<Self> {
        os::watch_forks();
        let mut threads = all.lock();
        let forks = os::forks();
        if std::mem::replace(&mut threads.forks, forks) != forks {
            threads.count = 0;
        }
        if threads.count >= MOST {
            let text = format!("{MOST} names are looked up already");
            return Err(io::Error::new(io::ErrorKind::WouldBlock, text));
        }
        threads.count += 1;
        Ok(Self(all))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut threads = self.0.lock();
        threads.count = threads.count.saturating_sub(1);
    }
}

fn resolve(address: &str) -> io::Result<Vec<SocketAddr>> {
    #[cfg(test)]
    if let Some(found) = tests::answer(address) {
        return found;
    }
    Ok(address.to_socket_addrs()?.collect())
}
