//! How connections behave, and the parameters of endpoints that set it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

#[cfg(any(feature = "tcp", feature = "unix"))]
use numpush_message::Hello;
use numpush_message::{BufferAllocator, HeapAllocator};
use numpush_session::Acknowledge;

use crate::budget::Budget;
#[cfg(feature = "zmq")]
use crate::security::{Curve, Plain, Secured};

/// How connections and listeners behave. The defaults suit most.
///
/// An endpoint's parameters have the last word: `tcp://host:5555?max=1000` limits that connection, whatever the
/// options.
///
/// ```
/// # use numpush_transports as numpush;
/// use std::time::Duration;
///
/// let options = numpush::Options::new()
///     .max_message(4 << 30)
///     .recv_timeout(Duration::from_millis(50));
/// let mut listener = options.listen("inproc:options")?;
/// let _sender = options.connect("inproc:options")?;
/// assert!(listener.accept()?.recv().unwrap_err().is_timeout());
/// # Ok::<(), numpush::Error>(())
/// ```
#[non_exhaustive]
#[derive(Clone)]
pub struct Options {
    pub(crate) max_message: u64,
    pub(crate) window: u64,
    pub(crate) send_timeout: Option<Duration>,
    pub(crate) recv_timeout: Option<Duration>,
    pub(crate) connect_timeout: Duration,
    pub(crate) checksums: Switch,
    pub(crate) sendfile: Switch,
    pub(crate) allowed_users: Vec<u32>,
    pub(crate) segment_budget: u64,
    pub(crate) acknowledge: Acknowledge,
    pub(crate) sync: bool,
    pub(crate) credit: u64,
    pub(crate) patience: Duration,
    pub(crate) spin: Duration,
    pub(crate) budget: Budget,
    #[cfg(feature = "zmq")]
    pub(crate) secured: Secured,
    #[cfg(feature = "zmq")]
    pub(crate) heartbeat: Option<Duration>,
    #[cfg(feature = "zmq")]
    pub(crate) linger: Option<Duration>,
    allocator: Option<MakeAllocator>,
}

type MakeAllocator = Arc<dyn Fn() -> Box<dyn BufferAllocator> + Send + Sync>;

impl Options {
    /// The defaults.
    pub fn new() -> Self {
        Self {
            max_message: 1 << 30,
            window: 256 << 20,
            send_timeout: None,
            recv_timeout: None,
            connect_timeout: Duration::from_secs(5),
            checksums: Switch::Auto,
            sendfile: Switch::Auto,
            allowed_users: Vec::new(),
            segment_budget: 1 << 30,
            acknowledge: Acknowledge::OnReturn,
            sync: false,
            credit: 256 << 20,
            patience: Duration::from_secs(30),
            spin: Duration::ZERO,
            budget: Budget::new(),
            #[cfg(feature = "zmq")]
            secured: Secured::default(),
            #[cfg(feature = "zmq")]
            heartbeat: None,
            #[cfg(feature = "zmq")]
            linger: Some(Duration::from_secs(2)),
            allocator: None,
        }
    }

    /// Largest payload of one message, sent or received, in bytes. Default: 1 GiB.
    #[must_use]
    pub fn max_message(self, bytes: u64) -> Self {
        Self {
            max_message: bytes,
            ..self
        }
    }

    /// Payload bytes that may be on their way to the peer before `send` waits; one message may always go. Default:
    /// 256 MiB. The kernel's own buffers may be smaller: over tcp a sender waits after some MiB that nobody receives.
    #[must_use]
    pub fn window(self, bytes: u64) -> Self {
        Self {
            window: bytes,
            ..self
        }
    }

    /// Longest wait for the peer in `send`, `flush` and `close`. Default: `None`, forever. Zero does not wait at all.
    #[must_use]
    pub fn send_timeout(self, timeout: impl Into<Option<Duration>>) -> Self {
        Self {
            send_timeout: timeout.into(),
            ..self
        }
    }

    /// Longest wait for a message in `recv`. Default: `None`, forever. Zero polls: a message that is there is
    /// returned, and else the timeout at once.
    #[must_use]
    pub fn recv_timeout(self, timeout: impl Into<Option<Duration>>) -> Self {
        Self {
            recv_timeout: timeout.into(),
            ..self
        }
    }

    /// How long `connect` keeps trying while nobody listens, the look-up of a host's name included, which has a tenth of a second
    /// at the least. Default: 5 s.
    #[must_use]
    pub fn connect_timeout(self, timeout: Duration) -> Self {
        Self {
            connect_timeout: timeout,
            ..self
        }
    }

    /// Whether payloads carry checksums. Default: [`Switch::Auto`], on between machines and in a file of one message.
    /// A socket carries them too if the peer asks for them.
    #[must_use]
    pub fn checksums(self, checksums: Switch) -> Self {
        Self { checksums, ..self }
    }

    /// Whether tcp sends memory with a descriptor by sendfile(2). Default: [`Switch::Auto`], on between machines and for
    /// memory that is a file. Between processes of one machine a write is faster: `docs/design/0001-paths.md` has the
    /// measurement.
    #[must_use]
    pub fn sendfile(self, sendfile: Switch) -> Self {
        Self { sendfile, ..self }
    }

