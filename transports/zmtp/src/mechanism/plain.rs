//! The mechanism PLAIN ([24/ZMTP-PLAIN]): a name and a password, which everybody on the way can read.
//!
//! [24/ZMTP-PLAIN]: https://rfc.zeromq.org/spec/24/

use std::fmt;
use std::sync::Arc;

use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

use crate::fault::Fault;
use crate::handshake::Handshake;
use crate::mechanism::step::{NOT_ALLOWED, expect, say, split};
use crate::properties::Properties;

/// A name and its password, wiped when it is dropped. What a handshake says and hears of them is not: it is on the wire as it is.
#[derive(Clone)]
pub struct Login {
    /// As HELLO has them, a byte with its length before each, and zeros behind: equal if and only if both are.
    bytes: Box<Zeroizing<[u8; 512]>>,
    len: usize,
}

impl Login {
    /// A name and a password; `None` if one of them has more than 255 bytes.
    pub fn new(name: &[u8], password: &[u8]) -> Option<Self> {
        let (name_len, password_len) = (name.len().try_into(), password.len().try_into());
        let lens: [u8; 2] = [name_len.ok()?, password_len.ok()?];
        let [one, other] = lens.map(std::iter::once);
        let all = one.chain(name.iter().copied());
        let all = all.chain(other).chain(password.iter().copied());
        let mut bytes = Box::new(Zeroizing::new([0; 512]));
        for (to, byte) in bytes.iter_mut().zip(all) {
            *to = byte;
        }
        let len = 2 + name.len() + password.len();
        Some(Self { bytes, len })
    }

    /// The name.
    pub fn name(&self) -> &[u8] {
        split(self.bytes()).map_or(&[], |(name, _)| name)
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }

    /// Reads what a HELLO says.
    fn read(bytes: &[u8]) -> Option<Self> {
        let (name, rest) = split(bytes)?;
        match split(rest)? {
            (password, []) => Self::new(name, password),
            _ => None,
        }
    }

    /// Whether it is among `logins`, in a time that tells their number only.
    fn is_among(&self, logins: &[Self]) -> bool {
        let is = |login: &Self| login.bytes.as_slice().ct_eq(self.bytes.as_slice());
        let found = logins
            .iter()
            .fold(Choice::from(0), |found, login| found | is(login));
        found.into()
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login of {}", self.name().escape_ascii())
    }
}

/// The side that has a name and a password.
///
/// HELLO with both →, ← WELCOME, INITIATE with our properties →, ← READY with theirs.
#[derive(Debug)]
pub(super) struct Client {
    login: Login,
    is_welcome: bool,
}

impl Client {
    pub(super) fn new(login: Login) -> Self {
        Self {
            login,
            is_welcome: false,
        }
    }
}

impl Handshake for Client {
    fn begin(&mut self, _: Properties<'_>, says: &mut Vec<u8>) -> Result<(), Fault> {
        say(b"HELLO", &[self.login.bytes()], says);
        Ok(())
    }

    fn hear<'a>(
        &'a mut self,
        body: &'a [u8],
        ours: Properties<'_>,
        says: &mut Vec<u8>,
    ) -> Result<Option<Properties<'a>>, Fault> {
        // libzmq 4.3 has "\x5ERROR" for "\5ERROR" in its source, which is to C what it says here.
        if let Some((reason, _)) = body.strip_prefix(b"\x5eRROR").and_then(split) {
            return Err(Fault::Refused(String::from_utf8_lossy(reason).into()));
        }
        if self.is_welcome {
            return Properties::read(expect(b"READY", body)?).map(Some);
        }
        if !expect(b"WELCOME", body)?.is_empty() {
            return Err(Fault::Violation("a WELCOME is longer than it may be"));
        }
        say(b"INITIATE", &[ours.bytes()], says);
        self.is_welcome = true;
        Ok(None)
    }
}

/// The side that knows names and passwords.
#[derive(Debug)]
pub(super) struct Server {
    logins: Arc<[Login]>,
    /// What the peer has shown, and is right.
    login: Option<Login>,
}

impl Server {
    pub(super) fn new(logins: Arc<[Login]>) -> Self {
        Self {
            logins,
            login: None,
        }
    }
}

