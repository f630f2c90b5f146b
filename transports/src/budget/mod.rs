//! What peers may have of a listener and of this process.

#[cfg_attr(
    not(any(feature = "tcp", feature = "unix", test)),
    expect(dead_code, reason = "only tcp and unix connections promise bytes")
)]
mod bank;
mod bytes;
#[cfg(feature = "unix")]
mod descriptors;
#[cfg(any(feature = "tcp", feature = "unix", feature = "zmq"))]
#[cfg_attr(
    not(any(feature = "tcp", feature = "unix")),
    expect(dead_code, reason = "only tcp and unix connections promise bytes")
)]
mod held;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use numpush_os::{self as os, GlobalMutex};

#[cfg(any(feature = "tcp", feature = "unix", feature = "zmq"))]
pub(crate) use bank::LEAST;
use bytes::Bytes;
#[cfg(feature = "unix")]
pub(crate) use descriptors::{Place, Share};
#[cfg(any(feature = "tcp", feature = "unix", feature = "zmq"))]
pub(crate) use held::Claim;
#[cfg(any(feature = "tcp", feature = "unix"))]
pub(crate) use held::Promise;

/// How many connections, handshakes, bytes and descriptors peers may have at once: at the listeners and connections that share
/// it, and within the budget of the process. Clones are the same budget. [`Options::budget`](crate::Options::budget) gives it to
/// a listener, or to a connection that is made.
///
/// # Connections and handshakes
///
/// A listener that has all its connections leaves others in the backlog of the kernel until one ends; who had begun a
/// handshake by then is refused ([`Refusal::Busy`](crate::Refusal::Busy)). Nobody loses a connection. Of too many handshakes
/// the oldest at the listener is given up; one at each listener is always allowed.
///
/// # Bytes
///
/// Over tcp and unix it bounds what peers make this process hold by what they send: the credit that they have, and messages
/// that have come, or begun to, and that no call has returned. A quarter is for credit. A connection gets up to its
/// [`Options::credit`](crate::Options::credit) of it, less the more the others have, and 64 KiB always, so that messages of
/// this size move whatever happens. The rest is for messages that are larger than the credit of their peer. Such a one gets its
/// bytes as they come; if others have them it waits in the socket, first come first served, until those are received or
/// their connections end. Calls that do not wait, and futures, return
/// [`Error::NoRoom`](crate::Error::NoRoom) then, with both numbers, and others do after
/// [`Options::patience`](crate::Options::patience), those that send, flush and close too: what they wait for may stand behind
/// the message that has no room. They may be made again. A payload of more than two thirds of the budget never fits: its
/// sender gets [`Error::TooLarge`](crate::Error::TooLarge), as for a header that would not fit beside the largest payload, which
/// takes 49 times its bytes. Nobody loses a connection.
///
/// No two messages that come wait for each other's bytes. One that has come whole keeps its bytes until a call returns it,
/// and its program may be in a call that sends to the very peer whose message waits. So one message at a time in the process
/// that has waited a second, only for messages that are whole, comes over the limit.
///
/// Over ZeroMQ there is no credit: a message that takes more than 64 KiB has its bytes as they come, of the part for messages, and
/// the other peers of its socket go on while it waits. A peer that would be one too many is sent away
/// ([`Error::OverLimit`](crate::Error::OverLimit)); without a number of connections a socket has 1,000.
///
/// What this process answers to peers that do not read is bounded by the queues of a
/// [`Poller`](crate::Poller::set_queue_limit).
///
/// # Descriptors
///
/// Over unix large payloads come as memory with a descriptor, which is kept while its sender may use it again and while a message
/// lies in it. A connection tells its peer how many it keeps: a thirty-second part of what is left, from 4 to 256, and none when all are
/// taken. A peer that has used them up writes its payloads to the socket instead, which costs a copy and loses nothing. One that
/// sends more than it was offered ends its own connection. When a connection ends, only those count that messages lie in.
///
/// ```
/// # use numpush_transports as numpush;
/// use numpush::{Budget, Options};
///
/// let budget = Budget::new().max_connections(100);
/// let mut listener = Options::new().budget(budget.clone()).listen("tcp://127.0.0.1:0")?;
/// let _client = numpush::connect(&listener.address())?;
/// let server = listener.accept()?;
/// assert_eq!(budget.connections(), 1);
/// drop(server);
/// assert_eq!(budget.connections(), 0);
/// # Ok::<(), numpush::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Budget(Arc<Accounts>);

