//! One end of a ZeroMQ connection over a blocking socket: the least that a driver does.

use std::io::{self, Read, Write};

use numpush_zmtp::{
    Command, Event, Fault, FrameHead, Frames, Inbound, Limits, Outbound, SEALED_LEAD, Security,
    Seed, SocketKind,
};

pub(crate) struct End<S> {
    socket: S,
    inbound: Inbound,
    outbound: Outbound<Vec<u8>>,
    /// Frames of the message at hand: pings come between them.
    message: Vec<Vec<u8>>,
}

/// What the peer said.
#[derive(Debug, PartialEq)]
pub(crate) enum Said {
    Ready,
    Ping,
    Subscribe(Vec<u8>),
    Message(Vec<Vec<u8>>),
    /// It is gone, without a word.
    Gone,
}

enum Came {
    Nothing,
    Handshake,
    Said(Said),
    Ping(Vec<u8>),
    Frame(FrameHead),
    Sealed(u64),
}

impl<S: Read + Write> End<S> {
    pub(crate) fn new(socket: S, kind: SocketKind, security: &Security) -> Self {
        Self::with(socket, Inbound::new(kind, security, Limits::default()))
    }

    /// One whose random bytes are always the same.
    pub(crate) fn seeded(socket: S, kind: SocketKind, security: &Security, seed: Seed) -> Self {
        let inbound = Inbound::seeded(kind, security, Limits::default(), seed);
        Self::with(socket, inbound)
    }

    fn with(socket: S, inbound: Inbound) -> Self {
        Self {
            socket,
            inbound,
            outbound: Outbound::default(),
            message: Vec::new(),
        }
    }

    /// Who the peer has proved to be.
    pub(crate) fn peer(&self) -> Option<String> {
        self.inbound.peer()
    }

    pub(crate) fn send(&mut self, parts: &[&[u8]]) {
        let mut frames = Frames::new();
        for (index, part) in parts.iter().enumerate() {
            frames.push(Vec::from(*part), index + 1 < parts.len());
        }
        self.write(frames);
    }

    fn write(&mut self, frames: Frames<Vec<u8>>) {
        self.outbound.push(frames);
        loop {
            let mut slices = Vec::new();
            let count = self.outbound.gather(&mut slices, usize::MAX).unwrap();
            for slice in slices {
                self.socket.write_all(&slice).unwrap();
            }
            if count == 0 {
                return;
            }
            self.outbound.advance(count);
        }
    }

    /// What the peer says next; pings are answered.
    pub(crate) fn next(&mut self) -> Result<Said, Fault> {
        loop {
            let came = self.came();
            // A peer that refuses us may be gone already.
            let _ = self.socket.write_all(&self.inbound.says());
            let (head, body) = match came? {
                Came::Nothing if self.read() => continue,
                Came::Nothing => return Ok(Said::Gone),
                Came::Handshake => continue,
                Came::Said(Said::Ready) => {
                    self.outbound.open(self.inbound.way_out().unwrap());
                    return Ok(Said::Ready);
                }
                Came::Said(said) => return Ok(said),
                Came::Ping(context) => {
                    self.write(Frames::of_command(&Command::Pong(&context)));
                    return Ok(Said::Ping);
                }
                Came::Frame(head) => (head, self.body(head.len, 0)),
                Came::Sealed(len) => {
                    // The data lie on an address that a program can ask for.
                    let lead = 64 - SEALED_LEAD;
                    let mut body = self.body(len, lead);
                    let head = self.inbound.open(&mut body[lead..])?;
                    (head, body.split_off(64))
                }
            };
            self.message.push(body);
            if !head.more {
                return Ok(Said::Message(std::mem::take(&mut self.message)));
            }
        }
    }

    /// The next event, without what it borrows.
    fn came(&mut self) -> Result<Came, Fault> {
        let Some(event) = self.inbound.next()? else {
            return Ok(Came::Nothing);
        };
        Ok(match event {
            Event::Greeting(_) | Event::Handshake => Came::Handshake,
            Event::Ready { .. } => Came::Said(Said::Ready),
            Event::Command(Command::Ping { context, .. }) => Came::Ping(context.to_owned()),
            Event::Command(Command::Subscribe(topic)) => {
                Came::Said(Said::Subscribe(topic.to_owned()))
            }
            Event::Frame(head) => Came::Frame(head),
            Event::Sealed(len) => Came::Sealed(len),
            other => panic!("{other:?}"),
        })
    }

    /// The body at hand, behind `lead` bytes.
    fn body(&mut self, len: u64, lead: usize) -> Vec<u8> {
        let mut body = vec![0; lead + usize::try_from(len).unwrap()];
        let mut at = lead + self.inbound.take(&mut body[lead..]);
        while self.inbound.body_left() > 0 {
            let count = self.socket.read(&mut body[at..]).unwrap();
            assert!(count > 0, "the peer is gone");
            self.inbound.landed(count as u64);
            at += count;
        }
        body
    }

    /// Reads what is there; false at the end.
    fn read(&mut self) -> bool {
        match self.socket.read(self.inbound.spare()) {
            Ok(0) => false,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => false,
            Ok(count) => {
                self.inbound.filled(count);
                true
            }
            Err(error) => panic!("{error}"),
        }
    }
}