    /// Users that may connect to a unix socket besides our own. Default: none.
    #[must_use]
    pub fn allowed_users(self, uids: impl IntoIterator<Item = u32>) -> Self {
        Self {
            allowed_users: uids.into_iter().collect(),
            ..self
        }
    }

    /// Bytes of segments that a unix connection may keep for plain memory on its way. Default: 1 GiB. The memory that the
    /// receivers of a [`Group`](crate::Group) share has at most as many, beside.
    #[must_use]
    pub fn segment_budget(self, bytes: u64) -> Self {
        Self {
            segment_budget: bytes,
            ..self
        }
    }

    /// When a received message is acknowledged, over inproc, tcp and unix and through a folder. Default: when recv returns it. Through a
    /// folder a message that is not acknowledged stays, for the next listener if its sender has gone.
    #[must_use]
    pub fn acknowledge(self, acknowledge: Acknowledge) -> Self {
        Self {
            acknowledge,
            ..self
        }
    }

    /// Whether files and their names are on the disk when a call returns, so that a power cut takes nothing back. Default:
    /// no. The process may end at any time all the same.
    #[must_use]
    pub fn sync(self, sync: bool) -> Self {
        Self { sync, ..self }
    }

    /// Bytes of records that the peer may send before this side receives them, over inproc, tcp and unix; one message may
    /// always come. Default: 256 MiB. It bounds what a peer can make this side hold while it does something else than `recv`.
    /// Over tcp and unix a peer has less at first, and while many have much: see [`Budget`].
    #[must_use]
    pub fn credit(self, bytes: u64) -> Self {
        Self {
            credit: bytes,
            ..self
        }
    }

    /// Longest silence of the peer in the middle of a message, over tcp and unix. Default: 30 s. Only time counts that this
    /// side spends waiting for it. A payload may also take no longer than this and a second for each 64 KiB. Over tcp it is
    /// also how long the peer's kernel may leave unanswered what was sent, before a call that waits reports the peer as gone;
    /// and, over tcp and unix, how long a call waits if there is no room for what comes, before it reports
    /// [`Error::NoRoom`](crate::Error::NoRoom). Over ZeroMQ it is how long a peer may be silent in the middle of a message, and how long
    /// `recv` waits for room that other messages have.
    #[must_use]
    pub fn patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// How long a call over tcp or unix looks at the socket again and again before it sleeps until something happens; a second
    /// at most. Default: zero. To wake a sleeping thread on another processor takes 10 to 20 us, more than the rest of a small
    /// message. The price is a processor that is busy all this time, from the first wait of a call on, and of each message or
    /// batch that is sent: it pays where the peer answers within the time, on a processor of its own. On a machine with one processor it has no effect: the peer could not run meanwhile. A
    /// poller and calls that do not wait never spin.
    ///
    /// ```
    /// # use numpush_transports as numpush;
    /// use std::time::Duration;
    ///
    /// let options = numpush::Options::new().spin(Duration::from_micros(50));
    /// let listener = options.listen("tcp://127.0.0.1:0")?;
    /// // The same for one side, by its endpoint.
    /// let _client = numpush::connect(&format!("{}?spin=50us", listener.address()))?;
    /// # Ok::<(), numpush::Error>(())
    /// ```
    #[must_use]
    pub fn spin(self, time: Duration) -> Self {
        Self { spin: time, ..self }
    }

    /// How many connections and handshakes a tcp, unix or ZeroMQ listener may have at once, and how many bytes peers may make this
    /// side hold. Listeners and connections with clones of these options share it. Default: [`Budget::new`].
    #[must_use]
    pub fn budget(self, budget: Budget) -> Self {
        Self { budget, ..self }
    }

    /// Where received payloads lie: every connection allocates from a clone of `allocator`. Default: a
    /// [`HeapAllocator`] for each connection.
    #[must_use]
    pub fn allocator<A>(self, allocator: A) -> Self
    where
        A: BufferAllocator + Clone + Sync + 'static,
    {
        Self {
            allocator: Some(Arc::new(move || Box::new(allocator.clone()))),
            ..self
        }
    }

    /// Keys that secure connections over ZeroMQ. Default: none, and no peer is asked who it is. See [`Curve`]. With these options there is no
    /// connection over tcp, which they would not secure.
    #[cfg(feature = "zmq")]
    #[must_use]
    pub fn curve(self, curve: Curve) -> Self {
        Self {
            secured: curve.into(),
            ..self
        }
    }

    /// Names and passwords that connections over ZeroMQ show. They do not take the place of trust: see [`Plain`].
    #[cfg(feature = "zmq")]
    #[must_use]
    pub fn plain(self, plain: Plain) -> Self {
        Self {
            secured: plain.into(),
            ..self
        }
    }

