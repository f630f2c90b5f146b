use std::fmt;
use std::str::FromStr;

/// Where a connection leads: `tcp://host:port`, `unix:/path`, `unix:@name`, `file:/path`, `zmq+tcp://host:port`,
/// `zmq+ipc:/path`, `inproc:name`. The two slashes may be left out, or written, with every scheme.
///
/// Parameters follow a `?`, separated by `&`:
///
/// | parameter | schemes | meaning |
/// | --- | --- | --- |
/// | `max=BYTES` | all | largest payload of a message (1 GiB) |
/// | `checksums=on\|off\|auto` | `tcp`, `unix`, `file` | CRC-32C over payloads; `auto`: between machines, and in a file |
/// | `sendfile=on\|off\|auto` | `tcp` | sendfile(2) for memory behind a descriptor; `auto`: between machines, and of files |
/// | `users=UID,UID` | `unix` | users that may connect besides our own |
/// | `socket=KIND` | `zmq+tcp`, `zmq+ipc` | `push`, `pull`, `pub`, `sub`, `req` or `rep` (connect: `push`, listen: `pull`) |
/// | `trusted=1` | `zmq+tcp` | listen on an address other machines can reach |
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// How messages move.
    pub scheme: Scheme,
    /// Host and port, path or name.
    pub address: String,
    /// Names and values behind the `?`, in order.
    pub parameters: Vec<(String, String)>,
}

/// The schemes of endpoints.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum Scheme {
    Inproc,
    Tcp,
    Unix,
    File,
    ZmqTcp,
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

    /// The scheme as it stands in front of the colon.
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

    fn parameters(self) -> &'static [&'static str] {
        match self {
            Self::Inproc => &["max"],
            Self::Tcp => &["max", "checksums", "sendfile"],
            Self::File => &["max", "checksums"],
            Self::Unix => &["max", "checksums", "users"],
            Self::ZmqTcp => &["max", "socket", "trusted"],
            Self::ZmqIpc => &["max", "socket"],
        }
    }
}

/// Why text is not an endpoint.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each field is named in the variant's message")]
pub enum EndpointError {
    /// There is no scheme in front of a colon.
    #[error(
        "endpoint {text:?} has no scheme: write tcp://host:port, unix:/path, file:/path, zmq+tcp://host:port, \
             zmq+ipc:/path or inproc:name"
    )]
    NoScheme { text: String },
    /// The scheme is none of ours.
    #[error(
        "endpoint {text:?} has the unknown scheme {scheme:?}: take tcp, unix, file, zmq+tcp, zmq+ipc or inproc"
    )]
    UnknownScheme { text: String, scheme: String },
    /// There is nothing behind the scheme.
    #[error("endpoint {text:?} has no address")]
    NoAddress { text: String },
    /// The address lacks a port.
    #[error("endpoint {text:?} has no port: write host:port, or [address]:port for IPv6")]
    NoPort { text: String },
    /// A parameter that the scheme does not have.
    #[error("{scheme} has no parameter {name:?}; it has {}", known.join(", "))]
    UnknownParameter {
        scheme: Scheme,
        name: String,
        known: &'static [&'static str],
    },
    /// A parameter with a value it cannot have.
    #[error("parameter {name}={value}: expected {expected}")]
    Parameter {
        name: String,
        value: String,
        expected: &'static str,
    },
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
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
        if matches!(scheme, Scheme::Tcp | Scheme::ZmqTcp) && !matches!(port, Some(Ok(_))) {
            return Err(EndpointError::NoPort { text: owned() });
        }
        let mut parameters = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let known = scheme.parameters();
            if !known.contains(&name) {
                return Err(EndpointError::UnknownParameter {
                    scheme,
                    name: name.to_owned(),
                    known,
                });
            }
            parameters.push((name.to_owned(), value.to_owned()));
        }
        Ok(Self {
            scheme,
            address: address.to_owned(),
            parameters,
        })
    }
}

impl Endpoint {
    /// The value of a parameter; the last one counts.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters
            .iter()
            .rev()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slashes = if matches!(self.scheme, Scheme::Tcp | Scheme::ZmqTcp) {
            "//"
        } else {
            ""
        };
        write!(f, "{}:{slashes}{}", self.scheme, self.address)?;
        for (index, (name, value)) in self.parameters.iter().enumerate() {
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
            let endpoint: Endpoint = short.parse().unwrap();
            assert_eq!(endpoint, long.parse().unwrap());
            assert_eq!(endpoint.to_string().parse(), Ok(endpoint));
        }
        let six: Endpoint = "tcp://[::1]:5555?checksums=on&max=10".parse().unwrap();
        assert_eq!(
            (six.address.as_str(), six.parameter("max")),
            ("[::1]:5555", Some("10"))
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |text: &str| text.parse::<Endpoint>().unwrap_err().to_string();
        assert!(error("localhost").contains("no scheme"));
        assert!(error("http://x").contains("\"http\""));
        assert!(error("tcp://localhost").contains("no port"));
        assert!(error("tcp://localhost:99999").contains("no port"));
        assert!(error("unix:").contains("no address"));
        assert!(error("unix:/a?trusted=1").contains("trusted"));
    }
}