#[derive(Debug)]
struct Accounts {
    connections: Account,
    handshakes: Account,
    descriptors: Account,
    bytes: Bytes,
    /// The process's budget, unless this is it.
    whole: Option<Budget>,
}

#[derive(Debug)]
struct Account {
    used: AtomicU64,
    limit: AtomicU64,
    /// A forked child has none of what its parent has.
    forks: AtomicU32,
}

impl Account {
    fn new(limit: u64) -> Self {
        os::watch_forks();
        Self {
            used: AtomicU64::new(0),
            limit: AtomicU64::new(limit),
            forks: AtomicU32::new(os::forks()),
        }
    }

    fn used(&self) -> &AtomicU64 {
        let forks = os::forks();
        if self.forks.swap(forks, Ordering::Relaxed) != forks {
            self.used.store(0, Ordering::Relaxed);
        }
        &self.used
    }
}

/// Made when it is first asked for. A fork waits for that: a child would wait for ever for a thread that it does not have.
static PROCESS: GlobalMutex<Option<Budget>> = GlobalMutex::outer(None);

impl Budget {
    /// A budget with 128 handshakes at once, and as many connections, bytes and descriptors as the process may have.
    pub fn new() -> Self {
        let whole = Some(Self::process());
        Self(Arc::new(Accounts::new(u64::MAX, 128, whole)))
    }

    /// The budget of this process, which all others are part of: 1,024 handshakes, half of the memory of the machine or of the
    /// control group, half of the descriptors that it may have open (`RLIMIT_NOFILE`), and any number of connections, unless it
    /// is set. Connections that this process makes are not counted, but their bytes are.
    pub fn process() -> Self {
        let make = || {
            let budget = Self(Arc::new(Accounts::new(u64::MAX, 1024, None)));
            // Without /proc nobody knows how much memory there is.
            let memory = os::total_memory().unwrap_or(u64::MAX);
            budget.max_bytes(memory / 2)
        };
        PROCESS.lock().get_or_insert_with(make).clone()
    }

    /// Sets how many accepted connections there may be at once. Those that are there stay.
    #[must_use]
    pub fn max_connections(self, count: u64) -> Self {
        self.0.connections.limit.store(count, Ordering::Relaxed);
        self
    }

    /// Sets how many peers that have connected may be waited for, until they say hello. At least one.
    #[must_use]
    pub fn max_handshakes(self, count: u64) -> Self {
        let count = count.max(1);
        self.0.handshakes.limit.store(count, Ordering::Relaxed);
        self
    }

    /// Sets how many bytes peers may make this process hold. What they have already they keep. Beyond it are 64 KiB for each
    /// connection, if there are so many.
    ///
    /// ```
    /// # mod numpush { pub use numpush_message::*; pub use numpush_transports::*; }
    /// use numpush::{Budget, Buffer, Error, Message, Options};
    ///
    /// let budget = Budget::new().max_bytes(3 << 20);
    /// let mut listener = Options::new().budget(budget.clone()).listen("tcp://127.0.0.1:0")?;
    /// let mut client = numpush::connect(&listener.address())?;
    /// let mut server = listener.accept()?;
    /// client.send(&Message::new(Buffer::from(vec![7; 1 << 20])))?;
    /// assert_eq!(server.recv()?.transfer.bytes, 1 << 20);
    /// let too_large = Message::new(Buffer::from(vec![7; 3 << 20]));
    /// assert!(matches!(client.send(&too_large), Err(Error::TooLarge { limit: 2_097_152, .. })));
    /// assert!(budget.bytes() > 0);
    /// drop(server);
    /// # Ok::<(), numpush::Error>(())
    /// ```
    #[must_use]
    pub fn max_bytes(self, bytes: u64) -> Self {
        self.0.bytes.set_limit(bytes);
        self
    }

