//! The side of the owner: a socket by which other processes of this user open the values of this process.

mod desk;
mod peer;
mod recall;
mod serve;

use std::hash::{BuildHasher, Hasher};
use std::os::linux::net::SocketAddrExt;
#[cfg(any(test, fuzzing))]
use std::os::unix::net::UnixStream;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::{Arc, MutexGuard};
use std::time::Instant;

use numpush_os::{FileId, GlobalMutex};
use numpush_shm_core::{forks, when_unmapped};

use crate::error::Error;
use crate::object::handle::{Handle, OwnerName};
use crate::object::lessees::when_let_go;
use crate::object::protocol::OwnerReport;
use crate::object::raw::{Origin, RawObject, Value};
use crate::object::report;
use desk::{Command, Desk};

/// The socket of this process, and the thread that serves it.
struct Server {
    name: OwnerName,
    forks: u32,
    desk: Arc<Desk>,
}

static SERVER: GlobalMutex<Option<Server>> = GlobalMutex::new(None);

fn server() -> MutexGuard<'static, Option<Server>> {
    SERVER.lock()
}

/// The handle of a value, by which another process opens it.
pub(crate) fn handle_of(object: &RawObject) -> Result<Handle, Error> {
    match &object.origin {
        Origin::Leased { handle, .. } => Ok(handle.clone()),
        Origin::Owned { .. } => handle_of_owned(object),
    }
}

/// The handle of a value of this process.
pub(crate) fn handle_of_owned(value: &Value) -> Result<Handle, Error> {
    let number = value.owned("hand it out")?.number;
    let owner = name()?;
    Ok(Handle { owner, number })
}

/// The name of this process's socket. The first call starts the thread that serves it.
pub(super) fn name() -> Result<OwnerName, Error> {
    let mut server = server();
    if let Some(server) = server.as_ref().filter(|server| server.forks == forks()) {
        return Ok(server.name);
    }
    // Not a secret: a process is judged by its user.
    let name = OwnerName {
        pid: std::process::id(),
        nonce: std::hash::RandomState::new().build_hasher().finish(),
    };
    let failed = Error::io("listen for processes that open shared values");
    let listener = SocketAddr::from_abstract_name(name.to_string())
        .and_then(|address| UnixListener::bind_addr(&address))
        .map_err(failed)?;
    let desk = Arc::new(Desk::new().map_err(Error::io("wait for several processes at once"))?);
    let thread = std::thread::Builder::new().name("numpush-server".into());
    let of_thread = Arc::clone(&desk);
    let reserve = serve::reserve();
    thread
        .spawn(move || serve::serve(name, listener, reserve, &of_thread))
        .map_err(Error::io("start the thread that serves shared values"))?;
    when_let_go(|number| post(Command::LetGo(number)));
    when_unmapped(|memory: FileId| post(Command::Unmapped(memory)));
    *server = Some(Server {
        name,
        forks: forks(),
        desk,
    });
    Ok(name)
}

/// Leaves a command for the thread that serves, if there is one.
fn post(command: Command) {
    if let Some(desk) = desk() {
        desk.post(command);
    }
}

fn desk() -> Option<Arc<Desk>> {
    let server = server();
    let ours = server.as_ref().filter(|server| server.forks == forks())?;
    Some(Arc::clone(&ours.desk))
}

/// True if `owner` is this process.
pub(super) fn is_this_process(owner: OwnerName) -> bool {
    server()
        .as_ref()
        .is_some_and(|server| server.name == owner && server.forks == forks())
}

/// Asks the clients that have value `number` to let go of it, until `deadline`. True if none has it any more.
pub(super) fn recall(value: &Value, deadline: Instant) -> bool {
    let Ok(owned) = value.owned("recall it") else {
        return false;
    };
    if owned.lessees.is_empty() {
        return true;
    }
    let Some(desk) = desk() else {
        return false;
    };
    let (done, answer) = std::sync::mpsc::sync_channel(1);
    desk.post(Command::Recall(owned.number, done));
    let left = deadline.saturating_duration_since(Instant::now());
    answer.recv_timeout(left).unwrap_or(false)
}

/// Answers everything that a client has written to `socket`, as if it had just connected.
#[cfg(any(test, fuzzing))]
pub(super) fn answer_all(socket: UnixStream) {
    let mut client = peer::Peer::new(socket, std::process::id());
    while let Ok(Some(frame)) = client.link.poll() {
        if client.answer(&frame).is_err() || client.link.flush().is_err() {
            return;
        }
    }
}

/// What this process shares.
pub(super) fn own_report() -> OwnerReport {
    // A process without a server has handed out nothing.
    let name = server().as_ref().map(|server| server.name);
    report::of_this_process(name)
}
