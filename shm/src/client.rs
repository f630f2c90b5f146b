//! Opening the values of other processes.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use numpush_os::{peer_credentials, set_receive_tick, set_send_tick, user};
use numpush_shm_core::{SharedPages, forks};

use crate::channel::{Channel, Fault};
use crate::error::Error;
use crate::handle::Handle;
use crate::host::{self, Reply, Request};
use crate::object::{Object, Origin, registry};
use crate::report::OwnerReport;

/// An owner that does not answer for so long is taken for stopped.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection to an owner, shared by all its values that this process has open.
#[derive(Debug)]
pub(crate) struct Client {
    owner: String,
    forks: u32,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    channel: Channel,
    open: HashMap<u64, Weak<Object>>,
    /// Mappings that stay for the next value in them: to map a segment anew costs a fault a page. The owner says when
    /// one is gone.
    kept: HashMap<u64, Arc<SharedPages>>,
}

/// A value's stay in this process. Dropped, the owner is told.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) handle: Handle,
    client: Arc<Client>,
}

/// Opens the value behind a handle, in the process that made it or in another one of the same user.
pub(crate) fn open(handle: &Handle) -> Result<Arc<Object>, Error> {
    if host::is_ours(&handle.owner) {
        let found = registry().find(handle.number);
        return found.ok_or_else(|| stale(handle, "its value is gone"));
    }
    let client = client(handle)?;
    let opened = client.open(handle);
    if matches!(
        opened,
        Err(Error::Io { .. }
            | Error::Protocol { .. }
            | Error::Stale {
                why: OWNER_GONE,
                ..
            })
    ) {
        forget(&client);
    }
    opened
}

const OWNER_GONE: &str = "its owner has ended";

fn stale(handle: &Handle, why: &'static str) -> Error {
    Error::Stale {
        handle: handle.to_string(),
        why,
    }
}

static CLIENTS: Mutex<Vec<Arc<Client>>> = Mutex::new(Vec::new());

fn clients() -> MutexGuard<'static, Vec<Arc<Client>>> {
    CLIENTS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn client(handle: &Handle) -> Result<Arc<Client>, Error> {
    let mut clients = clients();
    // A connection made before a fork is the parent's.
    clients.retain(|client| client.forks == forks());
    if let Some(client) = clients.iter().find(|client| client.owner == handle.owner) {
        return Ok(Arc::clone(client));
    }
    let state = State::new(connect(handle, PATIENCE)?);
    let client = Arc::new(Client {
        owner: handle.owner.clone(),
        forks: forks(),
        state: Mutex::new(state),
    });
    clients.push(Arc::clone(&client));
    Ok(client)
}

fn forget(client: &Arc<Client>) {
    clients().retain(|other| !Arc::ptr_eq(other, client));
}

fn connect(handle: &Handle, patience: Duration) -> Result<Channel, Error> {
    let failed = Error::io("connect to the owner of a shared value");
    let address = SocketAddr::from_abstract_name(&handle.owner).map_err(failed)?;
    let socket = UnixStream::connect_addr(&address).map_err(|_| stale(handle, OWNER_GONE))?;
    let failed = || Error::io("set up the connection to the owner of a shared value");
    let credentials = peer_credentials(&socket).map_err(failed())?;
    if credentials.uid != user() {
        let (found, wanted) = (credentials.uid, user());
        return Err(Error::ForeignUser {
            handle: handle.to_string(),
            found,
            wanted,
        });
    }
    set_receive_tick(&socket, patience).map_err(failed())?;
    set_send_tick(&socket, patience).map_err(failed())?;
    Ok(Channel::new(socket))
}

impl Client {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(self: &Arc<Self>, handle: &Handle) -> Result<Arc<Object>, Error> {
        let mut state = self.state();
        if let Some(value) = state.open.get(&handle.number).and_then(Weak::upgrade) {
            return Ok(value);
        }
        let reply = state.ask(handle, &Request::Open(handle.number))?;
        let Reply::Opened { offer, gone } = reply.0 else {
            return Err(stale(handle, "its value is gone"));
        };
        gone.iter()
            .for_each(|memory| drop(state.kept.remove(memory)));
        let opened = Object::open(offer, |memory| state.fetch(handle, memory));
        // From here on the owner keeps the value for us until this is dropped, which takes the state.
        let lease = Lease {
            handle: handle.clone(),
            client: Arc::clone(self),
        };
        let (meta, spans) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                drop(state);
                return Err(error);
            }
        };
        let value = Arc::new(Object {
            meta,
            spans,
            origin: Origin::Leased(lease),
        });
        state.kept.extend(
            value
                .ranges()
                .into_iter()
                .map(|(pages, _)| (pages.memory(), pages)),
        );
        state.open.retain(|_, weak| weak.strong_count() > 0);
        state.open.insert(handle.number, Arc::downgrade(&value));
        Ok(value)
    }
}

impl State {
    fn new(channel: Channel) -> Self {
        Self {
            channel,
            open: HashMap::new(),
            kept: HashMap::new(),
        }
    }

    /// The descriptor of a memory of the owner's.
    fn fetch(&mut self, handle: &Handle, memory: u64) -> Result<OwnedFd, Error> {
        match self.ask(handle, &Request::Memory(memory))? {
            (Reply::Memory, Some(descriptor)) => Ok(descriptor),
            _ => Err(stale(handle, "its memory is gone")),
        }
    }

    fn ask(
        &mut self,
        handle: &Handle,
        request: &Request,
    ) -> Result<(Reply, Option<OwnedFd>), Error> {
        let sent = self.channel.send(request, None);
        sent.and_then(|()| self.channel.receive())
            .map_err(|fault| match fault {
                Fault::Closed => stale(handle, OWNER_GONE),
                Fault::Io(error) if error.kind() == std::io::ErrorKind::WouldBlock => Error::Io {
                    operation: "wait for the owner of a shared value",
                    source: std::io::ErrorKind::TimedOut.into(),
                },
                Fault::Io(_) => stale(handle, OWNER_GONE),
                Fault::Garbled(what) => Error::Protocol {
                    peer: handle.owner.clone(),
                    what,
                },
            })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.client.forks == forks() {
            // An owner that is gone needs not be told.
            let _ = self
                .client
                .state()
                .channel
                .send(&Request::Release(self.handle.number), None);
        }
    }
}

/// The descriptor of a memory of the process that owns `handle`.
pub(crate) fn fetch(handle: &Handle, memory: u64) -> Result<OwnedFd, Error> {
    client(handle)?.state().fetch(handle, memory)
}

/// What the owner at an abstract socket has, if it says so within `patience`.
pub(crate) fn report(owner: &str, patience: Duration) -> Result<OwnerReport, Error> {
    let handle = Handle {
        owner: owner.to_owned(),
        number: 0,
    };
    let mut state = State::new(connect(&handle, patience)?);
    match state.ask(&handle, &Request::Report)?.0 {
        Reply::Report(report) => Ok(report),
        _ => Err(Error::Protocol {
            peer: owner.to_owned(),
            what: "no report",
        }),
    }
}