    /// Sets how many descriptors of their memory peers may make this process keep. Connections that are there keep what they
    /// have offered.
    ///
    /// ```
    /// # use numpush_transports as numpush;
    /// let budget = numpush::Budget::new().max_descriptors(100);
    /// assert_eq!(budget.status().descriptors.limit, 100);
    /// ```
    #[must_use]
    pub fn max_descriptors(self, count: u64) -> Self {
        self.0.descriptors.limit.store(count, Ordering::Relaxed);
        self
    }

    /// Bytes that peers have now: their credit, and what has come of messages that no call has returned.
    pub fn bytes(&self) -> u64 {
        self.0.bytes.used().0
    }

    /// What is in use of each thing, and its limit.
    pub fn status(&self) -> BudgetStatus {
        let of = |account: &Account| Usage {
            used: account.used().load(Ordering::Relaxed),
            limit: account.limit.load(Ordering::Relaxed),
        };
        let (used, limit) = self.0.bytes.used();
        BudgetStatus {
            connections: of(&self.0.connections),
            handshakes: of(&self.0.handshakes),
            descriptors: Usage {
                limit: self.descriptor_limit(),
                ..of(&self.0.descriptors)
            },
            bytes: Usage { used, limit },
        }
    }

    /// Accepted connections that are there now.
    pub fn connections(&self) -> u64 {
        self.0.connections.used().load(Ordering::Relaxed)
    }

    /// The most descriptors. Those of the process follow `RLIMIT_NOFILE`, which a program may change, until they are set.
    fn descriptor_limit(&self) -> u64 {
        match self.0.descriptors.limit.load(Ordering::Relaxed) {
            u64::MAX if self.0.whole.is_none() => os::descriptor_limit().unwrap_or(0) / 2,
            limit => limit,
        }
    }

    /// Handshakes that are under way now.
    pub fn handshakes(&self) -> u64 {
        self.0.handshakes.used().load(Ordering::Relaxed)
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self::new()
    }
}

/// What a [`Budget`] counts, made by [`Budget::status`].
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BudgetStatus {
    /// Accepted connections.
    pub connections: Usage,
    /// Peers whose hello is awaited.
    pub handshakes: Usage,
    /// Descriptors of peers' memory: those that connections have offered to keep, and those that messages lie in.
    pub descriptors: Usage,
    /// Bytes that peers make this process hold: their credit, and what has come of messages that no call has returned.
    pub bytes: Usage,
}

/// How much of something is in use.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// In use now.
    pub used: u64,
    /// The most that may be.
    pub limit: u64,
}

/// What a budget counts.
#[cfg(any(feature = "tcp", feature = "unix", feature = "zmq"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Connection,
    Handshake,
}

/// One thing of a budget. It is given back when this is dropped.
#[cfg(any(feature = "tcp", feature = "unix", feature = "zmq"))]
#[derive(Debug)]
#[must_use]
pub(crate) struct Charge {
    budget: Budget,
    item: Item,
    forks: u32,
    /// The charge of the whole.
    _whole: Option<Box<Self>>,
}

