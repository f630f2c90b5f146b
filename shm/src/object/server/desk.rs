//! What the other threads of an owner leave for the one that serves.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::sync::mpsc::SyncSender;

use numpush_os::{Events, FileId, Ready};

use crate::object::protocol::Reply;

/// Commands, and the bell that wakes the thread.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) events: Events,
    /// Not one that a fork waits for: a child has another desk or none, and never locks its parent's.
    commands: Mutex<Vec<Command>>,
}

/// What the thread is to do.
#[derive(Debug)]
pub(super) enum Command {
    /// The owner has let go of this value: its clients are to learn of it.
    LetGo(u64),
    /// The owner wants this value back: its clients are asked for it. The answer is true if none has it any more.
    Recall(u64, SyncSender<bool>),
    /// This memory of the owner is gone.
    Unmapped(FileId),
    /// What client `to` asked for in the request `number`.
    Answer {
        to: u64,
        number: u64,
        reply: Box<Reply>,
    },
}

impl Desk {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            events: Events::new()?,
            commands: Mutex::default(),
        })
    }

    /// Waits for `want` of a client's socket, which was waited for `wants`.
    pub(super) fn watch(
        &self,
        socket: &UnixStream,
        token: u64,
        wants: Ready,
        want: Ready,
    ) -> io::Result<Ready> {
        if wants != want {
            self.events.change(socket, token, want)?;
        }
        Ok(want)
    }

    /// Leaves a command. It never waits for the thread.
    pub(super) fn post(&self, command: Command) {
        let mut commands = numpush_os::lock(&self.commands);
        commands.push(command);
        let is_first = commands.len() == 1;
        drop(commands);
        if is_first {
            self.events.ring();
        }
    }

    /// Takes all commands, oldest first.
    pub(super) fn take(&self) -> Vec<Command> {
        std::mem::take(&mut numpush_os::lock(&self.commands))
    }
}
