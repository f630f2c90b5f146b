//! Connections side by side: a thread for each, so that an idle peer keeps nobody waiting.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use numpush::transfer::Received;
use numpush::{Connection, Listener};

use crate::failure::Failure;
use crate::interrupt::{self, Cancels, STEP};

/// What happens on the connections.
pub(super) enum Event {
    /// A peer has connected.
    Joined,
    /// A peer has sent a message. `kept` returns whether it was written; the peer's next message waits for that.
    Message {
        received: Box<Received>,
        kept: SyncSender<bool>,
    },
    /// One peer failed, and its connection goes on, or never was.
    Trouble(Failure),
    /// A connection has ended; `sent` messages came by it.
    Left { failure: Failure, sent: u64 },
    /// The listener has failed.
    Ended(Failure),
}

/// Threads that receive.
pub(super) struct Peers {
    pub(super) events: Receiver<Event>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// How long connections may take to close. A thread in a call that takes longer is left to itself.
const GOODBYE: Duration = Duration::from_secs(3);

/// Errors in a row after which a connection that stands for many peers is given up.
const MAX_TROUBLES: u32 = 1000;

impl Peers {
    /// Receives from everybody who connects.
    pub(super) fn listen(listener: Listener, is_shared: bool) -> Result<Self, Failure> {
        Self::start(|peer| peer.run(move |peer| peer.accept(listener, is_shared)))
    }

    /// Receives from one connection.
    pub(super) fn of(connection: Connection, is_shared: bool) -> Result<Self, Failure> {
        Self::start(|peer| {
            let _ = peer.events.send(Event::Joined);
            peer.run(move |peer| peer.drain(connection, is_shared))
        })
    }

    fn start(start: impl FnOnce(Peer) -> Result<JoinHandle<()>, Failure>) -> Result<Self, Failure> {
        let (sender, events) = mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let peer = Peer {
            events: sender,
            stop: Arc::clone(&stop),
        };
        let threads = vec![start(peer)?];
        Ok(Self {
            events,
            stop,
            threads,
        })
    }

    /// Ends all connections. A message that waits for its answer is not kept.
    pub(super) fn stop(self) {
        self.stop.store(true, Ordering::SeqCst);
        interrupt::cancel_all();
        drop(self.events);
        let until = Instant::now() + GOODBYE;
        for thread in self.threads {
            while !thread.is_finished() && Instant::now() < until {
                thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

/// What each thread has.
#[derive(Clone)]
struct Peer {
    events: Sender<Event>,
    stop: Arc<AtomicBool>,
}

impl Peer {
    fn run(self, work: impl FnOnce(&Self) + Send + 'static) -> Result<JoinHandle<()>, Failure> {
        let failed = Failure::file("numpush".as_ref(), "cannot start a thread");
        thread::Builder::new()
            .spawn(move || work(&self))
            .map_err(failed)
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Accepts until it is stopped, and waits for the threads of the connections.
    fn accept(&self, mut listener: Listener, is_shared: bool) {
        let mut threads: Vec<JoinHandle<()>> = Vec::new();
        while !self.is_stopped() {
            // A shared connection is with all peers: there is no second one.
            if is_shared && !threads.is_empty() {
                thread::sleep(STEP);
                continue;
            }
            let accepted = listener.accept_for(STEP);
            while let Some(refused) = listener.take_refused() {
                let _ = self.events.send(Event::Trouble(refused.into()));
            }
            let connection = match accepted {
                Ok(connection) => connection,
                Err(error) => {
                    let failure = Failure::from(error);
                    if failure.is_timeout() {
                        continue;
                    }
                    if failure.ends_the_listener() {
                        let _ = self.events.send(Event::Ended(failure));
                        return;
                    }
                    let _ = self.events.send(Event::Trouble(failure));
                    continue;
                }
            };
            let _ = self.events.send(Event::Joined);
            threads.retain(|thread| is_shared || !thread.is_finished());
            match self
                .clone()
                .run(move |peer| peer.drain(connection, is_shared))
            {
                Ok(thread) => threads.push(thread),
                Err(failure) => drop(self.events.send(Event::Left { failure, sent: 0 })),
            }
        }
        // Nobody can connect any more, and the socket's file is removed.
        drop(listener);
        for thread in threads {
            let _ = thread.join();
        }
    }

    /// Passes on the messages of a connection. A shared connection stands for all peers, and outlives the faults of one.
    fn drain(&self, mut connection: Connection, is_shared: bool) {
        // It is cancelled when all is to stop, or else looks in steps.
        let cancels = Cancels::calls_of(&connection);
        let step = (!cancels.can()).then_some(STEP);
        connection.set_timeouts(Some(GOODBYE), step);
        let (mut sent, mut troubles) = (0, 0);
        while !self.is_stopped() {
            let failure = match connection.recv() {
                Ok(received) => {
                    (sent, troubles) = (sent + 1, 0);
                    let (kept, is_kept) = mpsc::sync_channel(1);
                    let received = Box::new(received);
                    let _ = self.events.send(Event::Message { received, kept });
                    // A dropped connection is how the sender learns of a message that was not written.
                    if is_kept.recv() != Ok(true) {
                        return;
                    }
                    continue;
                }
                Err(error) => Failure::from(error),
            };
            if failure.is_timeout() || failure.is_cancelled() {
                continue;
            }
            troubles += 1;
            if is_shared && !failure.is_closed() && troubles < MAX_TROUBLES {
                let _ = self.events.send(Event::Trouble(failure));
                continue;
            }
            let _ = self.events.send(Event::Left { failure, sent });
            return;
        }
        // The last message is kept, and acknowledged only now. Nothing was sent that it could wait for.
        drop(cancels);
        let _ = connection.close();
    }
}
