//! Many connections in one thread.

mod accept;
mod event;
mod fan;
mod member;
mod place;
mod serve;
mod slots;
mod timers;
mod waker;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use numpush_message::{Message, Prepared};
use numpush_os as os;
use numpush_session::Tag;

use crate::connection::Connection;
use crate::deadline::Deadline;
use crate::error::{Error, Operation};
use crate::origin::Origin;
use member::{Found, Member};
use place::Place;
use slots::Slots;
use timers::Timers;

pub use event::{Event, Removed, Sent};
pub use serve::Request;
pub use slots::Key;
pub use waker::Waker;

/// Connections that one thread drives: it waits for all of them at once, and none of them makes it wait.
///
/// It is for connections that have a descriptor: those of tcp, unix and inproc. What a call costs does not depend on how many connections
/// there are, as long as they are idle. Connections that have something to say are served in turn, a message each, so that
/// one that floods does not starve the others. The poller writes what sockets did not take at once, acknowledges, and gives
/// up peers that stall in the middle of a message: all of this in [`Self::wait`], so call it often.
///
/// A message is done with, as [`Acknowledge::OnNextCall`](crate::Acknowledge::OnNextCall) means it, when `wait` is called
/// again. A connection that has ended leaves the poller, and nothing that a peer does ends `wait` for the others.
///
/// It rests on epoll(7), by the crate `numpush-os`. The crate `polling` would be portable, which the rest of this library is
/// not; and it reports each descriptor once and then wants to be asked again, a system call more for each message.
///
/// ```
/// # mod numpush { pub use numpush_message::*; pub use numpush_transports::*; }
/// use numpush::{Buffer, Event, Message, Poller};
///
/// let mut listener = numpush::listen("tcp://127.0.0.1:0")?;
/// let mut poller = Poller::new()?;
/// let mut clients = Vec::new();
/// for _ in 0..3 {
///     clients.push(numpush::connect(&listener.address())?);
///     poller.add(listener.accept()?)?;
/// }
/// for client in &mut clients {
///     client.send(&Message::new(Buffer::copy_of(b"there and back")))?;
/// }
/// for _ in 0..3 {
///     if let Some(Event::Message { key, received }) = poller.wait(None)? {
///         poller.send_tagged(key, &received.message, received.reply_tag())?;
///     }
/// }
/// for client in &mut clients {
///     assert_eq!(client.recv()?.message.as_bytes().unwrap()[..], *b"there and back");
/// }
/// # Ok::<(), numpush::Error>(())
/// ```
pub struct Poller {
    events: Arc<os::Events>,
    members: Slots<Member>,
    listeners: Slots<Place>,
    /// Connections to look at, in turn.
    listed: VecDeque<Key>,
    timers: Timers,
    /// What happened and was not returned.
    happened: VecDeque<Event>,
    ready: Vec<os::Event>,
    /// Looks since the kernel was asked.
    looks: u32,
    queue_limit: u64,
    /// Time that the program has spent outside of waits, and when the last wait ended.
    outside: Duration,
    left: Instant,
    /// No more messages are received.
    is_ending: bool,
    /// A forked child shares the kernel's list with its parent.
    origin: Origin,
}

/// After so many looks the kernel is asked who else is ready.
const LOOKS: u32 = 64;

/// A wait whose time is over goes on for so long if there are connections to look at.
const GRACE: Duration = Duration::from_millis(20);

/// What the errors of the poller itself name.
const NAME: &str = "a poller";

/// How long all connections together wait for their peers when the poller is dropped.
const LINGER: Duration = Duration::from_secs(2);

impl Poller {
    /// A poller without connections.
    ///
    /// # Errors
    /// [`Error::Io`] if descriptors are short.
    pub fn new() -> Result<Self, Error> {
        let events = os::Events::new().map_err(Error::io(Operation::SetUp, NAME))?;
        Ok(Self {
            events: Arc::new(events),
            members: Slots::new(0),
            listeners: Slots::new(1 << 31),
            listed: VecDeque::new(),
            timers: Timers::default(),
            happened: VecDeque::new(),
            ready: Vec::new(),
            looks: 0,
            queue_limit: 64 << 20,
            outside: Duration::ZERO,
            left: Instant::now(),
            is_ending: false,
            origin: Origin::here(),
        })
    }

