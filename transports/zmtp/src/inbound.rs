//! What comes from the peer.

use crate::ahead::{AHEAD, Ahead};
use crate::command::Command;
use crate::fault::Fault;
use crate::frame::{FrameHead, LONGEST_HEAD};
use crate::greeting::{GREETING_LEN, Greeting, Mechanism};
use crate::handshake::Handshake;
use crate::kind::SocketKind;
use crate::limits::Limits;
use crate::mechanism::Security;
use crate::properties::{Properties, Property};

/// What the peer has said.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// Its first bytes. [`Inbound::says`] has what answers them.
    Greeting(Greeting),
    /// A command of the handshake, which goes on: [`Inbound::says`] has what answers it.
    Handshake,
    /// It is ready: its kind of socket fits, and messages may go both ways.
    Ready {
        /// Its kind of socket.
        kind: SocketKind,
        /// What else it says, its identity for one.
        properties: Properties<'a>,
    },
    /// A command after the handshake.
    Command(Command<'a>),
    /// A frame of a message begins. Its body is to be taken, by [`Inbound::take`] or [`Inbound::landed`], before the next event comes.
    Frame(FrameHead),
}

/// The direction in which a peer sends.
///
/// A driver reads into [`Self::spare`], reports with [`Self::filled`], and takes events out of [`Self::next`] until that returns
/// `None`. The body of a frame it copies out with [`Self::take`]; what has not come yet it may read straight to where it stays,
/// and report with [`Self::landed`]. Until the peer is ready it writes what [`Self::says`] returns, its greeting first.
///
/// ```
/// use numpush_zmtp::{Command, Event, FrameHead, Greeting, Inbound, Limits, Mechanism, Properties, Property};
/// use numpush_zmtp::{Security, SocketKind};
///
/// // What a peer sends: its greeting, its READY, and one message.
/// let mut bytes = Greeting::new(Mechanism::Null, false).to_bytes().to_vec();
/// let mut properties = Vec::new();
/// Properties::write(&mut properties, Property { name: "Socket-Type", value: b"PUSH" })?;
/// Command::Ready(Properties::read(&properties)?).write(&mut bytes);
/// FrameHead::message(5, false).write(&mut bytes);
/// bytes.extend(b"hello");
///
/// let mut inbound = Inbound::new(SocketKind::Pull, &Security::Null, Limits::default());
/// inbound.spare()[..bytes.len()].copy_from_slice(&bytes);
/// inbound.filled(bytes.len());
/// assert!(matches!(inbound.next()?, Some(Event::Greeting(_))));
/// assert!(matches!(inbound.next()?, Some(Event::Ready { kind: SocketKind::Push, .. })));
/// assert_eq!(inbound.next()?, Some(Event::Frame(FrameHead::message(5, false))));
/// let mut body = [0; 5];
/// assert_eq!(inbound.take(&mut body), 5);
/// assert_eq!(&body, b"hello");
/// assert_eq!(inbound.next()?, None);
/// # Ok::<(), numpush_zmtp::Fault>(())
/// ```
#[derive(Debug)]
pub struct Inbound {
    ahead: Ahead,
    ours: SocketKind,
    /// Our properties, as they travel.
    properties: Vec<u8>,
    mechanism: Mechanism,
    handshake: Box<dyn Handshake>,
    /// What the handshake says, and is not written yet.
    says: Vec<u8>,
    limits: Limits,
    state: State,
    /// Bytes of the body at hand that were not taken.
    body: u64,
    /// Bytes and frames of the message at hand.
    message: u64,
    frames: u32,
}

#[derive(Clone, Debug)]
enum State {
    Greeting,
    Handshake,
    Open,
    Failed(Fault),
}

/// The next thing in the bytes that wait.
enum Found {
    Greeting(Greeting),
    Frame(FrameHead),
    /// A whole command of so many bytes, whose head is taken.
    Command(usize),
}

impl Inbound {
    /// The direction of a connection of a socket of the kind `ours`, of which nothing has come yet.
    ///
    /// Commands of more than 16,375 bytes are refused whatever `limits` says: they are read whole.
    pub fn new(ours: SocketKind, security: &Security, limits: Limits) -> Self {
        let longest = (AHEAD - LONGEST_HEAD) as u64;
        Self {
            ahead: Ahead::default(),
            ours,
            properties: properties_of(ours, b""),
            mechanism: security.mechanism(),
            handshake: security.handshake(),
            says: Vec::from(security.greeting().to_bytes()),
            limits: Limits {
                handshake: limits.handshake.min(longest),
                command: limits.command.min(longest),
                ..limits
            },
            state: State::Greeting,
            body: 0,
            message: 0,
            frames: 0,
        }
    }

