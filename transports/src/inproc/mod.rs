//! Threads of one process: the message itself is handed over.
//!
//! | | send | receive |
//! | --- | --- | --- |
//! | copies by us | none (one of borrowed buffers) | none (one into an allocator that wants every payload) |
//!
//! Ordered; a sender waits while what the receiver has not taken is as much as its credit. A socket has a session with the
//! same calls; here both sides are in one process, and trust each other's counts.

mod calls;
mod link;
mod way;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Condvar, LazyLock, Mutex, Weak};

use numpush_os::lock;

use crate::deadline::connect_until;
use crate::endpoint::{Endpoint, Scheme};
use crate::error::{Error, Operation};
use crate::inproc::link::{InprocTransport, Link};
use crate::inproc::way::Way;
use crate::options::{Options, Parameter};
use crate::transport::{AcceptContext, Acceptor, Bound, Established, Factory};
#[cfg(feature = "tokio")]
use crate::watch::Watch;

/// The factory of this transport.
pub(crate) struct Inproc;

impl Factory for Inproc {
    fn scheme(&self) -> Scheme {
        Scheme::Inproc
    }

    fn parameters(&self) -> &'static [Parameter] {
        &[Parameter::MAX]
    }

    /// Connects to the listener of this name in this process.
    fn connect(&self, to: &Endpoint, options: &Options) -> Result<Established, Error> {
        let name = to.address();
        let peer = format!("inproc:{name}");
        let queue = connect_until(&peer, options.connect_timeout, || {
            let listeners = lock(&LISTENERS);
            let queue = listeners.get(name).and_then(Weak::upgrade);
            queue.ok_or_else(|| io::ErrorKind::NotFound.into())
        })?;
        let (there, back): (Arc<Way>, Arc<Way>) = (Arc::default(), Arc::default());
        let ours = Link::new(&peer, (&there, &back), options, &queue.options);
        let mut theirs = Link::new(&peer, (&back, &there), &queue.options, options);
        theirs.waits = true;
        lock(&queue.arrived).push_back(theirs);
        queue.change.notify_one();
        #[cfg(feature = "tokio")]
        queue.watch.ring();
        Ok(established(ours))
    }

    /// Listens under a name that is free in this process.
    fn listen(&self, at: &Endpoint, options: &Options) -> Result<Bound, Error> {
        let name = at.address();
        let address = format!("inproc:{name}");
        let mut listeners = lock(&LISTENERS);
        listeners.retain(|_, queue| queue.strong_count() > 0);
        if listeners.contains_key(name) {
            let taken = io::ErrorKind::AddrInUse.into();
            return Err(Error::io(Operation::Listen, &address)(taken));
        }
        let queue = Arc::new(ListenQueue {
            options: options.clone(),
            arrived: Mutex::default(),
            change: Condvar::new(),
            #[cfg(feature = "tokio")]
            watch: Arc::default(),
        });
        listeners.insert(name.to_owned(), Arc::downgrade(&queue));
        Ok(Bound::new(InprocAcceptor { queue }, address))
    }
}

static LISTENERS: LazyLock<Mutex<HashMap<String, Weak<ListenQueue>>>> =
    LazyLock::new(Mutex::default);

/// Where connections wait to be accepted.
struct ListenQueue {
    /// Of the accepting side.
    options: Options,
    arrived: Mutex<VecDeque<Link>>,
    change: Condvar,
    #[cfg(feature = "tokio")]
    watch: Arc<Watch>,
}

struct InprocAcceptor {
    queue: Arc<ListenQueue>,
}

impl Acceptor for InprocAcceptor {
    fn accept(&mut self, cx: &AcceptContext<'_>) -> Result<Established, Error> {
        let mut arrived = lock(&self.queue.arrived);
        loop {
            if let Some(mut link) = arrived.pop_front() {
                link.waits = false;
                return Ok(established(link));
            }
            if cx.deadline.has_passed() {
                return Err(cx.deadline.error(Operation::Accept, cx.address));
            }
            arrived = cx.deadline.wait(&self.queue.change, arrived);
        }
    }

    #[cfg(feature = "tokio")]
    fn watch(&self) -> Option<Arc<Watch>> {
        Some(Arc::clone(&self.queue.watch))
    }
}

fn established(link: Link) -> Established {
    let peer = link.peer.clone();
    Established::new(InprocTransport(Arc::new(link)), peer)
}
