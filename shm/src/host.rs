//! The thread that lets other processes of this user open our values.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use numpush_os::{peer_credentials, user};
use numpush_shm_core::{RobustRwLock, SharedPages, forks};
use serde::{Deserialize, Serialize};

use crate::channel::{Channel, Fault};
use crate::error::Error;
use crate::object::{Object, OpenReply, registry};
use crate::report::OwnerReport;

/// What abstract sockets of owners begin with.
pub(crate) const PREFIX: &str = "numpush-shm.";
/// Most processes that have our values open at a time.
const MAX_PEERS: usize = 1024;

/// What a process asks an owner for.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// A value, which is kept for the process until it says `Release`, or dies.
    Open(u64),
    /// The descriptor behind the number of a memory.
    Memory(u64),
    /// A value is needed no more. Not answered.
    Release(u64),
    /// All values, for a person to read.
    Report,
}

/// The answer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// The value, and which memories that were fetched before have gone since.
    Opened {
        offer: OpenReply,
        gone: Vec<u64>,
    },
    /// The descriptor is with the frame.
    Memory,
    Report(OwnerReport),
    /// There is no such value or memory any more.
    Gone,
}

struct Host {
    name: String,
    forks: u32,
}

/// A process that talks to us.
pub(crate) struct Peer {
    pub(crate) pid: u32,
    leases: Mutex<HashMap<u64, (Arc<Object>, usize)>>,
}

impl Peer {
    fn leases(&self) -> MutexGuard<'_, HashMap<u64, (Arc<Object>, usize)>> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

static PEERS: Mutex<Vec<Weak<Peer>>> = Mutex::new(Vec::new());

/// The name of this process's socket. The first call starts the thread that listens there.
pub(crate) fn name() -> Result<String, Error> {
    let mut host = HOST.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(host) = host.as_ref().filter(|host| host.forks == forks()) {
        return Ok(host.name.clone());
    }
    // Not a secret: who connects is judged by its user. It tells lives of one process number apart.
    let nonce = std::hash::RandomState::new().build_hasher().finish();
    let name = format!("{PREFIX}{}.{nonce:016x}", std::process::id());
    let failed = Error::io("listen for processes that open shared values");
    let address = SocketAddr::from_abstract_name(&name);
    let listener = address
        .and_then(|address| UnixListener::bind_addr(&address))
        .map_err(failed)?;
    let thread = std::thread::Builder::new().name("numpush-host".into());
    thread
        .spawn(move || listen(&listener))
        .map_err(Error::io("start the thread that serves shared values"))?;
    *host = Some(Host {
        name: name.clone(),
        forks: forks(),
    });
    Ok(name)
}

static HOST: Mutex<Option<Host>> = Mutex::new(None);

/// True if `owner` is this process.
pub(crate) fn is_ours(owner: &str) -> bool {
    let host = HOST.lock().unwrap_or_else(PoisonError::into_inner);
    host.as_ref()
        .is_some_and(|host| host.name == owner && host.forks == forks())
}

/// Processes that have value `number` open.
pub(crate) fn openers(number: u64) -> Vec<u32> {
    let peers = PEERS.lock().unwrap_or_else(PoisonError::into_inner);
    let mut pids: Vec<u32> = peers
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
            // Out of descriptors, usually: the next one is let in when there is one again.
            std::thread::sleep(Duration::from_millis(50));
            continue;
        };
        let Ok(credentials) = peer_credentials(&socket) else {
            continue;
        };
        let mut peers = PEERS.lock().unwrap_or_else(PoisonError::into_inner);
        peers.retain(|peer| peer.strong_count() > 0);
        if credentials.uid != user() || peers.len() >= MAX_PEERS {
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
        // Without a thread the peer sees a closed socket, and says that its owner does not answer.
        let _ = thread.spawn(move || serve(socket, &peer));
    }
}

/// Answers one process until it closes or dies; then what it had open is let go.
fn serve(socket: UnixStream, peer: &Peer) {
    let mut channel = Channel::new(socket);
    let mut fetched: HashMap<u64, Weak<SharedPages>> = HashMap::new();
    while let Ok((request, _)) = channel.receive::<Request>() {
        if answer(&mut channel, request, peer, &mut fetched).is_err() {
            break;
        }
    }
    // Taken out first: a value that ends looks at the register of values.
    let leases = std::mem::take(&mut *peer.leases());
    drop(leases);
}

fn answer(
    channel: &mut Channel,
    request: Request,
    peer: &Peer,
    fetched: &mut HashMap<u64, Weak<SharedPages>>,
) -> Result<(), Fault> {
    match request {
        Request::Open(number) => {
            let Some(value) = registry().find(number) else {
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
        Request::Report => channel.send(&Reply::Report(OwnerReport::of_this_process()), None),
    }
}
