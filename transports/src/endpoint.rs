//! Endpoints: text that names a transport and an address, `scheme:address?parameters`.

use std::fmt;

/// Where a connection leads: `tcp://host:port`, `unix:/path`, `unix:@name`, `file:/path`, `zmq+tcp://host:port`,
/// `zmq+ipc:/path`, `inproc:name`. The two slashes may be left out, or written, with every scheme.
///
/// Parameters follow a `?`, separated by `&`; each sets one of the [`Options`](crate::Options) for this endpoint.
/// [`Scheme::parameters`] lists those of a scheme:
///
/// | parameter | schemes | meaning |
/// | --- | --- | --- |
/// | `max=BYTES` | all | largest payload of a message (1 GiB) |
/// | `checksums=on\|off\|auto` | `tcp`, `unix`, `file` | CRC-32C over payloads; `auto`: between machines, and in a file |
/// | `sync=on\|off` | `file` | files and their names are on the disk when a call returns (off) |
/// | `sendfile=on\|off\|auto` | `tcp` | sendfile(2) for memory with a descriptor; `auto`: between machines, and of files |
/// | `spin=TIME` | `tcp`, `unix` | look so long, as `20us` or `1ms`, before a wait sleeps (0us) |
/// | `users=UID,UID` | `unix` | users that may connect besides our own |
/// | `socket=KIND` | `zmq+tcp`, `zmq+ipc` | `push`, `pull`, `pub`, `sub`, `req` or `rep` (connect: `push`, listen: `pull`) |
/// | `trusted=1` | `zmq+tcp` | listen on an address other machines can reach |
/// | `key=PATH` | `zmq+tcp`, `zmq+ipc` | CURVE: the file with our secret key, which `numpush keygen` makes |
/// | `server=PATH` | `zmq+tcp`, `zmq+ipc` | CURVE: the file with the public key of the other side |
/// | `allow=PATH` | `zmq+tcp`, `zmq+ipc` | CURVE: the file with the public keys of who may come in, one a line; `anybody` lets all in |
/// | `login=PATH` | `zmq+tcp`, `zmq+ipc` | PLAIN: the file with a name, a blank and a password, which who listens has one a line |
///
/// ```
/// # use numpush_transports as numpush;
/// use numpush::{Endpoint, Scheme};
///
/// let endpoint: Endpoint = "inproc:results?max=1000".parse()?;
/// assert_eq!(endpoint.scheme(), Scheme::Inproc);
/// assert_eq!(endpoint.address(), "results");
/// assert_eq!(endpoint.parameter("max"), Some("1000"));
/// assert!("inproc:results?colour=red".parse::<Endpoint>().is_err());
/// # Ok::<(), numpush::EndpointError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    scheme: Scheme,
    address: String,
    parameters: Vec<(String, String)>,
}

/// The schemes of endpoints.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// Threads of one process.
    Inproc,
    /// TCP.
    Tcp,
    /// Unix sockets.
    Unix,
    /// Files.
    File,
    /// ZeroMQ over TCP.
    ZmqTcp,
    /// ZeroMQ over a unix socket.
    ZmqIpc,
}

impl Scheme {
    /// Every scheme, whether it is in this build or not.
    pub const ALL: [Self; 6] = [
        Self::Inproc,
        Self::Tcp,
        Self::Unix,
        Self::File,
        Self::ZmqTcp,
        Self::ZmqIpc,
    ];

    /// The scheme's name in an endpoint, before the colon.
    pub fn name(self) -> &'static str {
        match self {
            Self::Inproc => "inproc",
            Self::Tcp => "tcp",
            Self::Unix => "unix",
            Self::File => "file",
            Self::ZmqTcp => "zmq+tcp",
            Self::ZmqIpc => "zmq+ipc",
        }
    }

    /// The name that `address` begins with, or what is said of one that has none.
    pub(crate) fn name_in(address: &str) -> &'static str {
        let scheme = address.split_once(':').map_or("", |(scheme, _)| scheme);
        let mut names = Self::ALL.iter().map(|scheme| scheme.name());
        names
            .find(|name| *name == scheme)
            .unwrap_or("this transport")
    }

    /// True if the address is a host and a port.
    fn has_port(self) -> bool {
        matches!(self, Self::Tcp | Self::ZmqTcp)
    }
}

