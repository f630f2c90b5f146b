//! The calls of a connection as futures, for whichever half makes them.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use numpush_message::Message;
use numpush_os::{Ready, Watched, lock};
use numpush_session::Tag;

use crate::aio::leaving::Leaver;
use crate::aio::wait::{Socket, Timer, Woken, wait, yield_now};
use crate::batch::{Batch, BatchError};
use crate::connection::Connection;
use crate::deadline::Deadline;
use crate::error::{Error, Operation};
use crate::origin::Origin;
use crate::transfer::{Received, Transfer};
use crate::transport::{Begun, Duplex};
use crate::watch::{Watch, Watches};

/// A connection that tasks drive.
pub(super) struct Driver {
    /// None where the bells say everything.
    socket: Socket,
    duplex: Arc<dyn Duplex>,
    watches: Watches,
    peer: String,
    origin: Origin,
    calls: Mutex<Calls>,
    /// What each direction has done without a pause for others.
    done: [Mutex<u64>; 2],
    /// Of each direction, while no call of it waits.
    timers: [Mutex<Timer>; 2],
    /// Behind `duplex`, which is never the last owner then.
    leaver: Leaver,
}

/// Which of the time is the peer's: that in which a task is in a call.
struct Calls {
    count: u32,
    /// When the last one ended.
    since: Instant,
    /// Of each direction that waits: when the peer was to be found late.
    due: [Option<Instant>; 2],
    /// When the peer must have said hello.
    greeting: Instant,
}

/// A call at hand.
struct Call<'d>(&'d Driver);

/// A direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    In = 0,
    Out = 1,
}

impl Driver {
    /// Fails with [`Error::Unsupported`] if a task has nothing to wait for.
    pub(super) fn new(connection: &Connection) -> Result<Self, Error> {
        let duplex = connection.polled_by_tasks()?;
        let watches = duplex.watches().unwrap_or_default();
        let peer = connection.peer().to_owned();
        let socket = duplex.socket().map(|socket| Watched::new(socket, true));
        let socket = socket
            .transpose()
            .map_err(Error::io(Operation::SetUp, &peer))?;
        // Where the bells say everything, nothing has to be seen off.
        let leaver = Leaver::new(socket.is_some().then(|| Arc::clone(&duplex)));
        let now = Instant::now();
        Ok(Self {
            socket: Socket::new(socket),
            duplex,
            watches,
            peer,
            origin: Origin::here(),
            calls: Mutex::new(Calls {
                count: 0,
                since: now,
                due: [None; 2],
                greeting: now + GREETING,
            }),
            done: Default::default(),
            timers: Default::default(),
            leaver,
        })
    }

    pub(super) fn duplex(&self) -> &dyn Duplex {
        &*self.duplex
    }

    pub(super) fn peer(&self) -> &str {
        &self.peer
    }

    pub(super) fn check_origin(&self) -> Result<(), Error> {
        self.origin.check(&self.peer)
    }

    /// The connection is for calls that block from now on.
    pub(super) fn hand_back(mut self) {
        self.duplex.hand_back();
        self.leaver.hand_back();
    }

    /// Receives a message if one is here. It reads as much as one look may.
    pub(super) fn try_recv(&self) -> Result<Received, Error> {
        self.check_origin()?;
        let _call = self.enter();
        Arc::clone(&self.duplex).poll_recv()
    }

    /// Sends a message if it can begin now.
    pub(super) fn try_send(&self, message: &Message<'_>, tag: Tag) -> Result<Transfer, Error> {
        self.check_origin()?;
        let _call = self.enter();
        self.duplex.try_send(message, tag)
    }