    /// Bytes of messages that may wait for each connection, beside one that has begun; one message may always wait. Default:
    /// 64 MiB.
    pub fn set_queue_limit(&mut self, bytes: u64) {
        self.queue_limit = bytes;
    }

    /// Adds a connection.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if its transport has nothing to wait for together with others; [`Error::Io`] if the kernel
    /// watches no more descriptors. The connection is dropped then.
    pub fn add(&mut self, connection: Connection) -> Result<Key, Error> {
        self.origin.check(NAME)?;
        let member = Member::new(connection, self.outside)?;
        let key = self.members.insert(member);
        if let Err(error) = self.watch(key) {
            self.members.remove(key);
            return Err(error);
        }
        // Something may have come before it was added.
        self.list(key);
        self.set_timer(key);
        Ok(key)
    }

    /// Takes a connection out, with the messages that have not begun. `None` if the key is void, as every key is
    /// in a forked child.
    pub fn remove(&mut self, key: Key) -> Option<Removed> {
        self.origin.check(NAME).ok()?;
        let (connection, unsent) = self.take(key)?.take_apart();
        Some(Removed { connection, unsent })
    }

    /// The connection of a key, for calls of its own; `None` if the key is void. A message that such a call receives is no
    /// event, and one that it sends overtakes those in the queue.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut Connection> {
        self.members.get(key)?;
        self.list(key);
        self.members.get_mut(key).map(Member::hand_back)
    }

    /// Connections in the poller.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// True if no connection is in the poller.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sends a message without a wait: it begins now, or is queued. A queue costs memory for borrowed buffers, which are
    /// copied, and holds shared ones.
    ///
    /// # Errors
    /// [`Error::QueueFull`], and nothing has changed; [`Error::UnknownKey`]; else as
    /// [`Connection::try_send`], but for a timeout. After an error that is not recoverable the connection ends, and
    /// [`Event::Ended`] follows; not so after [`Error::Closed`], which says that this side has closed its direction.
    pub fn send(&mut self, key: Key, message: &Message<'_>) -> Result<Sent, Error> {
        self.send_tagged(key, message, Tag::default())
    }

    /// As [`Self::send`], on a channel or as an answer.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn send_tagged(
        &mut self,
        key: Key,
        message: &Message<'_>,
        tag: Tag,
    ) -> Result<Sent, Error> {
        self.send_as(key, message, None, tag)
    }

    /// Sends a message, of which `prepared` says how, if that is known.
    fn send_as(
        &mut self,
        key: Key,
        message: &Message<'_>,
        prepared: Option<&Prepared<'_>>,
        tag: Tag,
    ) -> Result<Sent, Error> {
        self.origin.check(NAME)?;
        let limit = self.queue_limit;
        let outside = self.outside + self.left.elapsed();
        let member = self.members.get_mut(key).ok_or_else(|| unknown(key))?;
        member.excuse(outside);
        // What waits goes first.
        send_queued(key, member, &mut self.happened);
        let sent = member.send(message, prepared, tag, limit);
        // The call may have read, and what it read is not to be waited for; what it waited for may have gone meanwhile, by
        // another thread.
        let is_blocked = member.has_queued() && !member.wants().is_some_and(|wants| wants.write);
        if member.has_message() || member.failure.is_some() || is_blocked {
            self.list(key);
        }
        match self.watch(key) {
            Ok(()) => self.set_timer(key),
            Err(error) => self.end(key, Some(error)),
        }
        sent
    }

    /// Messages that have not begun, and what they count in bytes; zeros if the key is void.
    pub fn queued(&self, key: Key) -> (usize, u64) {
        self.members.get(key).map_or((0, 0), Member::queued)
    }

    /// The next thing that happens; `None` if nothing does within `timeout`. Zero polls, and `None` waits for ever.
    ///
    /// # Errors
    /// [`Error::Io`] if the kernel cannot wait; [`Error::Forked`]. What happens at one connection is an event, never an error of this call.
    pub fn wait(&mut self, timeout: impl Into<Option<Duration>>) -> Result<Option<Event>, Error> {
        self.origin.check(NAME)?;
        self.outside += self.left.elapsed();
        let event = self.next_event(Deadline::after(timeout));
        self.left = Instant::now();
        event
    }

    /// Messages to a peer that it has not acknowledged, those included that have not begun; zero if the key is void.
    pub fn unacknowledged(&self, key: Key) -> usize {
        self.members.get(key).map_or(0, Member::unacknowledged)
    }

    /// The keys of all connections.
    pub fn connections(&self) -> Vec<Key> {
        self.members.iter().map(|(key, _)| key).collect()
    }

    /// True if any connection has messages that have not begun.
    pub(crate) fn has_queued(&self) -> bool {
        self.members.iter().any(|(_, member)| member.has_queued())
    }

    /// From now on messages are left where they are, so that nobody believes that they were received.
    pub(crate) fn stop_receiving(&mut self) {
        self.is_ending = true;
    }

    /// What ends a wait from another thread.
    pub fn waker(&self) -> Waker {
        Waker::new(&self.events)
    }

    fn next_event(&mut self, deadline: Deadline) -> Result<Option<Event>, Error> {
        loop {
            if let Some(event) = self.happened.pop_front() {
                return Ok(Some(event));
            }
            if self.listed.is_empty() || self.looks >= LOOKS {
                let was_late = deadline.has_passed();
                self.collect(deadline)?;
                // Peers that never stop, and send no message, hide no deadline.
                let is_over = self.listed.is_empty() || deadline.passed_by(GRACE);
                if was_late && is_over && self.happened.is_empty() {
                    return Ok(None);
                }
                continue;
            }
            if let Some(key) = self.listed.pop_front() {
                self.look(key);
            }
        }
    }

    /// Asks the kernel who is ready, and the clock whose time is over. It waits only if nobody is to be looked at.
    fn collect(&mut self, deadline: Deadline) -> Result<(), Error> {
        self.looks = 0;
        let timeout = if self.listed.is_empty() {
            let until = deadline.or_sooner(self.timers.next());
            until.map(|until| until.saturating_duration_since(Instant::now()))
        } else {
            Some(Duration::ZERO)
        };
        let mut ready = std::mem::take(&mut self.ready);
        ready.clear();
        let waited = self.events.wait_into(&mut ready, timeout);
        for event in &ready {
            self.list(Key::of(event.token));
        }
        self.ready = ready;
        if waited.map_err(Error::io(Operation::Wait, NAME))? {
            self.happened.push_back(Event::Woken);
        }
        let now = Instant::now();
        while let Some((at, key)) = self.timers.pop(now) {
            let Some(member) = self.members.get_mut(key).filter(|one| one.due == Some(at)) else {
                continue;
            };
            member.due = None;
            if member.next_due().is_none_or(|due| due > now) {
                self.set_timer(key);
            } else {
                member.retry = None;
                self.list(key);
            }
        }
        Ok(())
    }

    /// Looks at a connection, and notes what has happened there.
    fn look(&mut self, key: Key) {
        self.looks += 1;
        if self.listeners.get(key).is_some() {
            return self.accept(key);
        }
        let outside = self.outside;
        let Some(member) = self.members.get_mut(key) else {
            return;
        };
        member.is_listed = false;
        let found = match self.is_ending {
            true => member.look_aside(outside),
            false => member.look(outside),
        };
        match found {
            Found::Message(received) => {
                self.happened.push_back(Event::Message { key, received });
                // There may be more, which the others need not wait for.
                self.list(key);
            }
            Found::Nothing => {}
            Found::NoRoom(error) => {
                if !std::mem::replace(&mut member.is_waiting, true) {
                    self.happened.push_back(Event::Waiting { key, error });
                }
            }
            Found::Closed => self.happened.push_back(Event::Closed { key }),
            Found::Ended(error) => return self.end(key, error),
        }
        self.go_on(key);
    }

    /// After a look: sends what waits, and watches for what is needed next.
    fn go_on(&mut self, key: Key) {
        let Some(member) = self.members.get_mut(key) else {
            return;
        };
        send_queued(key, member, &mut self.happened);
        if self.is_ending && !member.has_queued() {
            // What it says now is for nobody.
            return unwatch(&self.events, member);
        }
        let has_failed = member.failure.is_some() && member.retry.is_none();
        if !self.is_ending && member.has_message() || has_failed {
            self.list(key);
        }
        if let Err(error) = self.watch(key) {
            return self.end(key, Some(error));
        }
        self.set_timer(key);
    }

    /// Puts a connection or a listener on the list of those to look at.
    fn list(&mut self, key: Key) {
        let member = self.members.get_mut(key).map(|one| &mut one.is_listed);
        let place = self.listeners.get_mut(key).map(|one| &mut one.is_listed);
        if let Some(is_listed) = member.or(place)
            && !std::mem::replace(is_listed, true)
        {
            self.listed.push_back(key);
        }
    }

    /// Lets the kernel watch a connection for what it needs now.
    fn watch(&mut self, key: Key) -> Result<(), Error> {
        let Some(member) = self.members.get_mut(key) else {
            return Ok(());
        };
        let wants = member.wants();
        if wants == member.watched {
            return Ok(());
        }
        let Some(socket) = member.connection.descriptor() else {
            return Ok(());
        };
        let done = match (member.watched, wants) {
            (None, Some(wants)) => self.events.add(socket, key.token(), wants),
            (Some(_), Some(wants)) => self.events.change(socket, key.token(), wants),
            (_, None) => self.events.remove(socket),
        };
        done.map_err(Error::io(Operation::Wait, member.connection.peer()))?;
        member.watched = wants;
        Ok(())
    }

    fn set_timer(&mut self, key: Key) {
        if let Some(member) = self.members.get_mut(key)
            && let Some(due) = member.next_due()
            && member.due.is_none_or(|set| due < set)
        {
            member.due = Some(due);
            let members = &self.members;
            let counts = |at, key| members.get(key).is_some_and(|one| one.due == Some(at));
            self.timers.push(due, key, counts);
        }
    }

    fn take(&mut self, key: Key) -> Option<Member> {
        let mut member = self.members.remove(key)?;
        unwatch(&self.events, &mut member);
        Some(member)
    }

    fn end(&mut self, key: Key, error: Option<Error>) {
        let Some(member) = self.take(key) else {
            return;
        };
        // The peer takes nothing more, so nothing is waited for.
        member.linger(Duration::ZERO);
        self.happened.push_back(Event::Ended {
            key,
            error,
            unacknowledged: member.unacknowledged(),
        });
    }
}

