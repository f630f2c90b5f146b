//! What peers may have of a listener and of this process.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use numpush_os as os;

/// How many connections and handshakes there may be at once: at the listeners that share it, and within the budget of the
/// process. Clones are the same budget. [`Options::budget`](crate::Options::budget) gives it to a listener.
///
/// A listener that has all its connections leaves others in the backlog of the kernel until one ends; who had begun a
/// handshake by then is refused ([`Refusal::Busy`](crate::Refusal::Busy)). Nobody loses a connection. Of too many handshakes
/// the oldest at the listener is given up; one at each listener is always allowed. With the credit of a connection
/// ([`Options::credit`](crate::Options::credit)) the number of connections bounds the memory that all peers together make this
/// process hold by what they send. What it answers to peers that do not read is bounded by the queues of a
/// [`Poller`](crate::Poller::set_queue_limit).
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
    /// The process's budget, unless this is it.
    #[cfg_attr(
        not(any(feature = "tcp", feature = "unix")),
        expect(dead_code, reason = "only tcp and unix listeners charge a budget")
    )]
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

static PROCESS: LazyLock<Budget> =
    LazyLock::new(|| Budget(Arc::new(Accounts::new(u64::MAX, 1024, None))));

impl Budget {
    /// A budget with 128 handshakes at once, and as many connections as the process may have.
    pub fn new() -> Self {
        let whole = Some(Self::process());
        Self(Arc::new(Accounts::new(u64::MAX, 128, whole)))
    }

    /// The budget of this process, which all others are part of: 1,024 handshakes, and any number of connections unless it
    /// is set. Connections that this process makes are not counted.
    pub fn process() -> Self {
        PROCESS.clone()
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

    /// Accepted connections that are there now.
    pub fn connections(&self) -> u64 {
        self.0.connections.used().load(Ordering::Relaxed)
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

/// What a budget counts.
#[cfg(any(feature = "tcp", feature = "unix"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Connection,
    Handshake,
}

/// One thing of a budget. It is given back when this is dropped.
#[cfg(any(feature = "tcp", feature = "unix"))]
#[derive(Debug)]
#[must_use]
pub(crate) struct Charge {
    budget: Budget,
    item: Item,
    forks: u32,
    /// The charge of the whole.
    _whole: Option<Box<Self>>,
}

#[cfg(any(feature = "tcp", feature = "unix"))]
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
    pub(crate) fn has_room(&self, item: Item) -> bool {
        let account = self.account(item);
        account.used().load(Ordering::Relaxed) < account.limit.load(Ordering::Relaxed)
            && self
                .0
                .whole
                .as_ref()
                .is_none_or(|whole| whole.has_room(item))
    }

    fn account(&self, item: Item) -> &Account {
        match item {
            Item::Connection => &self.0.connections,
            Item::Handshake => &self.0.handshakes,
        }
    }
}

#[cfg(any(feature = "tcp", feature = "unix"))]
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
    fn new(connections: u64, handshakes: u64, whole: Option<Budget>) -> Self {
        Self {
            connections: Account::new(connections),
            handshakes: Account::new(handshakes),
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