    pub(super) async fn recv(&self, timeout: Option<Duration>) -> Result<Received, Error> {
        self.breathe(Way::In).await;
        self.check_origin()?;
        let deadline = Deadline::after(timeout);
        let _call = self.enter();
        let mut short_since = None;
        loop {
            self.excuse_lateness(Way::In);
            match Arc::clone(&self.duplex).poll_recv() {
                // There was room for all that had come.
                Err(error) if error.is_timeout() => short_since = None,
                Err(error @ (Error::NoRoom { .. } | Error::NoMemory { .. }))
                    if error.is_recoverable() && !deadline.has_passed() =>
                {
                    let since = *short_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= SHORT {
                        return Err(error);
                    }
                    // Others may make room.
                    let soon = Some(Instant::now() + TICK);
                    self.wait(Way::In, Ready::default(), soon).await?;
                    continue;
                }
                Ok(received) => {
                    self.count(Way::In, received.transfer.bytes);
                    return Ok(received);
                }
                Err(error) => return Err(error),
            }
            self.check_time(Operation::Recv, deadline)?;
            if self.duplex.has_input() {
                // One look takes in so many records, and the socket knows nothing of those that are left.
                yield_now().await;
                continue;
            }
            let until = self.next_due(Way::In, deadline);
            self.wait(Way::In, self.wants(), until).await?;
        }
    }

