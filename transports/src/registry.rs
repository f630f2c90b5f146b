//! From an endpoint to its transport: the table of all that are in this build, and the calls that look into it.

use std::str::FromStr;

use crate::connecting::Connecting;
use crate::connection::Connection;
use crate::endpoint::{Endpoint, EndpointError, Scheme};
use crate::error::Error;
use crate::inproc::Inproc;
use crate::listener::Listener;
use crate::options::{Options, Parameter};
use crate::transport::Factory;

/// Every transport of this build.
static TRANSPORTS: &[&dyn Factory] = &[
    &Inproc,
    #[cfg(feature = "tcp")]
    &crate::tcp::Tcp,
    #[cfg(feature = "unix")]
    &crate::unix::Unix,
    #[cfg(feature = "file")]
    &crate::file::Files,
    #[cfg(feature = "zmq")]
    &crate::zmq::Zmq::TCP,
    #[cfg(feature = "zmq")]
    &crate::zmq::Zmq::IPC,
];

fn transport(scheme: Scheme) -> Option<&'static dyn Factory> {
    let is_it = |factory: &&&'static dyn Factory| factory.scheme() == scheme;
    TRANSPORTS.iter().find(is_it).copied()
}

/// Connects to `endpoint`, waiting up to 5 s for the other side to appear. [`Options::connect`] does it with options.
///
/// ```
/// # use numpush_transports as numpush;
/// let listener = numpush::listen("inproc:connect")?; // or "tcp://127.0.0.1:0", "unix:/run/user/1000/arrays"
/// let connection = numpush::connect(&listener.address())?;
/// assert!(connection.capabilities().two_way);
/// # Ok::<(), numpush::Error>(())
/// ```
///
/// # Errors
/// As [`Options::connect`].
pub fn connect(endpoint: &str) -> Result<Connection, Error> {
    Options::new().connect(endpoint)
}

/// Listens at `endpoint`. [`Options::listen`] does it with options. Port 0 of `tcp` takes a free port, which
/// [`Listener::address`] returns.
///
/// A unix path must be free, or a socket that no process has open any more: no other file is ever replaced.
///
/// ```
/// # mod numpush { pub use numpush_message::*; pub use numpush_transports::*; }
/// use numpush::{Buffer, Message};
///
/// let mut listener = numpush::listen("inproc:listen")?;
/// let sender = std::thread::spawn(|| {
///     let mut tx = numpush::connect("inproc:listen")?;
///     tx.send(&Message::new(Buffer::copy_of(b"hello")))?;
///     tx.close() // waits until the other side has it
/// });
/// let received = listener.accept()?.recv()?;
/// assert_eq!(received.message.as_bytes().unwrap()[..], *b"hello");
/// sender.join().unwrap()?;
/// # Ok::<(), numpush::Error>(())
/// ```
///
/// # Errors
/// As [`Options::listen`].
pub fn listen(endpoint: &str) -> Result<Listener, Error> {
    Options::new().listen(endpoint)
}

impl Options {
    /// Connects to `endpoint` with these options. The connect timeout bounds the look-up of a host's name too, but gives it a
    /// tenth of a second at the least.
    ///
    /// # Errors
    /// [`Error::Endpoint`] and [`Error::Disabled`] if the endpoint cannot be used; [`Error::Io`] with
    /// [`Operation::Connect`](crate::Operation::Connect) if nobody listens for as long as the connect timeout;
    /// [`Error::ForeignUser`] if a unix socket belongs to another user.
    pub fn connect(&self, endpoint: &str) -> Result<Connection, Error> {
        let (factory, endpoint, options) = self.resolve(endpoint)?;
        Ok(Connection::new(
            factory.connect(&endpoint, &options)?,
            options,
            endpoint.scheme().name(),
        ))
    }