    /// Tells the peer what this side is called, before its greeting has come: 1 to 255 bytes, of which the first is no zero. Only
    /// a ROUTER asks, and only REQ, DEALER and ROUTER say so.
    pub fn set_identity(&mut self, identity: &[u8]) {
        self.properties = properties_of(self.ours, identity);
    }

    /// What this side has to write of the handshake: its greeting first, and more after an event or an error. Empty if there is
    /// nothing new.
    pub fn says(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.says)
    }

    /// Where the next bytes of the peer belong, if they are not read to where a body stays. Never empty after [`Self::next`]
    /// has returned `None` and the body at hand was taken.
    pub fn spare(&mut self) -> &mut [u8] {
        self.ahead.spare()
    }

    /// Reports that `count` bytes were read into [`Self::spare`].
    pub fn filled(&mut self, count: usize) {
        self.ahead.filled(count);
    }

    /// Reports that nothing was there to be read: what was taken for a burst is given back.
    pub fn found_nothing(&mut self) {
        self.ahead.shrink();
    }

    /// Bytes of the frame at hand that were not taken.
    pub fn body_left(&self) -> u64 {
        self.body
    }

    /// True if what comes next may be read to where it stays, up to [`Self::body_left`] bytes.
    pub fn lands(&self) -> bool {
        self.body > 0 && self.ahead.is_empty()
    }

    /// What has come of the messages behind the last one, while none is at hand: a reader that knows the bytes of a whole message takes them
    /// with [`Self::pass`].
    pub fn waiting(&self) -> &[u8] {
        let is_between = matches!(self.state, State::Open) && self.frames == 0 && self.body == 0;
        if is_between { self.ahead.bytes() } else { &[] }
    }

    /// Takes `count` bytes of [`Self::waiting`], which are a message from its first frame's head to its end.
    pub fn pass(&mut self, count: usize) {
        self.ahead.take(count);
    }

    /// True between messages, when nothing of the next one has come.
    pub fn is_idle(&self) -> bool {
        self.frames == 0 && self.body == 0 && self.ahead.is_empty()
    }

    /// Copies what has come of the body at hand to the front of `to`, and returns the number of bytes.
    pub fn take(&mut self, to: &mut [u8]) -> usize {
        let wanted = usize::try_from(self.body).unwrap_or(usize::MAX);
        let bytes = self.ahead.take(wanted.min(to.len()));
        if let Some(to) = to.get_mut(..bytes.len()) {
            to.copy_from_slice(bytes);
        }
        let count = bytes.len();
        self.body -= count as u64;
        count
    }

    /// Drops what has come of the body at hand.
    pub fn skip(&mut self) {
        let wanted = usize::try_from(self.body).unwrap_or(usize::MAX);
        self.body -= self.ahead.take(wanted).len() as u64;
    }

    /// Reports that `count` bytes of the body at hand were read to where they stay. Only while [`Self::lands`].
    pub fn landed(&mut self, count: u64) {
        debug_assert!(
            self.lands() && count <= self.body,
            "{count} of {}",
            self.body
        );
        self.body = self.body.saturating_sub(count);
    }

    /// What the peer has said next; `None` if more bytes are needed, or the body at hand was not taken.
    ///
    /// # Errors
    /// The fault of the peer, and the same one at each call after it.
    #[expect(clippy::should_implement_trait, reason = "an event borrows from here")]
    pub fn next(&mut self) -> Result<Option<Event<'_>>, Fault> {
        let len = match self.find() {
            Ok(None) => return Ok(None),
            Ok(Some(Found::Greeting(greeting))) => return self.greeted(greeting).map(Some),
            Ok(Some(Found::Frame(head))) => return Ok(Some(Event::Frame(head))),
            Ok(Some(Found::Command(len))) => len,
            Err(fault) => return Err(fail(&mut self.state, fault)),
        };
        let body = self.ahead.take(len);
        let event = match (refusal(body), &self.state) {
            (Some(fault), _) => Err(fault),
            (None, State::Open) => Command::read(body).map(|command| Some(Event::Command(command))),
            (None, _) => Properties::read(&self.properties)
                .and_then(|ours| self.handshake.hear(body, ours, &mut self.says))
                .and_then(|theirs| theirs.map(|theirs| ready(theirs, self.ours)).transpose()),
        };
        match event {
            Ok(Some(event)) => {
                self.state = State::Open;
                Ok(Some(event))
            }
            Ok(None) => Ok(Some(Event::Handshake)),
            Err(fault) => Err(fail(&mut self.state, fault)),
        }
    }

    fn greeted(&mut self, greeting: Greeting) -> Result<Event<'_>, Fault> {
        let ours = Properties::read(&self.properties);
        let begun = ours.and_then(|ours| self.handshake.begin(ours, &mut self.says));
        match begun {
            Ok(()) => Ok(Event::Greeting(greeting)),
            Err(fault) => Err(fail(&mut self.state, fault)),
        }
    }

    fn find(&mut self) -> Result<Option<Found>, Fault> {
        match &self.state {
            State::Failed(fault) => return Err(fault.clone()),
            State::Greeting => {
                let Some(greeting) = Greeting::read(self.ahead.bytes(), self.mechanism)? else {
                    return Ok(None);
                };
                self.ahead.take(GREETING_LEN);
                self.state = State::Handshake;
                return Ok(Some(Found::Greeting(greeting)));
            }
            State::Handshake | State::Open => {}
        }
        if self.body > 0 {
            return Ok(None);
        }
        let Some((head, taken)) = FrameHead::read(self.ahead.bytes())? else {
            return Ok(None);
        };
        if !head.command {
            self.admit(head)?;
            self.ahead.take(taken);
            self.body = head.len;
            return Ok(Some(Found::Frame(head)));
        }
        let limit = match self.state {
            State::Open => self.limits.command,
            _ => self.limits.handshake,
        };
        within("a command", head.len, limit)?;
        let len = usize::try_from(head.len).unwrap_or(usize::MAX);
        if self.ahead.bytes().len() - taken < len {
            return Ok(None);
        }
        self.ahead.take(taken);
        Ok(Some(Found::Command(len)))
    }

    /// Checks the head of a frame of a message.
    fn admit(&mut self, head: FrameHead) -> Result<(), Fault> {
        if !matches!(self.state, State::Open) {
            return Err(Fault::Violation(
                "a message came before the handshake was done",
            ));
        }
        let frames = self.frames.saturating_add(1);
        let message = self.message.saturating_add(head.len);
        within("a message", message, self.limits.message)?;
        if frames > self.limits.frames {
            return Err(Fault::OverLimit {
                what: "a message in a number of frames",
                value: frames.into(),
                limit: self.limits.frames.into(),
            });
        }
        (self.frames, self.message) = if head.more { (frames, message) } else { (0, 0) };
        Ok(())
    }
}

