//! Opens the values of other processes.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use numpush_os::{FileId, peer_credentials, set_receive_tick, set_send_tick, user};
use numpush_shm_core::{SharedPages, forks};

use crate::error::Error;
use crate::object::channel::{Channel, ChannelError};
use crate::object::handle::Handle;
use crate::object::offer::open_spans;
use crate::object::protocol::{OwnerReport, Reply, Request};
use crate::object::raw::{self, Origin, RawObject, find_owned};
use crate::object::server;

/// How long an owner has to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection to an owner, shared by all its values that this process has open.
#[derive(Debug)]
struct Client {
    owner: String,
    forks: u32,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    channel: Channel,
    open: HashMap<u64, Weak<RawObject>>,
    /// Mappings that stay for the next value in them: to map memory anew costs a fault a page. The owner reports when
    /// one is gone.
    kept: HashMap<FileId, Arc<SharedPages>>,
}

/// Keeps a value open at its owner. Its drop informs the owner.
#[derive(Debug)]
struct Lease {
    number: u64,
    client: Arc<Client>,
}

impl raw::Lease for Lease {}

/// Opens the value of a handle, in the process that made it or in another one of the same user.
pub(crate) fn open(handle: &Handle) -> Result<Arc<RawObject>, Error> {
    if server::is_this_process(&handle.owner) {
        let found = find_owned(handle.number);
        return found.ok_or_else(|| stale(handle, VALUE_GONE));
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
const VALUE_GONE: &str = "its value is gone";

fn stale(handle: &Handle, why: &'static str) -> Error {
    Error::Stale {
        handle: handle.to_string(),
        why,
    }
}

static CLIENTS: Mutex<Vec<Arc<Client>>> = Mutex::new(Vec::new());

fn clients() -> MutexGuard<'static, Vec<Arc<Client>>> {
    numpush_os::lock(&CLIENTS)
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
    if credentials.same_user().is_none() {
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
        numpush_os::lock(&self.state)
    }

    fn open(self: &Arc<Self>, handle: &Handle) -> Result<Arc<RawObject>, Error> {
        let mut state = self.state();
        if let Some(object) = state.open.get(&handle.number).and_then(Weak::upgrade) {
            return Ok(object);
        }
        let (reply, _) = state.ask(handle, &Request::Open(handle.number))?;
        let Reply::Opened { offer, gone } = reply else {
            return Err(stale(handle, VALUE_GONE));
        };
        for memory in gone {
            state.kept.remove(&memory);
        }
        let opened = open_spans(&offer, &mut |memory| state.fetch(handle, memory));
        // From here on the owner keeps the value for this process until the lease is dropped, which locks the state.
        let lease = Lease {
            number: handle.number,
            client: Arc::clone(self),
        };
        let spans = match opened {
            Ok(spans) => spans,
            Err(error) => {
                drop(state);
                return Err(error);
            }
        };
        let object = Arc::new(RawObject {
            description: offer.description,
            spans,
            origin: Origin::Leased {
                handle: handle.clone(),
                _lease: Box::new(lease),
            },
        });
        for (pages, ..) in object.spans.runs() {
            state.kept.insert(pages.id(), Arc::clone(pages));
        }
        state.open.retain(|_, weak| weak.strong_count() > 0);
        state.open.insert(handle.number, Arc::downgrade(&object));
        Ok(object)
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

    /// The descriptor of a memory of the owner.
    fn fetch(&mut self, handle: &Handle, memory: FileId) -> Result<OwnedFd, Error> {
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
        let replied = sent.and_then(|()| self.channel.receive());
        replied.map_err(|error| match error {
            ChannelError::Io(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                Error::Io {
                    operation: "wait for the owner of a shared value",
                    source: std::io::ErrorKind::TimedOut.into(),
                }
            }
            ChannelError::Closed | ChannelError::Io(_) => stale(handle, OWNER_GONE),
            ChannelError::Malformed(what) => Error::Protocol {
                peer: handle.owner.clone(),
                what,
            },
        })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.client.forks == forks() {
            // An owner that has ended has released the value already.
            let release = Request::Release(self.number);
            let _ = self.client.state().channel.send(&release, None);
        }
    }
}

/// The descriptor of a memory of the process that owns `handle`.
pub(super) fn fetch(handle: &Handle, memory: FileId) -> Result<OwnedFd, Error> {
    client(handle)?.state().fetch(handle, memory)
}

/// What the owner at an abstract socket has, if it says so within `patience`.
pub(super) fn report(owner: &str, patience: Duration) -> Result<OwnerReport, Error> {
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
