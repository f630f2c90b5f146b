//! The side that knows the key of its server.

use std::fmt;

use zeroize::Zeroizing;

use crate::cipher::{Agreed, KEY};
use crate::fault::Fault;
use crate::handshake::Handshake;
use crate::keys::{PublicKey, SecretKey, Seed};
use crate::mechanism::step::{expect, say};
use crate::properties::Properties;
use crate::seal::{Opening, Sealing};

use super::traffic::{Both, FROM_CLIENT, FROM_SERVER};
use super::{COOKIE, agree, cut, numbered, random, rising, seed};

/// A key, and the key of the server.
#[derive(Clone, Debug)]
pub struct CurveClient {
    ours: SecretKey,
    server: PublicKey,
}

impl CurveClient {
    /// A client with the key `ours` of the server with the key `server`.
    pub fn new(ours: SecretKey, server: PublicKey) -> Self {
        Self { ours, server }
    }
}

/// The side that knows the key of its server, and shows its own.
pub(crate) struct Client {
    config: CurveClient,
    /// What a test gave; else there is a new one.
    seed: Option<Seed>,
    state: State,
    /// What the peer says of itself.
    theirs: Zeroizing<Vec<u8>>,
}

enum State {
    Idle,
    /// Waits for WELCOME.
    Welcome(Begun),
    /// Waits for READY, with what c' and S' agree on.
    Ready(Agreed),
    Open(Both),
}

/// A connection with a HELLO.
struct Begun {
    seed: Seed,
    /// c'.
    passing: SecretKey,
    /// What c' and S agree on.
    agreed: Agreed,
}

impl Client {
    pub(crate) fn new(config: CurveClient, seed: Option<Seed>) -> Self {
        Self {
            config,
            seed,
            state: State::Idle,
            theirs: Zeroizing::default(),
        }
    }

    /// Reads WELCOME, answers INITIATE, and returns what seals from now on.
    fn welcome(
        &self,
        mut rest: &[u8],
        begun: &Begun,
        ours: Properties<'_>,
        says: &mut Vec<u8>,
    ) -> Result<Agreed, Fault> {
        let nonce = random(b"WELCOME-", cut(&mut rest)?);
        let opened = begun
            .agreed
            .opened(&nonce, rest)
            .ok_or(Fault::Sealed("WELCOME"))?;
        let mut rest = opened.as_slice();
        let theirs = PublicKey::new(*cut::<KEY>(&mut rest)?);
        let cookie: &[u8; COOKIE] = cut(&mut rest)?;

        let (key, passing, once) = (&self.config.ours, &begun.passing, begun.seed.once());
        let mut vouch = Vec::new();
        agree(key, &theirs)?.seal_to(
            &random(b"VOUCH---", &once),
            &[passing.public().bytes(), self.config.server.bytes()],
            &mut vouch,
        );
        let mut sealed = Vec::new();
        let agreed = agree(passing, &theirs)?;
        agreed.seal_to(
            &numbered(b"CurveZMQINITIATE", 2),
            &[key.public().bytes(), &once, &vouch, ours.bytes()],
            &mut sealed,
        );
        say(b"INITIATE", &[cookie, &2_u64.to_be_bytes(), &sealed], says);
        Ok(agreed)
    }

    /// Reads READY.
    fn ready(&mut self, mut rest: &[u8], agreed: Agreed) -> Result<Both, Fault> {
        let number = rising(&mut rest, 0)?;
        self.theirs = agreed
            .opened(&numbered(b"CurveZMQREADY---", number), rest)
            .ok_or(Fault::Sealed("READY"))?;
        Ok(Both::new(&agreed, (FROM_SERVER, number), (FROM_CLIENT, 2)))
    }
}

impl Handshake for Client {
    fn begin(&mut self, _: Properties<'_>, says: &mut Vec<u8>) -> Result<(), Fault> {
        let seed = seed(&mut self.seed)?;
        let passing = seed.key();
        let agreed = agree(&passing, &self.config.server)?;
        let mut sealed = Vec::new();
        agreed.seal_to(&numbered(b"CurveZMQHELLO---", 1), &[&[0; 64]], &mut sealed);
        let (version, padding, number) = ([1, 0], [0; 72], 1_u64.to_be_bytes());
        let key = passing.public();
        let parts: [&[u8]; 5] = [&version, &padding, key.bytes(), &number, &sealed];
        say(b"HELLO", &parts, says);
        self.state = State::Welcome(Begun {
            seed,
            passing,
            agreed,
        });
        Ok(())
    }

    fn hear<'a>(
        &'a mut self,
        body: &'a [u8],
        ours: Properties<'_>,
        says: &mut Vec<u8>,
    ) -> Result<Option<Properties<'a>>, Fault> {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Welcome(begun) => {
                let rest = expect(b"WELCOME", body)?;
                self.state = State::Ready(self.welcome(rest, &begun, ours, says)?);
                Ok(None)
            }
            State::Ready(agreed) => {
                let both = self.ready(expect(b"READY", body)?, agreed)?;
                let theirs = Properties::read(&self.theirs)?;
                self.state = State::Open(both);
                Ok(Some(theirs))
            }
            State::Idle | State::Open(_) => Err(Fault::Violation("the handshake is over")),
        }
    }

    fn opening(&mut self) -> Option<Opening> {
        match &mut self.state {
            State::Open(both) => {
                self.theirs = Zeroizing::default();
                both.opening()
            }
            _ => None,
        }
    }

    fn sealing(&mut self) -> Option<Sealing> {
        match &mut self.state {
            State::Open(both) => both.sealing(),
            _ => None,
        }
    }

    fn peer(&self) -> Option<String> {
        matches!(self.state, State::Open(_)).then(|| self.config.server.to_string())
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.config.fmt(f)
    }
}