/// Why text is not an endpoint, or not one that its transport takes.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// There is no scheme before a colon.
    #[error(
        "endpoint {text:?} has no scheme: write tcp://host:port, unix:/path, file:/path, zmq+tcp://host:port, \
             zmq+ipc:/path or inproc:name"
    )]
    NoScheme {
        /// The text.
        text: String,
    },
    /// The scheme is unknown.
    #[error(
        "endpoint {text:?} has the unknown scheme {scheme:?}: take tcp, unix, file, zmq+tcp, zmq+ipc or inproc"
    )]
    UnknownScheme {
        /// The text.
        text: String,
        /// The scheme in it.
        scheme: String,
    },
    /// Nothing follows the scheme.
    #[error("endpoint {text:?} has no address")]
    NoAddress {
        /// The text.
        text: String,
    },
    /// The address has no port, or none from 0 to 65535.
    #[error(
        "endpoint {text:?} has no port from 0 to 65535: write host:port, or [address]:port for IPv6"
    )]
    NoPort {
        /// The text.
        text: String,
    },
    /// A parameter that the scheme does not have.
    #[error("{scheme} has no parameter {name:?}; it has {}", known.join(", "))]
    UnknownParameter {
        /// The scheme.
        scheme: Scheme,
        /// The parameter.
        name: String,
        /// The parameters that the scheme has.
        known: Vec<&'static str>,
    },
    /// A parameter with a value it cannot have.
    #[error("parameter {name}={value}: expected {expected}")]
    Parameter {
        /// The parameter.
        name: String,
        /// Its value.
        value: String,
        /// The values it can have.
        expected: &'static str,
    },
    /// An address that the transport does not take.
    #[error("endpoint {address:?}: {fault}")]
    Address {
        /// The address.
        address: String,
        /// What is wrong with it.
        fault: &'static str,
    },
}

impl Endpoint {
    /// Splits the text into its parts. It does not check whether the scheme has these parameters.
    pub(crate) fn split(text: &str) -> Result<Self, EndpointError> {
        let owned = || text.to_owned();
        let (scheme, rest) = text
            .split_once(':')
            .ok_or_else(|| EndpointError::NoScheme { text: owned() })?;
        let known = Scheme::ALL.into_iter().find(|known| known.name() == scheme);
        let scheme = known.ok_or_else(|| EndpointError::UnknownScheme {
            text: owned(),
            scheme: scheme.to_owned(),
        })?;
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
        if address.is_empty() {
            return Err(EndpointError::NoAddress { text: owned() });
        }
        let port = address
            .rsplit_once(':')
            .map(|(_, port)| port.parse::<u16>());
        if scheme.has_port() && !matches!(port, Some(Ok(_))) {
            return Err(EndpointError::NoPort { text: owned() });
        }
        let parameters = query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Ok(Self {
            scheme,
            address: address.to_owned(),
            parameters,
        })
    }

    /// How messages move.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Host and port, path or name.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The value of a parameter. Of two values the last one counts.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters()
            .filter(|(known, _)| *known == name)
            .last()
            .map(|(_, value)| value)
    }

    /// Names and values of the parameters, in order.
    pub fn parameters(&self) -> impl Iterator<Item = (&str, &str)> {
        self.parameters
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slashes = if self.scheme.has_port() { "//" } else { "" };
        write!(f, "{}:{slashes}{}", self.scheme, self.address)?;
        for (index, (name, value)) in self.parameters().enumerate() {
            write!(f, "{}{name}={value}", if index == 0 { '?' } else { '&' })?;
        }
        Ok(())
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_may_be_left_out() {
        for (short, long) in [
            ("tcp:localhost:5555", "tcp://localhost:5555"),
            ("unix:/tmp/a", "unix:///tmp/a"),
            ("unix:@a", "unix://@a"),
            ("file:/tmp/a", "file:///tmp/a"),
            ("zmq+ipc:/tmp/a", "zmq+ipc:///tmp/a"),
            ("inproc:a", "inproc://a"),
        ] {
            let endpoint = Endpoint::split(short).unwrap();
            assert_eq!(endpoint, Endpoint::split(long).unwrap());
            assert_eq!(Endpoint::split(&endpoint.to_string()), Ok(endpoint));
        }
        let six = Endpoint::split("tcp://[::1]:5555?checksums=on&max=10").unwrap();
        assert_eq!(
            (six.address(), six.parameter("max")),
            ("[::1]:5555", Some("10"))
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |text: &str| Endpoint::split(text).unwrap_err().to_string();
        assert!(error("localhost").contains("no scheme"));
        assert!(error("http://x").contains("\"http\""));
        assert!(error("tcp://localhost").contains("no port"));
        assert!(error("tcp://localhost:99999").contains("65535"));
        assert!(error("unix:").contains("no address"));
    }
}
