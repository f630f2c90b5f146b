//! The thread that serves all clients of this process. It waits for nobody but for all of them together.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use numpush_os::{ParentOnly, Ready, peer_credentials};

use super::desk::{Command, Desk};
use super::peer::{OpenLease, Peer, Rest};
use super::recall::Recalls;
use crate::object::handle::OwnerName;
use crate::object::protocol::Reply;
use crate::object::report;
use crate::object::wire::{Greeting, Link, Status, WireError};

/// Most processes that have values of this process open at a time.
const MAX_PEERS: usize = 1024;
/// The number of the listener among the descriptors.
const LISTENER: u64 = 0;
/// How long the listener rests when there is no descriptor for the next client, and a client that waits until fewer
/// descriptors are on their way.
const REST: Duration = Duration::from_millis(50);
/// How long clients wait in the queue for a descriptor before they are refused.
const SHORTAGE: Duration = Duration::from_secs(1);
/// Values from this size on are let go by a thread of their own: the kernel takes a while to free them.
const LARGE: usize = 16 << 20;

/// Serves until the process ends.
pub(super) fn serve(
    name: OwnerName,
    listener: UnixListener,
    reserve: Option<File>,
    desk: &Arc<Desk>,
) {
    // A child would keep the sockets open after the end of this process.
    let _parent_only = ParentOnly::new(&listener);
    let mut floor = Floor {
        name,
        listener,
        desk: Arc::clone(desk),
        peers: HashMap::new(),
        recalls: Recalls::default(),
        last: LISTENER,
        rests: true,
        reserve,
        short_since: None,
        crowded: HashSet::new(),
    };
    loop {
        floor.listen_again();
        let timeout = (floor.rests || !floor.crowded.is_empty()).then_some(REST);
        match desk.events.wait(timeout) {
            Ok(events) => {
                for event in events {
                    match event.token {
                        LISTENER => floor.accept(),
                        token => floor.attend(token),
                    }
                }
            }
            // No memory, for a moment.
            Err(_) => std::thread::sleep(REST),
        }
        for token in std::mem::take(&mut floor.crowded) {
            floor.attend(token);
        }
        for command in desk.take() {
            floor.obey(command);
        }
    }
}

/// The listener, the clients, and what is asked of them.
struct Floor {
    name: OwnerName,
    listener: UnixListener,
    desk: Arc<Desk>,
    peers: HashMap<u64, Peer>,
    recalls: Recalls,
    /// The last number given to a client.
    last: u64,
    /// True while the listener is not waited for.
    rests: bool,
    /// A descriptor to give up when there is no other, so that clients in the queue hear why they are not served.
    reserve: Option<File>,
    /// Since when there is no descriptor for the next client.
    short_since: Option<Instant>,
    /// Clients whose answers wait until fewer descriptors are on their way. No event says when.
    crowded: HashSet<u64>,
}

impl Floor {
    fn listen_again(&mut self) {
        if self.rests {
            let added = self
                .listener
                .set_nonblocking(true)
                .and_then(|()| self.desk.events.add(&self.listener, LISTENER, Ready::READ));
            self.rests = added.is_err();
        }
    }

