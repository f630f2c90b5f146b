//! The side whose key its clients know.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::cipher::{Agreed, KEY, TAG, equal};
use crate::fault::Fault;
use crate::handshake::Handshake;
use crate::keys::{PublicKey, SecretKey, Seed};
use crate::mechanism::step::{NOT_ALLOWED, expect, say};
use crate::properties::Properties;
use crate::seal::{Opening, Sealing};

use super::traffic::{Both, FROM_CLIENT, FROM_SERVER};
use super::{COOKIE, agree, cut, numbered, random, rising, seed};

/// Who may come in. It is asked about a key only after the peer has proved that the key is its own.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub enum Allowed {
    /// No client is asked who it is. The public key of the server keeps nobody out: it may be told to everybody.
    Anybody,
    /// Who has one of these keys.
    Keys(Arc<HashSet<PublicKey>>),
}

impl Allowed {
    fn has(&self, key: &PublicKey) -> bool {
        match self {
            Self::Anybody => true,
            Self::Keys(keys) => keys.contains(key),
        }
    }
}

/// A key, which the clients know, and who of them may come in.
///
/// ```
/// use std::collections::HashSet;
///
/// use numpush_zmtp::{Allowed, CurveClient, CurveServer, Inbound, Limits, SecretKey, Security, SocketKind, WayOut};
///
/// let (server, client) = (SecretKey::generate()?, SecretKey::generate()?);
/// let allowed = Allowed::Keys(HashSet::from([client.public()]).into());
/// let theirs = Security::CurveClient(CurveClient::new(client.clone(), server.public()));
/// let ours = Security::CurveServer(CurveServer::new(server, allowed));
/// let mut ends = [
///     Inbound::new(SocketKind::Push, &theirs, Limits::default()),
///     Inbound::new(SocketKind::Pull, &ours, Limits::default()),
/// ];
/// loop {
///     // What each side says, the other hears: two greetings, and four commands.
///     let [up, down] = ends.each_mut().map(Inbound::says);
///     if up.is_empty() && down.is_empty() {
///         break;
///     }
///     for (end, heard) in ends.iter_mut().zip([down, up]) {
///         end.spare()[..heard.len()].copy_from_slice(&heard);
///         end.filled(heard.len());
///         while end.next()?.is_some() {}
///     }
/// }
/// assert_eq!(ends[1].peer(), Some(client.public().to_string()));
/// // From here on each frame is sealed.
/// assert!(matches!(ends[0].way_out(), Some(WayOut::Sealed(_))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct CurveServer {
    ours: SecretKey,
    allowed: Allowed,
}

impl CurveServer {
    /// A server with the key `ours`, which lets `allowed` in.
    pub fn new(ours: SecretKey, allowed: Allowed) -> Self {
        Self { ours, allowed }
    }
}

impl CurveServer {
    /// True if nobody is asked who it is.
    pub(crate) fn lets_anybody_in(&self) -> bool {
        matches!(self.allowed, Allowed::Anybody)
    }
}

/// The side whose key its clients know.
pub(crate) struct Server {
    config: CurveServer,
    /// What a test gave; else there is a new one.
    seed: Option<Seed>,
    state: State,
    /// What the peer says of itself, and before it what proves who it is.
    initiate: Zeroizing<Vec<u8>>,
}

enum State {
    Hello,
    /// Waits for INITIATE.
    Initiate(Begun),
    Over,
    Open(PublicKey, Both),
}

/// A connection with a HELLO.
struct Begun {
    seed: Seed,
    /// s'.
    passing: SecretKey,
    /// C'.
    theirs: PublicKey,
    /// Number of the last box.
    last: u64,
}

/// Bytes of an INITIATE before the properties of the client: its key, and its vouch.
const PROOF: usize = KEY + 16 + VOUCH;
const VOUCH: usize = TAG + 2 * KEY;

impl Server {
    pub(crate) fn new(config: CurveServer, seed: Option<Seed>) -> Self {
        Self {
            config,
            seed,
            state: State::Hello,
            initiate: Zeroizing::default(),
        }
    }

