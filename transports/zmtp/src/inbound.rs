//! What comes from the peer.

use std::fmt;

use crate::ahead::{AHEAD, Ahead};
use crate::command::Command;
use crate::event::Event;
use crate::fault::{Fault, over, within};
use crate::frame::{FrameHead, LONGEST_HEAD};
use crate::greeting::{GREETING_LEN, Greeting};
use crate::handshake::Handshake;
use crate::kind::SocketKind;
use crate::limits::Limits;
use crate::mechanism::Security;
use crate::properties::Properties;
use crate::ready::{check_ready, properties_of};
use crate::seal::{Opening, SEALED_LEAD, WayOut};

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
pub struct Inbound {
    ahead: Ahead,
    ours: SocketKind,
    /// Our properties, as they travel.
    properties: Vec<u8>,
    greeting: Greeting,
    handshake: Box<dyn Handshake>,
    /// What the handshake says, and is not written yet.
    says: Vec<u8>,
    limits: Limits,
    state: State,
    /// The mechanism seals: nothing comes, or goes, that is not.
    seals: bool,
    /// [`Self::way_out`] was asked for.
    is_out: bool,
    /// What opens the frames.
    opening: Option<Opening>,
    /// The body at hand is to be opened.
    is_sealed: bool,
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
    /// The handshake is done.
    Ready,
    Open,
    Failed(Fault),
}

const NOT_SEALED: &str = "a frame came that is not sealed";

/// The next thing in the bytes that wait.
enum Found {
    Greeting(Greeting),
    Frame(FrameHead),
    Sealed(u64),
    /// A whole command of so many bytes, whose head is taken.
    Command(usize),
}

impl Inbound {
    /// The direction of a connection of a socket of the kind `ours`, of which nothing has come yet.
    ///
    /// Commands of more than 16,375 bytes are refused whatever `limits` says: they are read whole.
    pub fn new(ours: SocketKind, security: &Security, limits: Limits) -> Self {
        Self::with(ours, security, limits, security.handshake())
    }

    /// The same, for a test that is to run twice alike: the random bytes of the connection are those of `seed`. Whoever knows them
    /// reads what is said.
    #[cfg(feature = "seed")]
    pub fn seeded(
        ours: SocketKind,
        security: &Security,
        limits: Limits,
        seed: crate::keys::Seed,
    ) -> Self {
        Self::with(ours, security, limits, security.seeded(seed))
    }