#[cfg(any(feature = "tcp", feature = "unix", feature = "zmq"))]
impl Budget {
    /// Takes one, here and of the whole.
    ///
    /// Fails with the limit that is reached.
    pub(crate) fn take(&self, item: Item) -> Result<Charge, u64> {
        let account = self.account(item);
        let limit = account.limit.load(Ordering::Relaxed);
        let room = |used: u64| (used < limit).then_some(used + 1);
        let (order, account) = (Ordering::Relaxed, account.used());
        account
            .fetch_update(order, order, room)
            .map_err(|_| limit)?;
        // From here on a failure gives it back.
        let mut charge = Charge {
            budget: self.clone(),
            item,
            forks: os::forks(),
            _whole: None,
        };
        if let Some(whole) = &self.0.whole {
            charge._whole = Some(Box::new(whole.take(item)?));
        }
        Ok(charge)
    }

    /// True if there is room for one more, here and in the whole.
    #[cfg(any(feature = "tcp", feature = "unix"))]
    pub(crate) fn has_room(&self, item: Item) -> bool {
        let account = self.account(item);
        account.used().load(Ordering::Relaxed) < account.limit.load(Ordering::Relaxed)
            && self
                .0
                .whole
                .as_ref()
                .is_none_or(|whole| whole.has_room(item))
    }

    /// What a connection promises its peer, at most `most` bytes.
    #[cfg(any(feature = "tcp", feature = "unix"))]
    pub(crate) fn promise(&self, most: u64) -> Promise {
        Promise::new(&self.0.bytes, most)
    }

    /// A message of `total` bytes that is within no promise.
    pub(crate) fn claim(&self, total: u64) -> Claim {
        Claim::new(&self.0.bytes, total)
    }

    /// The largest payload up to `most` that ever fits, and the longest header with it.
    #[cfg(any(feature = "tcp", feature = "unix"))]
    pub(crate) fn largest(&self, most: u64) -> (u64, u64) {
        self.0.bytes.largest(most)
    }

    fn account(&self, item: Item) -> &Account {
        match item {
            Item::Connection => &self.0.connections,
            Item::Handshake => &self.0.handshakes,
        }
    }
}

#[cfg(any(feature = "tcp", feature = "unix", feature = "zmq"))]
impl Drop for Charge {
    fn drop(&mut self) {
        if self.forks == os::forks() {
            let account = self.budget.account(self.item);
            let order = Ordering::Relaxed;
            let less = |used: u64| Some(used.saturating_sub(1));
            // Two threads of a forked child may have begun its account at once.
            let _ = account.used().fetch_update(order, order, less);
        }
    }
}

impl Accounts {
    /// Accounts with any number of bytes.
    fn new(connections: u64, handshakes: u64, whole: Option<Budget>) -> Self {
        Self {
            connections: Account::new(connections),
            handshakes: Account::new(handshakes),
            descriptors: Account::new(u64::MAX),
            bytes: Bytes::new(u64::MAX, whole.as_ref().map(|whole| &whole.0.bytes)),
            whole,
        }
    }
}

#[cfg(all(test, any(feature = "tcp", feature = "unix")))]
mod tests {
    use super::*;

    #[test]
    fn what_the_whole_lacks_is_not_charged_to_a_part() {
        let whole = Budget(Arc::new(Accounts::new(2, 8, None)));
        let part = |limit| Budget(Arc::new(Accounts::new(limit, 8, Some(whole.clone()))));
        let (one, other) = (part(1), part(9));
        let first = one.take(Item::Connection).unwrap();
        assert_eq!(one.take(Item::Connection).unwrap_err(), 1);
        let second = other.take(Item::Connection).unwrap();
        assert_eq!(other.take(Item::Connection).unwrap_err(), 2);
        assert!(!other.has_room(Item::Connection) && other.has_room(Item::Handshake));
        assert_eq!((one.connections(), other.connections()), (1, 1));
        assert_eq!(whole.connections(), 2);
        drop(first);
        assert!(other.take(Item::Connection).is_ok());
        drop(second);
        let used = [&one, &other, &whole].map(Budget::connections);
        assert_eq!(used, [0, 0, 0]);
    }
}