    /// Begins to connect to `endpoint`, without a wait for the other side: whoever is not there yet is an error, whatever the
    /// connect timeout is. A host's name is looked up in a thread of its own.
    ///
    /// Over tcp the connection comes later; over unix, inproc, a file and ZeroMQ it is tried once, in this call.
    ///
    /// ```
    /// # use numpush_transports as numpush;
    /// let mut listener = numpush::listen("inproc:start")?;
    /// let mut connecting = numpush::Options::new().start_connect(&listener.address())?;
    /// let client = loop {
    ///     // A program with more to do waits for `connecting.descriptor()` together with others.
    ///     if let Some(client) = connecting.try_finish()? {
    ///         break client;
    ///     }
    /// };
    /// let server = listener.try_accept()?.unwrap();
    /// # drop((client, server));
    /// # Ok::<(), numpush::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Self::connect`]; [`Error::Io`] with [`WouldBlock`](std::io::ErrorKind::WouldBlock) if the queue of a unix listener
    /// is full, or 16 names are looked up already in this process: try again later.
    pub fn start_connect(&self, endpoint: &str) -> Result<Connecting, Error> {
        let (factory, endpoint, options) = self.resolve(endpoint)?;
        let attempt = factory.start(&endpoint, &options)?;
        let scheme = endpoint.scheme().name();
        Ok(Connecting::new(attempt, options, scheme))
    }

    /// Listens at `endpoint` with these options, which every connection gets that it accepts.
    ///
    /// # Errors
    /// [`Error::Endpoint`] and [`Error::Disabled`] if the endpoint cannot be used; [`Error::Io`] with
    /// [`Operation::Listen`](crate::Operation::Listen) if it is taken.
    pub fn listen(&self, endpoint: &str) -> Result<Listener, Error> {
        let (factory, endpoint, options) = self.resolve(endpoint)?;
        Ok(Listener::new(factory.listen(&endpoint, &options)?, options))
    }

    /// The endpoint, its transport, and these options with what the endpoint's parameters set.
    fn resolve(&self, endpoint: &str) -> Result<(&'static dyn Factory, Endpoint, Self), Error> {
        let endpoint: Endpoint = endpoint.parse()?;
        let scheme = endpoint.scheme();
        let factory = transport(scheme).ok_or(Error::Disabled { scheme })?;
        let mut options = self.clone();
        apply(&endpoint, factory.parameters(), &mut options)?;
        #[cfg(feature = "zmq")]
        options.secured.check(&endpoint)?;
        Ok((factory, endpoint, options))
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    /// Parses the text, and checks the parameters if the scheme's transport is in this build.
    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let endpoint = Self::split(text)?;
        if let Some(factory) = transport(endpoint.scheme()) {
            apply(&endpoint, factory.parameters(), &mut Options::new())?;
        }
        Ok(endpoint)
    }
}

impl Scheme {
    /// True if the scheme's transport is in this build.
    pub fn is_enabled(self) -> bool {
        transport(self).is_some()
    }

    /// The parameters that endpoints of this scheme may have; none if its transport is not in this build.
    pub fn parameters(self) -> &'static [Parameter] {
        transport(self).map_or(&[], |factory| factory.parameters())
    }
}

/// Sets the options that the endpoint's parameters name.
fn apply(
    endpoint: &Endpoint,
    known: &'static [Parameter],
    options: &mut Options,
) -> Result<(), EndpointError> {
    for (name, value) in endpoint.parameters() {
        let parameter = known.iter().find(|parameter| parameter.name == name);
        let parameter = parameter.ok_or_else(|| EndpointError::UnknownParameter {
            scheme: endpoint.scheme(),
            name: name.to_owned(),
            known: known.iter().map(|parameter| parameter.name).collect(),
        })?;
        (parameter.parse)(value, options).ok_or_else(|| EndpointError::Parameter {
            name: name.to_owned(),
            value: value.to_owned(),
            expected: parameter.values,
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_scheme_has_two_transports() {
        for scheme in Scheme::ALL {
            let transports = TRANSPORTS.iter().filter(|one| one.scheme() == scheme);
            assert_eq!(
                transports.count(),
                usize::from(scheme.is_enabled()),
                "{scheme}"
            );
        }
    }

    #[test]
    fn the_documentation_lists_every_parameter() {
        let table = include_str!("endpoint.rs");
        for scheme in Scheme::ALL {
            for parameter in scheme.parameters() {
                assert!(
                    table.contains(&format!("/// | `{}=", parameter.name)),
                    "{parameter:?}"
                );
            }
        }
    }

    #[test]
    fn parameters_have_the_last_word() {
        let (_, _, options) = Options::new()
            .max_message(5)
            .resolve("inproc:a?max=7")
            .unwrap();
        assert_eq!(options.max_message, 7);
    }

    #[test]
    fn a_wrong_parameter_is_named() {
        let error = |text: &str| text.parse::<Endpoint>().unwrap_err().to_string();
        assert!(error("inproc:a?trusted=1").contains("it has max"));
        assert!(error("inproc:a?max=many").contains("expected BYTES"));
    }
}