    fn with(
        ours: SocketKind,
        security: &Security,
        limits: Limits,
        handshake: Box<dyn Handshake>,
    ) -> Self {
        let longest = (AHEAD - LONGEST_HEAD) as u64;
        Self {
            ahead: Ahead::default(),
            ours,
            properties: properties_of(ours, b""),
            greeting: security.greeting(),
            handshake,
            says: Vec::from(security.greeting().to_bytes()),
            limits: Limits {
                handshake: limits.handshake.min(longest),
                command: limits.command.min(longest),
                ..limits
            },
            state: State::Greeting,
            seals: security.seals(),
            is_out: false,
            opening: None,
            is_sealed: false,
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

    /// How the frames of this side leave, for [`Outbound::open`](crate::Outbound::open), once: `None` before [`Event::Ready`], after
    /// a fault, and when it was taken. Until there is one nothing may go but [`Self::says`].
    pub fn way_out(&mut self) -> Option<WayOut> {
        if !matches!(self.state, State::Ready | State::Open) || self.is_out {
            return None;
        }
        self.is_out = true;
        match self.seals {
            true => self.handshake.sealing().map(WayOut::Sealed),
            false => Some(WayOut::Bare),
        }
    }

    /// Who the peer has proved to be: its name, or its key as Z85. `None` before that, and for a mechanism that does not ask.
    pub fn peer(&self) -> Option<String> {
        self.handshake.peer()
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
    /// with [`Self::pass`]. Nothing of what is sealed.
    pub fn waiting(&self) -> &[u8] {
        let is_between = matches!(self.state, State::Open) && self.frames == 0 && self.body == 0;
        if is_between && !self.seals {
            self.ahead.bytes()
        } else {
            &[]
        }
    }

    /// Takes `count` bytes of [`Self::waiting`], which are a message from its first frame's head to its end.
    pub fn pass(&mut self, count: usize) {
        self.ahead.take(count);
    }

    /// True between messages, when nothing of the next one has come.
    pub fn is_idle(&self) -> bool {
        self.frames == 0 && self.body == 0 && !self.is_sealed && self.ahead.is_empty()
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

    /// Drops what has come of the body at hand, which must not be that of [`Event::Sealed`]: what comes next would not be known.
    pub fn skip(&mut self) {
        debug_assert!(!self.is_sealed, "a sealed frame is opened, not skipped");
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

    /// Opens the `body` of a sealed frame that was taken whole, where it is. Its data are behind the first [`SEALED_LEAD`] bytes. Returns
    /// what they are.
    ///
    /// # Errors
    /// For a frame that was changed, was sealed by somebody else or comes again, and for a command. [`Self::next`] returns the
    /// fault too.
    pub fn open(&mut self, body: &mut [u8]) -> Result<FrameHead, Fault> {
        match body.split_first_chunk_mut() {
            Some((lead, sealed)) => self.open_parts(lead, sealed),
            None => Err(fail(&mut self.state, Fault::Violation(NOT_SEALED))),
        }
    }

    /// As [`Self::open`], for a body whose first 32 bytes, `lead`, lie elsewhere: the data are behind the first byte of `sealed`. They
    /// may have been read to where they stay, with a byte of somebody else before them, which the caller keeps meanwhile.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_parts(&mut self, lead: &[u8; 32], sealed: &mut [u8]) -> Result<FrameHead, Fault> {
        let opened = match &mut self.opening {
            Some(opening) if self.is_sealed && self.body == 0 => opening.open(lead, sealed),
            _ => Err(Fault::Violation("there is no sealed frame to be opened")),
        };
        let limit = self.limits.command;
        match opened.and_then(|head| match head.command {
            true => Err(over("a command", head.len, limit)),
            false => Ok(head),
        }) {
            Ok(head) => {
                self.is_sealed = false;
                if !head.more {
                    (self.frames, self.message) = (0, 0);
                }
                Ok(head)
            }
            Err(fault) => Err(fail(&mut self.state, fault)),
        }
    }

    /// Bytes that are missing until [`Self::next`] has something to say: of a command, or of a sealed frame that is read ahead. 0 if
    /// that is not known.
    pub fn wanted(&self) -> usize {
        let is_open = matches!(self.state, State::Ready | State::Open);
        if self.body > 0 || self.is_sealed || !is_open {
            return 0;
        }
        let bytes = self.ahead.bytes();
        let Ok(Some((head, taken))) = FrameHead::read(bytes) else {
            return 0;
        };
        let len = usize::try_from(head.len).unwrap_or(usize::MAX);
        let is_whole = head.command || self.seals;
        let missing = len.saturating_add(taken).saturating_sub(bytes.len());
        if is_whole { missing.min(AHEAD) } else { 0 }
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
            Ok(Some(Found::Sealed(len))) => return Ok(Some(Event::Sealed(len))),
            Ok(Some(Found::Command(len))) => len,
            Err(fault) => return Err(fail(&mut self.state, fault)),
        };
        let body = self.ahead.take(len);
        let event = match (refusal(body), &self.state) {
            (Some(fault), _) => Err(fault),
            (None, State::Open) => Command::read(body).map(|command| Some(Event::Command(command))),
            (None, _) => Properties::read(&self.properties)
                .and_then(|ours| self.handshake.hear(body, ours, &mut self.says))
                .and_then(|theirs| {
                    theirs
                        .map(|properties| {
                            Ok(Event::Ready {
                                kind: check_ready(properties, self.ours)?,
                                properties,
                            })
                        })
                        .transpose()
                }),
        };
        match event {
            Ok(Some(event)) => {
                if !matches!(self.state, State::Open) {
                    self.state = State::Ready;
                }
                Ok(Some(event))
            }
            Ok(None) => Ok(Some(Event::Handshake)),
            Err(fault) => Err(fail(&mut self.state, fault)),
        }
    }

    fn greeted(&mut self, greeting: Greeting) -> Result<Event<'_>, Fault> {
        if greeting.as_server && self.greeting.as_server {
            let fault = Fault::Violation("both sides want to be the server");
            return Err(fail(&mut self.state, fault));
        }
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
                let Some(greeting) = Greeting::read(self.ahead.bytes(), self.greeting.mechanism)?
                else {
                    return Ok(None);
                };
                self.ahead.take(GREETING_LEN);
                self.state = State::Handshake;
                return Ok(Some(Found::Greeting(greeting)));
            }
            State::Ready => {
                self.opening = self.handshake.opening();
                if self.seals && self.opening.is_none() {
                    return Err(Fault::Violation("there is no key to open its frames"));
                }
                self.state = State::Open;
            }
            State::Handshake | State::Open => {}
        }
        if self.body > 0 || self.is_sealed {
            return Ok(None);
        }
        let Some((head, taken)) = FrameHead::read(self.ahead.bytes())? else {
            return Ok(None);
        };
        if self.seals && matches!(self.state, State::Open) {
            return self.find_sealed(head.len, taken);
        }
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

    /// Finds a frame that was sealed, with a body of `len` bytes behind a head of `taken`: what the head says of it means nothing.
    fn find_sealed(&mut self, len: u64, taken: usize) -> Result<Option<Found>, Fault> {
        let data = len.checked_sub(SEALED_LEAD as u64);
        let data = data.ok_or(Fault::Violation(NOT_SEALED))?;
        if len > (AHEAD - LONGEST_HEAD) as u64 {
            // Too long for a command: another frame of the message at hand.
            self.admit(FrameHead::message(data, true))?;
            self.ahead.take(taken);
            (self.body, self.is_sealed) = (len, true);
            return Ok(Some(Found::Sealed(len)));
        }
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let body = self.ahead.part_mut(taken, len);
        let (true, Some(opening)) = (body.len() == len, &mut self.opening) else {
            return Ok(None);
        };
        let Some((lead, sealed)) = body.split_first_chunk_mut() else {
            return Err(Fault::Violation(NOT_SEALED));
        };
        let head = opening.open(lead, sealed)?;
        self.ahead.take(taken + SEALED_LEAD);
        if head.command {
            within("a command", data, self.limits.command)?;
            return Ok(Some(Found::Command(len - SEALED_LEAD)));
        }
        self.admit(head)?;
        self.body = data;
        Ok(Some(Found::Frame(head)))
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

/// Lengths only: what is said, and what has come, may have a password.
impl fmt::Debug for Inbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbound")
            .field("ours", &self.ours)
            .field("handshake", &self.handshake)
            .field("state", &self.state)
            .field("ahead", &self.ahead)
            .field("says", &self.says.len())
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
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

#[cfg(all(test, feature = "curve"))]
mod tests;
