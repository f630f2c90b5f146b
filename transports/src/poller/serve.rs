//! Answering whoever connects.

use std::fmt;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use numpush_message::Message;

use crate::error::Error;
use crate::listener::Listener;
use crate::poller::Poller;
use crate::poller::event::{Event, Sent};
use crate::poller::slots::Key;
use crate::transfer::Received;

/// A message that has come at a listener, and the way back to its sender; see [`Listener::serve`].
pub struct Request<'p> {
    /// The connection it came by: the same one has the same key.
    pub key: Key,
    /// The message.
    pub received: Received,
    poller: &'p mut Poller,
}

impl Request<'_> {
    /// Answers the message, without a wait. It may be called several times.
    ///
    /// # Errors
    /// As [`Poller::send`]. The peer may be gone; that is no reason to end serving.
    pub fn reply(&mut self, message: &Message<'_>) -> Result<Sent, Error> {
        let tag = self.received.reply_tag();
        self.poller.send_tagged(self.key, message, tag)
    }

    /// All connections, to send to others than the one that asked.
    pub fn poller(&mut self) -> &mut Poller {
        self.poller
    }
}

impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("key", &self.key)
            .field("received", &self.received)
            .finish_non_exhaustive()
    }
}

/// How long serving waits, after its last answer, for peers to take what is queued for them.
const LAST: Duration = Duration::from_secs(2);

impl Listener {
    /// Accepts whoever connects and calls `answer` for every message that comes, in this thread, until it returns
    /// [`ControlFlow::Break`]. The messages of one connection come in order, those of several in turn; a peer that dies, lies
    /// or floods ends its own connection at most.
    ///
    /// At the end, answers that are queued for slow peers have two seconds to begin. For more than this — peers that
    /// come and go, a limit of the queues, a waker — use a [`Poller`].
    ///
    /// ```
    /// # mod numpush { pub use numpush_message::*; pub use numpush_transports::*; }
    /// use std::ops::ControlFlow;
    /// use numpush::{Buffer, Message};
    ///
    /// let listener = numpush::listen("tcp://127.0.0.1:0")?;
    /// let address = listener.address();
    /// let client = std::thread::spawn(move || {
    ///     let mut client = numpush::connect(&address)?;
    ///     client.send(&Message::new(Buffer::copy_of(b"there and back")))?;
    ///     client.recv()
    /// });
    /// listener.serve(|request| {
    ///     let message = request.received.message.clone();
    ///     match request.reply(&message) {
    ///         Ok(_) => ControlFlow::Break(()), // one is enough here
    ///         Err(_) => ControlFlow::Continue(()),
    ///     }
    /// })?;
    /// assert_eq!(client.join().unwrap()?.message.as_bytes().unwrap()[..], *b"there and back");
    /// # Ok::<(), numpush::Error>(())
    /// ```
    ///
    /// # Errors
    /// The listener's own, as [`Self::accept`]; [`Error::Unsupported`] if its transport has no descriptors.
    pub fn serve(
        self,
        mut answer: impl FnMut(&mut Request<'_>) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        let mut poller = Poller::new()?;
        let listener = poller.add_listener(self)?;
        loop {
            match poller.wait(None)? {
                Some(Event::Message { key, received }) => {
                    let mut request = Request {
                        key,
                        received,
                        poller: &mut poller,
                    };
                    if answer(&mut request).is_break() {
                        break;
                    }
                }
                Some(Event::Ended {
                    key,
                    error: Some(error),
                    ..
                }) if key == listener => return Err(error),
                _ => {}
            }
        }
        poller.remove_listener(listener);
        poller.stop_receiving();
        let until = Instant::now() + LAST;
        while poller.has_queued() && Instant::now() < until {
            poller.wait(until.saturating_duration_since(Instant::now()))?;
        }
        Ok(())
    }
}