impl Drop for Poller {
    /// Leaves every connection in good order. All of them together wait two seconds at most, as one does that is dropped.
    fn drop(&mut self) {
        let until = Instant::now() + LINGER;
        let mut members: Vec<Member> = self.members.drain().collect();
        // Those for which the time may be over come last: they must not cost the others theirs. In a forked child a thread that
        // it does not have may hold what this asks.
        if self.origin.check(NAME).is_ok() {
            members.sort_by_key(|member| member.wants().is_some_and(|wants| wants.write));
        }
        for member in members {
            member.linger(until.saturating_duration_since(Instant::now()));
        }
    }
}

impl fmt::Debug for Poller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poller")
            .field("connections", &self.len())
            .finish_non_exhaustive()
    }
}

/// Sends what waits for a connection, as far as it can begin, and notes what can never go there.
fn send_queued(key: Key, member: &mut Member, happened: &mut VecDeque<Event>) {
    while let Some((message, error)) = member.send_queued() {
        happened.push_back(Event::Unsent {
            key,
            message,
            error,
        });
    }
}

/// The kernel watches the connection no more.
fn unwatch(events: &os::Events, member: &mut Member) {
    if member.watched.take().is_some()
        && let Some(socket) = member.connection.descriptor()
    {
        // It is out already if the socket is gone.
        let _ = events.remove(socket);
    }
}

fn unknown(key: Key) -> Error {
    Error::UnknownKey {
        key: key.to_string(),
    }
}
