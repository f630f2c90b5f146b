//! The thread that lets other processes of this user open the values of this process.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

use numpush_os::{FileId, peer_credentials};
use numpush_shm_core::{RobustRwLock, SharedPages, forks};

use crate::error::Error;
use crate::object::channel::{Channel, ChannelError};
use crate::object::handle::Handle;
use crate::object::protocol::{OwnerReport, Reply, Request};
use crate::object::raw::{Origin, RawObject, find_owned};
use crate::object::report;

/// What abstract sockets of owners begin with.
pub(super) const PREFIX: &str = "numpush-shm.";
/// Most processes that have the values of this process open at a time.
const MAX_PEERS: usize = 1024;

/// The socket of this process.
struct Server {
    name: String,
    forks: u32,
}

static SERVER: Mutex<Option<Server>> = Mutex::new(None);

fn server() -> MutexGuard<'static, Option<Server>> {
    numpush_os::lock(&SERVER)
}

/// A process that is connected to this one.
struct Peer {
    pid: u32,
    /// The values that it has open, each with the number of times.
    leases: Mutex<HashMap<u64, (Arc<RawObject>, usize)>>,
}

impl Peer {
    fn leases(&self) -> MutexGuard<'_, HashMap<u64, (Arc<RawObject>, usize)>> {
        numpush_os::lock(&self.leases)
    }
}

static PEERS: Mutex<Vec<Weak<Peer>>> = Mutex::new(Vec::new());

fn peers() -> MutexGuard<'static, Vec<Weak<Peer>>> {
    numpush_os::lock(&PEERS)
}

/// The handle of a value, by which another process opens it.
pub(crate) fn handle_of(object: &RawObject) -> Result<Handle, Error> {
    if let Origin::Leased { handle, .. } = &object.origin {
        return Ok(handle.clone());
    }
    let number = object.owned("hand it out")?.number;
    let owner = name()?;
    Ok(Handle { owner, number })
}

/// The name of this process's socket. The first call starts the thread that listens there.
fn name() -> Result<String, Error> {
    let mut server = server();
    if let Some(server) = server.as_ref().filter(|server| server.forks == forks()) {
        return Ok(server.name.clone());
    }
    // Not a secret: the server judges a process by its user. The nonce tells two lives of one process number apart.
    let nonce = std::hash::RandomState::new().build_hasher().finish();
    let name = format!("{PREFIX}{}.{nonce:016x}", std::process::id());
    let failed = Error::io("listen for processes that open shared values");
    let address = SocketAddr::from_abstract_name(&name);
    let listener = address
        .and_then(|address| UnixListener::bind_addr(&address))
        .map_err(failed)?;
    let thread = std::thread::Builder::new().name("numpush-server".into());
    thread
        .spawn(move || listen(&listener))
        .map_err(Error::io("start the thread that serves shared values"))?;
    *server = Some(Server {
        name: name.clone(),
        forks: forks(),
    });
    Ok(name)
}

/// True if `owner` is this process.
pub(super) fn is_this_process(owner: &str) -> bool {
    server()
        .as_ref()
        .is_some_and(|server| server.name == owner && server.forks == forks())
}

/// What this process shares.
pub(super) fn own_report() -> OwnerReport {
    // A process without a server has handed out nothing.
    let name = server().as_ref().map(|server| server.name.clone());
    report::of_this_process(&name.unwrap_or_default(), openers)
}

/// The processes that have value `number` open.
fn openers(number: u64) -> Vec<u32> {
    let mut pids: Vec<u32> = peers()
        .iter()
        .filter_map(Weak::upgrade)
        .filter(|peer| peer.leases().contains_key(&number))
        .map(|peer| peer.pid)
        .collect();
    pids.sort_unstable();
    pids.dedup();
    pids
}

fn listen(listener: &UnixListener) {
    loop {
        let Ok((socket, _)) = listener.accept() else {
            // Usually no descriptor is left. The next process is let in as soon as one is.
            std::thread::sleep(Duration::from_millis(50));
            continue;
        };
        let Ok(credentials) = peer_credentials(&socket) else {
            continue;
        };
        let mut peers = peers();
        peers.retain(|peer| peer.strong_count() > 0);
        if credentials.same_user().is_none() || peers.len() >= MAX_PEERS {
            continue;
        }
        let peer = Arc::new(Peer {
            pid: credentials.pid.unsigned_abs(),
            leases: Mutex::default(),
        });
        peers.push(Arc::downgrade(&peer));
        drop(peers);
        let thread = std::thread::Builder::new()
            .name("numpush-peer".into())
            .stack_size(256 << 10);
        // Without a thread the socket closes, and the peer reports that the owner has ended.
        let _ = thread.spawn(move || serve(socket, &peer));
    }
}

/// Answers one process until it closes the socket or dies, and then releases what it had open.
fn serve(socket: UnixStream, peer: &Peer) {
    let mut channel = Channel::new(socket);
    let mut fetched: HashMap<FileId, Weak<SharedPages>> = HashMap::new();
    while let Ok((request, _)) = channel.receive::<Request>() {
        if answer(&mut channel, request, peer, &mut fetched).is_err() {
            break;
        }
    }
    // Taken out first: the drop of a value takes other locks.
    let leases = std::mem::take(&mut *peer.leases());
    drop(leases);
}

fn answer(
    channel: &mut Channel,
    request: Request,
    peer: &Peer,
    fetched: &mut HashMap<FileId, Weak<SharedPages>>,
) -> Result<(), ChannelError> {
    match request {
        Request::Open(number) => {
            let Some(value) = find_owned(number) else {
                return channel.send(&Reply::Gone, None);
            };
            let Ok(offer) = value.offer() else {
                return channel.send(&Reply::Gone, None);
            };
            peer.leases().entry(number).or_insert((value, 0)).1 += 1;
            let gone = fetched
                .extract_if(|_, pages| pages.strong_count() == 0)
                .map(|(memory, _)| memory)
                .collect();
            channel.send(&Reply::Opened { offer, gone }, None)
        }
        Request::Memory(memory) => {
            let pages = SharedPages::find(memory);
            if let Some(pages) = &pages {
                fetched.insert(memory, Arc::downgrade(pages));
            }
            let descriptor = pages
                .map(|pages| Arc::clone(pages.descriptor()))
                .or_else(|| RobustRwLock::descriptor(memory));
            match descriptor {
                Some(descriptor) => channel.send(&Reply::Memory, Some(descriptor.as_fd())),
                None => channel.send(&Reply::Gone, None),
            }
        }
        Request::Release(number) => {
            let mut leases = peer.leases();
            let ended = match leases.get_mut(&number) {
                Some((_, count)) if *count > 1 => {
                    *count -= 1;
                    None
                }
                _ => leases.remove(&number),
            };
            drop(leases);
            drop(ended);
            Ok(())
        }
        Request::Report => channel.send(&Reply::Report(own_report()), None),
    }
}