    fn accept(&mut self) {
        loop {
            match self.listener.accept() {
                Ok((socket, _)) => {
                    self.short_since = None;
                    self.admit(socket);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return self.rest(),
            }
        }
    }

    /// Usually no descriptor is left. Clients wait in the queue for a while, and then hear why.
    fn rest(&mut self) {
        let since = *self.short_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= SHORTAGE && self.reserve.take().is_some() {
            // One client after the other has the number of the reserve.
            while let Ok((socket, _)) = self.listener.accept() {
                if let Some((socket, _)) = of_same_user(socket) {
                    refuse(socket, Status::Short);
                }
            }
        }
        if self.reserve.is_none() {
            self.reserve = reserve();
        }
        let _ = self.desk.events.remove(&self.listener);
        self.rests = true;
    }

    fn admit(&mut self, socket: UnixStream) {
        // Another user gets no byte.
        let Some((socket, pid)) = of_same_user(socket) else {
            return;
        };
        if self.peers.len() >= MAX_PEERS {
            return refuse(socket, Status::Full);
        }
        self.last += 1;
        if self
            .desk
            .events
            .add(&socket, self.last, Ready::READ)
            .is_err()
        {
            return refuse(socket, Status::Short);
        }
        self.peers.insert(self.last, Peer::new(socket, pid));
        self.attend(self.last);
    }

    /// Reads, answers and sends what there is to read, answer and send for a client.
    fn attend(&mut self, token: u64) {
        if self.converse(token).is_err() {
            self.end(token);
        }
    }

    fn converse(&mut self, token: u64) -> Result<(), WireError> {
        loop {
            let Some(peer) = self.peers.get_mut(&token) else {
                return Ok(());
            };
            // A client that does not read is not read from: its answers would pile up here.
            if !peer.link.flush()? {
                if peer.link.is_crowded() {
                    self.crowded.insert(token);
                    return self.wait_for(token, Ready::default());
                }
                return self.wait_for(token, Ready::WRITE);
            }
            let Some(frame) = peer.link.poll()? else {
                return self.wait_for(token, Ready::READ);
            };
            match peer.answer(&frame)? {
                Rest::Nothing => {}
                Rest::Closed(number, lease) => {
                    let_go(lease.into_iter().collect());
                    self.recalls.closed(token, number);
                }
                Rest::InUse(number) => self.recalls.in_use(token, number),
                Rest::Report(number, after) => self.report(token, number, after),
            }
        }
    }

    fn wait_for(&mut self, token: u64, want: Ready) -> Result<(), WireError> {
        if let Some(peer) = self.peers.get_mut(&token) {
            let socket = peer.link.socket();
            peer.wants = self.desk.watch(socket, token, peer.wants, want)?;
        }
        Ok(())
    }

    /// The client is gone, or does not keep to the protocol.
    fn end(&mut self, token: u64) {
        if let Some(peer) = self.peers.remove(&token) {
            let _ = self.desk.events.remove(peer.link.socket());
            let_go(peer.into_leases());
        }
        self.recalls.ended(token);
    }

    /// Makes a report in a thread of its own: it looks at every page of every value.
    fn report(&self, to: u64, number: u64, after: u64) {
        let (desk, name) = (Arc::clone(&self.desk), self.name);
        let make = move || {
            let (report, next) = report::page_of(Some(name), after);
            let reply = Box::new(Reply::Report(report, next));
            desk.post(Command::Answer { to, number, reply });
        };
        // Without a thread the client hears nothing, and says that this process does not answer.
        let _ = std::thread::Builder::new()
            .name("numpush-report".into())
            .spawn(make);
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::LetGo(number) => {
                for token in self.who_has(number) {
                    self.tell(token, |peer| peer.let_go(number));
                }
            }
            Command::Recall(number, done) => self.recall(number, done),
            Command::Unmapped(memory) => {
                for token in self.tokens() {
                    self.tell(token, |peer| peer.unmapped(memory));
                }
            }
            Command::Answer { to, number, reply } => {
                self.tell(to, |peer| peer.link.queue(number, &reply, None));
            }
        }
    }

    fn recall(&mut self, number: u64, done: SyncSender<bool>) {
        let open: HashSet<u64> = self.who_has(number);
        self.recalls.begin(number, open.clone(), done);
        for token in open {
            self.tell(token, |peer| peer.let_go(number));
        }
    }

    /// Says something to a client.
    fn tell(&mut self, token: u64, say: impl FnOnce(&mut Peer) -> Result<(), WireError>) {
        let Some(peer) = self.peers.get_mut(&token) else {
            return;
        };
        match say(peer) {
            Ok(()) => self.attend(token),
            Err(_) => self.end(token),
        }
    }

    fn tokens(&self) -> Vec<u64> {
        self.peers.keys().copied().collect()
    }

    fn who_has(&self, number: u64) -> HashSet<u64> {
        let all = self.peers.iter().filter(|(_, peer)| peer.has_open(number));
        all.map(|(token, _)| *token).collect()
    }
}

/// The socket and the process of a client, if it is of the user of this process.
fn of_same_user(socket: UnixStream) -> Option<(UnixStream, u32)> {
    let credentials = peer_credentials(&socket).ok()?;
    credentials.same_user()?;
    Some((socket, credentials.pid.unsigned_abs()))
}

/// Says why a client is not served, and closes its socket.
fn refuse(socket: UnixStream, status: Status) {
    // There is room for so little, or nobody reads it.
    let _ = Link::new(socket, Greeting::new(status)).flush();
}

/// A descriptor to give up when there is no other.
pub(super) fn reserve() -> Option<File> {
    File::open("/dev/null").ok()
}

/// Lets go of values that a client does not need any more.
fn let_go(leases: Vec<OpenLease>) {
    let freed = leases.iter().filter(|lease| lease.is_last());
    if freed.map(OpenLease::byte_len).sum::<usize>() < LARGE {
        return;
    }
    let free = move || drop(leases);
    // Without a thread they are dropped here.
    let _ = std::thread::Builder::new()
        .name("numpush-free".into())
        .stack_size(64 << 10)
        .spawn(free);
}