impl Handshake for Server {
    fn hear<'a>(
        &'a mut self,
        body: &'a [u8],
        ours: Properties<'_>,
        says: &mut Vec<u8>,
    ) -> Result<Option<Properties<'a>>, Fault> {
        if self.login.is_some() {
            let theirs = Properties::read(expect(b"INITIATE", body)?)?;
            say(b"READY", &[ours.bytes()], says);
            return Ok(Some(theirs));
        }
        let login = Login::read(expect(b"HELLO", body)?)
            .ok_or(Fault::Violation("a HELLO has no name and password"))?;
        if !login.is_among(&self.logins) {
            say(b"ERROR", &[NOT_ALLOWED], says);
            return Err(Fault::Login(login.name().escape_ascii().to_string()));
        }
        say(b"WELCOME", &[], says);
        self.login = Some(login);
        Ok(None)
    }

    fn peer(&self) -> Option<String> {
        let login = self.login.as_ref()?;
        Some(login.name().escape_ascii().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mechanism::step::bodies;

    const CLIENT: &[u8] = b"\x0bSocket-Type\0\0\0\x04PUSH";
    const SERVER: &[u8] = b"\x0bSocket-Type\0\0\0\x04PULL";
    const LONG: &[u8] = &[b'l'; 255];
    const LOGINS: [(&[u8], &[u8]); 4] = [
        (b"ann", b"secret"),
        (b"bob", b""),
        (b"", b"nobody"),
        (LONG, LONG),
    ];

    fn client(name: &[u8], password: &[u8]) -> Client {
        Client::new(Login::new(name, password).unwrap())
    }

    fn server() -> Server {
        let logins = LOGINS.map(|(name, password)| Login::new(name, password).unwrap());
        Server::new(Arc::new(logins))
    }

    /// One side hears what the other said, answers, and returns the properties that it has learned.
    fn hear(
        side: &mut dyn Handshake,
        heard: &[u8],
        ours: &[u8],
    ) -> (Result<Option<Vec<u8>>, Fault>, Vec<u8>) {
        let (ours, mut says) = (Properties::read(ours).unwrap(), Vec::new());
        let [body] = bodies(heard)[..] else {
            panic!("one command at a time: {heard:?}");
        };
        let theirs = side.hear(body, ours, &mut says);
        (theirs.map(|it| it.map(|it| it.bytes().to_owned())), says)
    }

    #[test]
    fn who_is_known_is_let_in() {
        for (name, password) in LOGINS {
            let (mut client, mut server) = (client(name, password), server());
            let mut hello = Vec::new();
            let ours = Properties::read(CLIENT).unwrap();
            client.begin(ours, &mut hello).unwrap();
            let (waits, welcome) = hear(&mut server, &hello, SERVER);
            assert_eq!(waits, Ok(None));
            let (waits, initiate) = hear(&mut client, &welcome, CLIENT);
            assert_eq!(waits, Ok(None));
            let (theirs, ready) = hear(&mut server, &initiate, SERVER);
            assert_eq!(theirs, Ok(Some(CLIENT.into())));
            let (theirs, nothing) = hear(&mut client, &ready, CLIENT);
            assert_eq!((theirs, nothing), (Ok(Some(SERVER.into())), Vec::new()));
            assert_eq!(server.peer(), Some(name.escape_ascii().to_string()));
        }
    }

    #[test]
    fn who_is_not_known_is_refused_and_told() {
        for (name, password) in [
            (&b"ann"[..], &b"secre"[..]),
            (b"ann", b"secret\0"),
            (b"ann", b""),
            (b"bob", b"secret"),
            (b"", b""),
            (b"eve", b"secret"),
        ] {
            let mut hello = Vec::new();
            let ours = Properties::read(CLIENT).unwrap();
            client(name, password).begin(ours, &mut hello).unwrap();
            let mut server = server();
            let (refused, says) = hear(&mut server, &hello, SERVER);
            assert_eq!(refused, Err(Fault::Login(name.escape_ascii().to_string())));
            assert_eq!(bodies(&says), [b"\x05ERROR\x03400"]);
            assert_eq!(server.peer(), None);
        }
        assert!(Login::new(&[0; 256], b"").is_none());
        assert!(Login::new(b"", &[0; 256]).is_none());
    }

    #[test]
    fn commands_out_of_turn_are_refused() {
        let (ours, mut says) = (Properties::read(CLIENT).unwrap(), Vec::new());
        for body in [
            &b"\x08INITIATE"[..],
            b"\x05READY",
            b"\x05HELLO",
            b"\x05HELLO\x03ann\x06secre",
            b"\x05HELLO\x03ann\x06secret!",
            b"\x05HELL",
            b"",
        ] {
            let mut server = server();
            let refused = server.hear(body, ours, &mut says);
            assert!(matches!(refused, Err(Fault::Violation(_))), "{body:?}");
            assert_eq!(server.peer(), None);
        }
        for body in [&b"\x05READY"[..], b"\x07WELCOME!", b"\x05HELLO", b""] {
            let mut client = client(b"ann", b"secret");
            let refused = client.hear(body, ours, &mut says);
            assert!(matches!(refused, Err(Fault::Violation(_))), "{body:?}");
        }
        assert!(says.is_empty());
        // Properties that cannot be read let nobody in either.
        let mut server = server();
        server.hear(b"\x05HELLO\x03bob\0", ours, &mut says).unwrap();
        says.clear();
        assert!(server.hear(b"\x08INITIATE\x01", ours, &mut says).is_err());
        assert!(says.is_empty());
    }

    #[test]
    fn the_error_of_libzmq_is_understood() {
        let (ours, mut says) = (Properties::read(CLIENT).unwrap(), Vec::new());
        let mut client = client(b"ann", b"secre");
        let refused = client.hear(b"\x5eRROR\x03400", ours, &mut says);
        assert_eq!(refused, Err(Fault::Refused("400".into())));
        assert!(client.hear(b"\x5eRROR\x0340", ours, &mut says).is_err());
    }

    #[test]
    fn a_password_does_not_show() {
        let shown = format!("{:?}", client(b"ann", b"secret"));
        assert!(
            shown.contains("ann") && !shown.contains("secret"),
            "{shown}"
        );
    }
}