    /// How long a peer over ZeroMQ may say nothing before it is asked whether it is there. If it says nothing for as long again its
    /// connection ends, and whoever connected does so again; the peer does the same to this side. Default: `None`, nobody is
    /// asked, and a peer that stands still or has lost its network is found by tcp alone. A peer of ZMTP 3.0 cannot be asked.
    /// It has to be longer than what a receiver may do between two messages: one that takes none leaves a question unread. Both ends of
    /// numpush say that they are there meanwhile.
    #[cfg(feature = "zmq")]
    #[must_use]
    pub fn heartbeat(self, time: impl Into<Option<Duration>>) -> Self {
        Self {
            heartbeat: time.into(),
            ..self
        }
    }

    /// How long the drop of a connection over ZeroMQ waits until what was sent is with the peers. Default: 2 s. Zero does not wait, and
    /// `None` waits forever. `close` waits for the send timeout instead, and says what was lost.
    #[cfg(feature = "zmq")]
    #[must_use]
    pub fn linger(self, time: impl Into<Option<Duration>>) -> Self {
        Self {
            linger: time.into(),
            ..self
        }
    }

    /// What a connection with these options tells its peer first.
    #[cfg(any(feature = "tcp", feature = "unix"))]
    pub(crate) fn hello(&self, checksums: bool) -> Hello {
        // What never fits is not begun.
        let (max, header) = self.budget.largest(self.max_message);
        let mut hello = Hello::new(max);
        let header = u32::try_from(header).unwrap_or(u32::MAX);
        hello.header = hello.header.min(header);
        hello.checksums = checksums;
        hello.credit = self.credit;
        hello
    }

    /// The allocator of one more connection.
    pub(crate) fn make_allocator(&self) -> Box<dyn BufferAllocator> {
        match &self.allocator {
            Some(make) => make(),
            None => Box::new(HeapAllocator::new()),
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("max_message", &self.max_message)
            .field("window", &self.window)
            .field("send_timeout", &self.send_timeout)
            .field("recv_timeout", &self.recv_timeout)
            .field("connect_timeout", &self.connect_timeout)
            .field("checksums", &self.checksums)
            .field("sendfile", &self.sendfile)
            .field("allowed_users", &self.allowed_users)
            .field("segment_budget", &self.segment_budget)
            .field("acknowledge", &self.acknowledge)
            .field("sync", &self.sync)
            .field("credit", &self.credit)
            .field("patience", &self.patience)
            .field("spin", &self.spin)
            .field("budget", &self.budget)
            .finish_non_exhaustive()
    }
}

/// A setting that is on, off, or as the connection finds best.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Switch {
    /// As the connection finds best: the option says when that is on.
    #[default]
    Auto,
    /// On.
    On,
    /// Off.
    Off,
}

#[cfg(any(feature = "tcp", feature = "unix", feature = "file"))]
impl Switch {
    /// The values that [`Self::parse`] takes, as a help text shows them.
    pub(crate) const VALUES: &str = "on|off|auto";

    pub(crate) fn parse(value: &str) -> Option<Self> {
        match value {
            "on" => Some(Self::On),
            "off" => Some(Self::Off),
            "auto" => Some(Self::Auto),
            _ => None,
        }
    }

    /// The setting, which is `auto` unless somebody has set it.
    pub(crate) fn or(self, auto: bool) -> bool {
        match self {
            Self::Auto => auto,
            Self::On => true,
            Self::Off => false,
        }
    }
}

/// A parameter that an endpoint may have after its `?`.
#[non_exhaustive]
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// The values it can have, as a help text shows them.
    pub values: &'static str,
    /// What it sets, and its default.
    pub meaning: &'static str,
    /// Sets it; `None` if the value is none of [`Self::values`].
    pub(crate) parse: fn(&str, &mut Options) -> Option<()>,
}

impl Parameter {
    pub(crate) const MAX: Self = Self {
        name: "max",
        values: "BYTES",
        meaning: "largest payload of a message (1 GiB)",
        parse: |value, options| {
            options.max_message = value.parse().ok()?;
            Some(())
        },
    };

    #[cfg(any(feature = "tcp", feature = "unix", feature = "file"))]
    pub(crate) const CHECKSUMS: Self = Self {
        name: "checksums",
        values: Switch::VALUES,
        meaning: "CRC-32C over payloads (auto: between machines, and in a file)",
        parse: |value, options| {
            options.checksums = Switch::parse(value)?;
            Some(())
        },
    };

    #[cfg(any(feature = "tcp", feature = "unix"))]
    pub(crate) const SPIN: Self = Self {
        name: "spin",
        values: "TIME",
        meaning: "look so long, as 20us or 1ms, before a wait sleeps (0us)",
        parse: |value, options| {
            let digits = value.find(|byte: char| !byte.is_ascii_digit())?;
            let (number, unit) = value.split_at(digits);
            let number = number.parse().ok()?;
            options.spin = match unit {
                "us" => Duration::from_micros(number),
                "ms" => Duration::from_millis(number),
                "s" => Duration::from_secs(number),
                _ => return None,
            };
            Some(())
        },
    };

    #[cfg(feature = "file")]
    pub(crate) const SYNC: Self = Self {
        name: "sync",
        values: "on|off",
        meaning: "put files and their names on the disk before a call returns (off)",
        parse: |value, options| {
            options.sync = match value {
                "on" => true,
                "off" => false,
                _ => return None,
            };
            Some(())
        },
    };
}