    /// Reads HELLO and answers WELCOME.
    fn hello(&mut self, mut rest: &[u8], says: &mut Vec<u8>) -> Result<Begun, Fault> {
        let [1, 0] = cut(&mut rest)? else {
            return Err(Fault::Violation("a HELLO is of another version than 1.0"));
        };
        let _padding: &[u8; 72] = cut(&mut rest)?;
        let theirs = PublicKey::new(*cut(&mut rest)?);
        let agreed = agree(&self.config.ours, &theirs)?;
        let last = rising(&mut rest, 0)?;
        match agreed.opened(&numbered(b"CurveZMQHELLO---", last), rest) {
            Some(zeros) if zeros.len() == 64 => {}
            _ => return Err(Fault::Sealed("HELLO")),
        }
        let seed = seed(&mut self.seed)?;
        let (passing, once) = (seed.key(), seed.once());
        let mut sealed = Vec::new();
        agreed.seal_to(
            &random(b"WELCOME-", &once),
            &[passing.public().bytes(), &seed.cookie()],
            &mut sealed,
        );
        say(b"WELCOME", &[&once, &sealed], says);
        Ok(Begun {
            seed,
            passing,
            theirs,
            last,
        })
    }

    /// Reads INITIATE, and returns the key that the client has proved, the number of its box, and what c' and s' agree on.
    fn initiate(
        &mut self,
        mut rest: &[u8],
        begun: &Begun,
    ) -> Result<(PublicKey, u64, Agreed), Fault> {
        let cookie: &[u8; COOKIE] = cut(&mut rest)?;
        if !equal(cookie, &begun.seed.cookie()) {
            return Err(Fault::Cookie);
        }
        let last = rising(&mut rest, begun.last)?;
        let agreed = agree(&begun.passing, &begun.theirs)?;
        self.initiate = agreed
            .opened(&numbered(b"CurveZMQINITIATE", last), rest)
            .ok_or(Fault::Sealed("INITIATE"))?;
        let mut rest = self.initiate.as_slice();
        let client = PublicKey::new(*cut(&mut rest)?);
        let nonce = random(b"VOUCH---", cut(&mut rest)?);
        let vouch: &[u8; VOUCH] = cut(&mut rest)?;
        let vouched = agree(&begun.passing, &client)?
            .opened(&nonce, vouch)
            .ok_or(Fault::Sealed("vouch"))?;
        let meant = [*begun.theirs.bytes(), *self.config.ours.public().bytes()];
        if !equal(&vouched, meant.as_flattened()) {
            return Err(Fault::Vouch);
        }
        Ok((client, last, agreed))
    }
}

impl Handshake for Server {
    fn hear<'a>(
        &'a mut self,
        body: &'a [u8],
        ours: Properties<'_>,
        says: &mut Vec<u8>,
    ) -> Result<Option<Properties<'a>>, Fault> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Hello => {
                let begun = self.hello(expect(b"HELLO", body)?, says)?;
                self.state = State::Initiate(begun);
                Ok(None)
            }
            State::Initiate(begun) => {
                let (client, last, agreed) = self.initiate(expect(b"INITIATE", body)?, &begun)?;
                if !self.config.allowed.has(&client) {
                    say(b"ERROR", &[NOT_ALLOWED], says);
                    return Err(Fault::NotAllowed(client.to_string()));
                }
                let theirs = Properties::read(self.initiate.get(PROOF..).unwrap_or(&[]))?;
                let mut sealed = Vec::new();
                let nonce = numbered(b"CurveZMQREADY---", 1);
                agreed.seal_to(&nonce, &[ours.bytes()], &mut sealed);
                say(b"READY", &[&1_u64.to_be_bytes(), &sealed], says);
                let both = Both::new(&agreed, (FROM_CLIENT, last), (FROM_SERVER, 1));
                self.state = State::Open(client, both);
                Ok(Some(theirs))
            }
            State::Over | State::Open(..) => Err(Fault::Violation("the handshake is over")),
        }
    }

    fn opening(&mut self) -> Option<Opening> {
        match &mut self.state {
            State::Open(_, both) => {
                self.initiate = Zeroizing::default();
                both.opening()
            }
            _ => None,
        }
    }

    fn sealing(&mut self) -> Option<Sealing> {
        match &mut self.state {
            State::Open(_, both) => both.sealing(),
            _ => None,
        }
    }

    fn peer(&self) -> Option<String> {
        match &self.state {
            State::Open(client, _) => Some(client.to_string()),
            _ => None,
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.config.fmt(f)
    }
}