    /// As [`Self::try_send`], for as many of the messages as can begin now.
    pub(super) fn try_send_all(&self, messages: &[Message<'_>]) -> Result<Batch, BatchError> {
        let nothing = |error| Batch::default().error(error);
        self.check_origin().map_err(nothing)?;
        let _call = self.enter();
        self.duplex.try_send_all(messages, Tag::default())
    }

    pub(super) async fn send(
        &self,
        message: &Message<'_>,
        tag: Tag,
        timeout: Option<Duration>,
    ) -> Result<Transfer, Error> {
        self.send_until(message, tag, Deadline::after(timeout))
            .await
    }

    /// Sends messages in order: small ones together, and a large one as it goes alone.
    pub(super) async fn send_all(
        &self,
        messages: &[Message<'_>],
        tag: Tag,
        timeout: Option<Duration>,
    ) -> Result<Batch, BatchError> {
        let deadline = Deadline::after(timeout);
        let mut batch = Batch::default();
        while let Some(rest) = messages.get(batch.count..)
            && let Some(first) = rest.first()
        {
            if batch.count > 0
                && let Err(late) = self.check_time(Operation::Send, deadline)
            {
                return Err(batch.error(late));
            }
            let small = rest.iter().take(TOGETHER);
            let small = small.take_while(|one| one.payload_len() < SMALL).count();
            if small == 0 {
                match self.send_until(first, tag, deadline).await {
                    Ok(transfer) => batch.add(&transfer),
                    Err(error) => return Err(batch.error_of(error, first)),
                }
            } else if let Err(error) = self
                .send_small(&rest[..small], tag, deadline, &mut batch)
                .await
            {
                return Err(batch.error(error));
            }
        }
        Ok(batch)
    }

    /// Sends messages together, and counts those that are sent.
    async fn send_small(
        &self,
        messages: &[Message<'_>],
        tag: Tag,
        deadline: Deadline,
        batch: &mut Batch,
    ) -> Result<(), Error> {
        self.breathe(Way::Out).await;
        self.check_origin()?;
        let _call = self.enter();
        let mut stuck = Stuck::default();
        let mut count = 0;
        loop {
            self.excuse_lateness(Way::Out);
            let rest = messages.get(count..).unwrap_or_default();
            let (sent, error) = match self.duplex.try_send_all(rest, tag) {
                Ok(sent) => (sent, None),
                Err(BatchError { sent, source }) => (sent, Some(*source)),
            };
            batch.add_all(&sent);
            count += sent.count;
            if sent.count > 0 {
                let others = EACH * (sent.count as u64 - 1);
                self.count(Way::Out, sent.bytes.saturating_add(others));
            }
            match error {
                None => return Ok(()),
                Some(error) if error.is_timeout() => {}
                Some(error) => return Err(error),
            }
            self.check_time(Operation::Send, deadline)?;
            self.wait_out(self.wants(), deadline, &mut stuck).await?;
        }
    }

    async fn send_until(
        &self,
        message: &Message<'_>,
        tag: Tag,
        deadline: Deadline,
    ) -> Result<Transfer, Error> {
        self.breathe(Way::Out).await;
        self.check_origin()?;
        let _call = self.enter();
        let mut stuck = Stuck::default();
        let mut steps = loop {
            self.excuse_lateness(Way::Out);
            match Arc::clone(&self.duplex).begin(message, tag) {
                Ok(Begun::Done(transfer)) => {
                    self.count(Way::Out, transfer.bytes);
                    return Ok(transfer);
                }
                Ok(Begun::Underway(steps)) => break steps,
                Err(error) if error.is_timeout() => {}
                Err(error) => return Err(error),
            }
            self.check_time(Operation::Send, deadline)?;
            self.wait_out(self.wants(), deadline, &mut stuck).await?;
        };
        loop {
            if let Err(late) = self.check_time(Operation::Send, deadline) {
                return Err(steps.give_up(late));
            }
            if let Err(error) = self.wait_out(Ready::BOTH, deadline, &mut stuck).await {
                return Err(steps.give_up(error));
            }
            self.excuse_lateness(Way::Out);
            if let Some(transfer) = steps.step()? {
                self.count(Way::Out, transfer.bytes);
                return Ok(transfer);
            }
        }
    }

    pub(super) async fn flush(&self, timeout: Option<Duration>) -> Result<(), Error> {
        self.settle(Operation::Flush, timeout, |duplex, now| duplex.flush(now))
            .await
    }

    pub(super) async fn close_sending(&self, timeout: Option<Duration>) -> Result<(), Error> {
        self.settle(Operation::Close, timeout, |duplex, now| {
            duplex.close_sending(now)
        })
        .await
    }

    /// Makes a call that waits for acknowledgements, until it need not wait.
    async fn settle(
        &self,
        operation: Operation,
        timeout: Option<Duration>,
        call: impl Fn(&dyn Duplex, Deadline) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.check_origin()?;
        let deadline = Deadline::after(timeout);
        let _call = self.enter();
        self.duplex.finish();
        let mut stuck = Stuck::default();
        loop {
            self.excuse_lateness(Way::Out);
            match call(&*self.duplex, Deadline::after(Duration::ZERO)) {
                Err(error) if error.is_timeout() => {}
                result => return result,
            }
            self.check_time(operation, deadline)?;
            self.wait_out(self.wants(), deadline, &mut stuck).await?;
        }
    }

    /// Lets others run if this direction has gone on for long without a pause. Nothing is in hand at this point.
    async fn breathe(&self, way: Way) {
        let is_long = {
            let mut done = lock(&self.done[way as usize]);
            let is_long = *done >= LONG;
            if is_long {
                *done = 0;
            }
            is_long
        };
        if is_long {
            yield_now().await;
        }
    }

    fn count(&self, way: Way, bytes: u64) {
        let mut done = lock(&self.done[way as usize]);
        *done = done.saturating_add(bytes).saturating_add(EACH);
    }

    fn enter(&self) -> Call<'_> {
        let mut calls = lock(&self.calls);
        if calls.count == 0 {
            let time = calls.since.elapsed();
            self.duplex.excuse(time);
            calls.greeting += time;
            calls.due = [None; 2];
        }
        calls.count += 1;
        Call(self)
    }

    /// A runtime that runs this task late is not the peer's fault. It is given a little more, in which what has come is read.
    fn excuse_lateness(&self, way: Way) {
        let mut calls = lock(&self.calls);
        let Some(due) = calls.due[way as usize].take() else {
            return;
        };
        let late = Instant::now().saturating_duration_since(due);
        if late >= LATE {
            self.duplex.excuse(late.saturating_add(LATE));
            calls.greeting += late + LATE;
            // For both directions.
            calls.due = [None; 2];
        }
    }

    fn check_time(&self, operation: Operation, deadline: Deadline) -> Result<(), Error> {
        if deadline.has_passed() {
            return Err(deadline.error(operation, &self.peer));
        }
        if Instant::now() >= lock(&self.calls).greeting && !self.duplex.is_greeted() {
            let source = Deadline::after(GREETING).error(Operation::Handshake, &self.peer);
            return Err(Error::Handshake {
                peer: self.peer.clone(),
                source: Box::new(source),
            });
        }
        Ok(())
    }

    /// When a call is due though nothing has come.
    fn next_due(&self, way: Way, deadline: Deadline) -> Option<Instant> {
        let due = self.duplex.due();
        let mut calls = lock(&self.calls);
        // What is over already, the runtime is not late for.
        calls.due[way as usize] = due.filter(|due| *due > Instant::now());
        let greeting = calls.greeting;
        drop(calls);
        let greeting = (!self.duplex.is_greeted()).then_some(greeting);
        let times = [deadline.instant(), due, greeting];
        times.into_iter().flatten().min()
    }

    fn wants(&self) -> Ready {
        self.duplex.wants()
    }

    /// Waits to send. What the peer sends is read meanwhile; if there is no room for it, nobody spins.
    async fn wait_out(
        &self,
        want: Ready,
        deadline: Deadline,
        stuck: &mut Stuck,
    ) -> Result<(), Error> {
        let held = self.duplex.status().waiting_bytes;
        let until = self.next_due(Way::Out, deadline);
        let (want, until) = if stuck.looks < PATIENT_LOOKS {
            (want, until)
        } else {
            let tick = Instant::now() + TICK;
            let want = Ready {
                read: false,
                ..want
            };
            (want, deadline.or_sooner(Some(tick)))
        };
        let woken = self.wait(Way::Out, want, until).await?;
        stuck.looks = match woken {
            Woken::WasReady if held == stuck.held => stuck.looks + 1,
            _ => 0,
        };
        stuck.held = held;
        Ok(())
    }

    async fn wait(&self, way: Way, want: Ready, until: Option<Instant>) -> Result<Woken, Error> {
        let watch = self.watch(way);
        let mut timer = std::mem::take(&mut *lock(&self.timers[way as usize]));
        let woken = wait(self.socket.watched(), want, Some(watch), until, &mut timer).await;
        *lock(&self.timers[way as usize]) = timer;
        let woken = woken.map_err(Error::io(Operation::Wait, &self.peer))?;
        if woken == Woken::WasReady {
            // The call has done as much as one call may.
            yield_now().await;
        } else {
            *lock(&self.done[way as usize]) = 0;
        }
        Ok(woken)
    }

    fn watch(&self, way: Way) -> &Watch {
        match way {
            Way::In => &self.watches.receiving,
            Way::Out => &self.watches.sending,
        }
    }
}

/// How often a send has found the socket as it left it.
#[derive(Default)]
struct Stuck {
    looks: u32,
    /// Bytes that had come.
    held: u64,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let mut calls = lock(&self.0.calls);
        calls.count -= 1;
        if calls.count == 0 {
            calls.since = Instant::now();
        }
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").finish_non_exhaustive()
    }
}

/// How long a peer has to say hello.
const GREETING: Duration = Duration::from_secs(30);

/// A task that runs so long after its time was run late.
const LATE: Duration = Duration::from_millis(100);

/// Bytes after which a task lets others run, and what a message counts beside its own.
const LONG: u64 = 1 << 20;
const EACH: u64 = 8 << 10;

/// Messages below this size go together, and so many of them before others run.
const SMALL: u64 = 64 << 10;
const TOGETHER: usize = 128;

/// How long a receive waits for room before it reports that there is none.
const SHORT: Duration = Duration::from_secs(1);

/// A send that so often finds bytes of the peer that it cannot take in looks at them again after a time.
const PATIENT_LOOKS: u32 = 4;
const TICK: Duration = Duration::from_millis(10);
