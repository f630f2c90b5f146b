//! A listener for tasks.

use std::fmt;
use std::sync::Arc;

use numpush_os::{Ready, Watched};

use crate::aio::connection::Connection;
use crate::aio::wait::{Socket, Timer, Woken, wait, yield_now};
use crate::endpoint::Scheme;
use crate::error::{Error, Operation};
use crate::listener;
use crate::status::ListenerStatus;
use crate::watch::Watch;

/// A [`Listener`](crate::Listener) whose accept is a future.
///
/// A peer that speaks something else, hangs up or says nothing is no error and delays nobody.
///
/// ```
/// # use numpush_transports as numpush;
/// use numpush::aio;
///
/// # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
/// # runtime.block_on(async {
/// let mut listener = aio::listen("tcp://127.0.0.1:0")?;
/// let address = listener.address();
/// let client = tokio::spawn(async move { aio::connect(&address).await });
/// let server = listener.accept().await?;
/// assert!(server.peer().starts_with("tcp://127.0.0.1:"));
/// # client.await.unwrap()?;
/// # Ok::<(), numpush::Error>(())
/// # }).unwrap();
/// ```
pub struct Listener {
    /// A duplicate of the listener's.
    descriptor: Socket,
    watch: Option<Arc<Watch>>,
    listener: listener::Listener,
    /// Connections since it has waited.
    accepted: u32,
}

impl Listener {
    /// A listener for the tasks of the runtime at hand, of one whose calls block.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if its transport has nothing that a task could wait for; [`Error::Io`] if the runtime cannot
    /// watch it.
    ///
    /// # Panics
    /// As [`Connection::new`].
    pub fn new(mut listener: listener::Listener) -> Result<Self, Error> {
        let address = listener.address();
        let failed = |error| Error::io(Operation::SetUp, &address)(error);
        listener.prepare().map_err(failed)?;
        let watch = listener.watch();
        let descriptor = listener.descriptor().map(|descriptor| {
            let descriptor = descriptor.try_clone_to_owned()?;
            Watched::new(Arc::new(descriptor), false)
        });
        let descriptor = descriptor.transpose().map_err(failed)?;
        if descriptor.is_none() && watch.is_none() {
            return Err(super::unsupported(Scheme::name_in(&address)));
        }
        Ok(Self {
            descriptor: Socket::new(descriptor),
            watch,
            listener,
            accepted: 0,
        })
    }

    /// Waits for the next connection; as [`Listener::accept`](crate::Listener::accept). Dropped, it loses no connection.
    ///
    /// # Errors
    /// The same.
    pub async fn accept(&mut self) -> Result<Connection, Error> {
        if self.accepted >= BATCH {
            self.accepted = 0;
            yield_now().await;
        }
        loop {
            if let Some(connection) = self.listener.try_accept()? {
                self.accepted += 1;
                return Connection::new(connection);
            }
            let (descriptor, watch) = (self.descriptor.watched(), self.watch.as_deref());
            let woken = wait(descriptor, Ready::READ, watch, None, &mut Timer::default()).await;
            let woken = woken
                .map_err(|error| Error::io(Operation::Wait, &self.listener.address())(error))?;
            match woken {
                Woken::WasReady => yield_now().await,
                _ => self.accepted = 0,
            }
        }
    }

    /// Why a peer got no connection; as [`Listener::take_refused`](crate::Listener::take_refused).
    pub fn take_refused(&mut self) -> Option<Error> {
        self.listener.take_refused()
    }

    /// What goes on at the listener, as the last call left it.
    pub fn status(&self) -> ListenerStatus {
        self.listener.status()
    }

    /// Where it listens, with the port the kernel chose.
    pub fn address(&self) -> String {
        self.listener.address()
    }

    /// The same listener with calls that block. Connections whose handshake is under way stay in it.
    pub fn into_blocking(self) -> listener::Listener {
        self.listener
    }
}

impl TryFrom<listener::Listener> for Listener {
    type Error = Error;

    /// As [`Self::new`].
    fn try_from(listener: listener::Listener) -> Result<Self, Error> {
        Self::new(listener)
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("address", &self.address())
            .finish_non_exhaustive()
    }
}

/// Connections that are accepted before other tasks run.
const BATCH: u32 = 16;
