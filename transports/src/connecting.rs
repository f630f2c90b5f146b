//! A connection that is being made, for a program that waits for many things at once.

use std::fmt;
use std::os::fd::BorrowedFd;
#[cfg(feature = "tokio")]
use std::time::Instant;

use numpush_os::Ready;

use crate::connection::Connection;
use crate::error::Error;
use crate::options::Options;
use crate::origin::Origin;
use crate::transport::Attempt;

/// A connection that is being made, by [`Options::start_connect`]. It ends with the attempt when it is dropped.
pub struct Connecting {
    attempt: Box<dyn Attempt>,
    options: Options,
    scheme: &'static str,
    is_over: bool,
    origin: Origin,
}

impl Connecting {
    pub(crate) fn new(attempt: Box<dyn Attempt>, options: Options, scheme: &'static str) -> Self {
        Self {
            attempt,
            options,
            scheme,
            is_over: false,
            origin: Origin::here(),
        }
    }

    /// Returns the connection once it is there; `None` while it is not, and after this has returned it or an error. It never
    /// waits. The handshake goes on in the calls of the connection.
    ///
    /// # Errors
    /// [`Error::Io`] if nobody listens there: this attempt is over. [`Error::Forked`] in a forked child.
    pub fn try_finish(&mut self) -> Result<Option<Connection>, Error> {
        self.origin.check(self.scheme)?;
        if self.is_over {
            return Ok(None);
        }
        let result = self.attempt.try_finish();
        self.is_over = !matches!(result, Ok(None));
        let established = result?;
        let (options, scheme) = (&self.options, self.scheme);
        Ok(established.map(|established| Connection::new(established, options.clone(), scheme)))
    }

    /// The descriptor to wait for with [`Self::wants`]; `None` if there is nothing to wait for. Ask again after each call:
    /// each address of a name has another one, and so has the look-up of the name.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.attempt.descriptor()
    }

    /// What to wait for at [`Self::descriptor`].
    pub fn wants(&self) -> Ready {
        match self.descriptor() {
            Some(_) => self.attempt.wants(),
            None => Ready::default(),
        }
    }

    /// Until when it is worth a wait, however little time the caller has.
    #[cfg(feature = "tokio")]
    pub(crate) fn least(&self) -> Option<Instant> {
        self.attempt.least()
    }
}

impl fmt::Debug for Connecting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connecting")
            .field("is_over", &self.is_over)
            .finish_non_exhaustive()
    }
}