fn within(what: &'static str, value: u64, limit: u64) -> Result<(), Fault> {
    if value > limit {
        return Err(Fault::OverLimit { what, value, limit });
    }
    Ok(())
}

fn fail(state: &mut State, fault: Fault) -> Fault {
    *state = State::Failed(fault.clone());
    fault
}

/// The fault that a command is which says that the peer refuses to go on.
fn refusal(body: &[u8]) -> Option<Fault> {
    match Command::read(body) {
        Ok(Command::Error(reason)) => {
            Some(Fault::Refused(String::from_utf8_lossy(reason).into_owned()))
        }
        _ => None,
    }
}

/// The properties of a socket of this kind, as they travel. Only who is answered by name has one; to one that is empty the peer
/// gives a name.
fn properties_of(kind: SocketKind, identity: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut write = |name, value| {
        // Neither is too long, and both have a name.
        let _ = Properties::write(&mut bytes, Property { name, value });
    };
    write("Socket-Type", kind.name().as_bytes());
    if matches!(
        kind,
        SocketKind::Req | SocketKind::Dealer | SocketKind::Router
    ) {
        write("Identity", identity);
    }
    bytes
}

/// Checks the READY of a peer of a socket of the kind `ours`.
fn ready(properties: Properties<'_>, ours: SocketKind) -> Result<Event<'_>, Fault> {
    let Some(name) = properties.get("Socket-Type") else {
        return Err(Fault::Violation(
            "it does not say which kind of socket it is",
        ));
    };
    let kind: SocketKind = String::from_utf8_lossy(name).parse()?;
    if !ours.fits(kind) {
        return Err(Fault::Kind {
            theirs: kind.name(),
            ours: ours.name(),
        });
    }
    if properties
        .get("Identity")
        .is_some_and(|identity| identity.len() > 255)
    {
        return Err(Fault::Violation(
            "it has an identity of more than 255 bytes",
        ));
    }
    Ok(Event::Ready { kind, properties })
}
