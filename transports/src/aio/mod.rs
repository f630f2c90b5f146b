//! The calls as futures, on tokio.
//!
//! The verbs are those of the blocking API: [`connect`], [`listen`], [`Connection::send`], [`Connection::recv`]. They
//! work on tcp, unix and inproc; a file, a folder and ZeroMQ have nothing that a task could wait for, and are refused.
//! The caller's runtime watches the sockets and keeps the time: it must have I/O and time enabled. There is no thread for a
//! connection, none of the runtime's threads waits in the kernel, and no runtime is hidden. All futures are `Send`, and run on
//! runtimes of one thread and of many. Patience and timeouts are in the time of the system: a runtime whose time is paused,
//! as tests do it, is not supported.

mod connection;
mod driver;
mod halves;
mod leaving;
mod listener;
mod wait;

use std::sync::Arc;
use std::time::Instant;

use numpush_os::Watched;

use crate::deadline::{Backoff, Deadline, may_appear};
use crate::endpoint::{Endpoint, Scheme};
use crate::error::{Error, Operation};
use crate::options::Options;
use wait::{Socket, Timer, Woken, yield_now};

pub use connection::{Connection, Messages};
pub use halves::{RecvHalf, SendHalf};
pub use listener::Listener;

/// Connects to `endpoint`, waiting up to 5 s for the other side to appear; as [`connect`](crate::connect). Dropped, it ends
/// the attempt.
///
/// The look-up of a host's name is done before each attempt, in a thread of its own, since getaddrinfo(3) blocks; an address has
/// none. However short the connect timeout is, it has a tenth of a second, as in the calls that block. At most 16 such threads
/// run in a process, and one that nobody waits for any more ends with its look-up. Of a name with several addresses, one that
/// does not answer takes all of the time: those behind it are tried only once it fails.
///
/// # Errors
/// As [`Options::connect`], and [`Error::Unsupported`] for transports that tasks cannot use.
///
/// # Panics
/// As [`Connection::new`].
pub async fn connect(endpoint: &str) -> Result<Connection, Error> {
    connect_with(endpoint, &Options::new()).await
}

/// As [`connect`], with options.
///
/// # Errors
/// As [`connect`].
///
/// # Panics
/// As [`Connection::new`].
pub async fn connect_with(endpoint: &str, options: &Options) -> Result<Connection, Error> {
    check(endpoint)?;
    let deadline = Deadline::after(options.connect_timeout);
    let mut backoff = Backoff::new();
    loop {
        let error = match attempt(endpoint, options, deadline).await {
            Err(error) if is_absent(&error) => error,
            result => return result,
        };
        if deadline.has_passed() {
            return Err(error);
        }
        tokio::time::sleep(backoff.advance()).await;
    }
}

/// Listens at `endpoint`; as [`listen`](crate::listen).
///
/// # Errors
/// As [`Options::listen`], and [`Error::Unsupported`] for transports that tasks cannot use.
///
/// # Panics
/// As [`Connection::new`].
pub fn listen(endpoint: &str) -> Result<Listener, Error> {
    listen_with(endpoint, &Options::new())
}

/// As [`listen`], with options.
///
/// # Errors
/// As [`listen`].
///
/// # Panics
/// As [`Connection::new`].
pub fn listen_with(endpoint: &str, options: &Options) -> Result<Listener, Error> {
    check(endpoint)?;
    Listener::new(options.listen(endpoint)?)
}

/// Tries once to connect.
async fn attempt(
    endpoint: &str,
    options: &Options,
    deadline: Deadline,
) -> Result<Connection, Error> {
    let failed = |error| Error::io(Operation::Connect, endpoint)(error);
    let mut connecting = options.start_connect(endpoint)?;
    loop {
        if let Some(connection) = connecting.try_finish()? {
            return Connection::new(connection);
        }
        // As the calls that block: a name is looked up, and an address tried, for a moment at the least.
        let least = connecting.least();
        if deadline.has_passed() && least.is_none_or(|least| least <= Instant::now()) {
            return Err(failed(std::io::ErrorKind::TimedOut.into()));
        }
        let Some(socket) = connecting.descriptor() else {
            yield_now().await;
            continue;
        };
        // A descriptor of its own: the next address of the name closes this socket.
        let socket = socket.try_clone_to_owned();
        let watched = socket.and_then(|socket| Watched::new(Arc::new(socket), true));
        let socket = Socket::new(Some(watched.map_err(failed)?));
        let mut timer = Timer::default();
        let until = deadline
            .instant()
            .map(|at| least.map_or(at, |least| at.max(least)));
        let want = connecting.wants();
        let woken = wait::wait(socket.watched(), want, None, until, &mut timer).await;
        if woken.map_err(failed)? == Woken::WasReady {
            yield_now().await;
        }
    }
}

/// Refuses what tasks cannot use, before anything is made.
fn check(endpoint: &str) -> Result<(), Error> {
    let endpoint: Endpoint = endpoint.parse()?;
    match endpoint.scheme() {
        Scheme::Inproc | Scheme::Tcp | Scheme::Unix => Ok(()),
        scheme => Err(unsupported(scheme.name())),
    }
}

fn unsupported(transport: &'static str) -> Error {
    Error::Unsupported {
        transport,
        operation: Operation::Wait,
        reason: "it has nothing that a task could wait for; its calls block",
    }
}

/// True if the other side may still appear.
fn is_absent(error: &Error) -> bool {
    matches!(error, Error::Io { operation: Operation::Connect, source, .. } if may_appear(source))
}
