//! How connections over ZeroMQ are secured.

use std::fmt;
use std::sync::Arc;

pub use numpush_zmtp::Allowed;
use numpush_zmtp::{CurveClient, CurveServer, Login, PublicKey, SecretKey, Security};

use crate::endpoint::{Endpoint, EndpointError, Scheme};

/// ZeroMQ's CURVE: each side proves its key, and what is sent is sealed, so that nobody on the way reads or changes it.
///
/// Which side is the server has nothing to do with which one listens.
///
/// ```
/// # use numpush_transports as numpush;
/// use std::collections::HashSet;
///
/// use numpush::keys::{Allowed, Curve, SecretKey};
/// use numpush::Options;
/// use numpush_message::{Buffer, Message};
///
/// let (here, there) = (SecretKey::generate()?, SecretKey::generate()?);
/// let allowed = Allowed::Keys(HashSet::from([there.public()]).into());
/// let client = Options::new().curve(Curve::client(there, here.public()));
/// let server = Options::new().curve(Curve::server(here, allowed));
///
/// let mut listener = server.listen("zmq+tcp://127.0.0.1:0")?;
/// let mut sender = client.connect(&listener.address())?;
/// let mut receiver = listener.accept()?;
/// sender.send(&Message::new(Buffer::from(vec![7; 100])))?;
/// assert_eq!(receiver.recv()?.message, Message::new(Buffer::from(vec![7; 100])));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Curve(Arc<Security>);

impl Curve {
    /// A side with the key `ours` that knows the key of the other side, `server`.
    pub fn client(ours: SecretKey, server: PublicKey) -> Self {
        let client = CurveClient::new(ours, server);
        Self(Arc::new(Security::CurveClient(client)))
    }

    /// A side with the key `ours`, which lets clients in that are `allowed`.
    pub fn server(ours: SecretKey, allowed: Allowed) -> Self {
        let server = CurveServer::new(ours, allowed);
        Self(Arc::new(Security::CurveServer(server)))
    }
}

/// ZeroMQ's PLAIN: a name and a password, which everybody on the way can read, as all that is sent.
#[derive(Clone)]
pub struct Plain(Arc<Security>);

impl Plain {
    /// A side that shows a name and a password; `None` if one of them has more than 255 bytes.
    pub fn client(name: &str, password: &str) -> Option<Self> {
        let login = Login::new(name.as_bytes(), password.as_bytes())?;
        Some(Self(Arc::new(Security::PlainClient(login))))
    }

    /// A side that lets in who has one of these names and its password; `None` if one of them has more than 255 bytes.
    pub fn server<'l>(logins: impl IntoIterator<Item = (&'l str, &'l str)>) -> Option<Self> {
        let login =
            |(name, password): (&str, &str)| Login::new(name.as_bytes(), password.as_bytes());
        let logins: Option<Vec<Login>> = logins.into_iter().map(login).collect();
        Some(Self(Arc::new(Security::PlainServer(logins?.into()))))
    }
}

/// What a side brings, if anything.
#[derive(Clone, Default)]
pub(crate) struct Secured(pub(crate) Option<Arc<Security>>);

impl Secured {
    /// Refuses an endpoint at which nothing would be secured, though other machines can read it.
    pub(crate) fn check(&self, endpoint: &Endpoint) -> Result<(), EndpointError> {
        if self.0.is_none() || endpoint.scheme() != Scheme::Tcp {
            return Ok(());
        }
        Err(EndpointError::Address {
            address: endpoint.to_string(),
            fault: "keys and passwords are ZeroMQ's: over tcp nothing would be secured by them. Use zmq+tcp:",
        })
    }
}

impl From<Curve> for Secured {
    fn from(curve: Curve) -> Self {
        Self(Some(curve.0))
    }
}

impl From<Plain> for Secured {
    fn from(plain: Plain) -> Self {
        Self(Some(plain.0))
    }
}

/// The mechanism alone.
impl fmt::Debug for Secured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mechanism = self.0.as_ref().map(|security| security.mechanism());
        mechanism.fmt(f)
    }
}

impl fmt::Debug for Curve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Curve")
    }
}

impl fmt::Debug for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Plain")
    }
}
