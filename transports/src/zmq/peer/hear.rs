//! What a peer says, but for the messages themselves.

use std::time::{Duration, Instant};

use numpush_os as os;
use numpush_zmtp::{Command, Event, Fault, Frames};

use crate::zmq::lost::Lost;
use crate::zmq::pattern::Pattern;
use crate::zmq::peer::{Peer, Phase, STEP};
use crate::zmq::terms::LONGEST_TOPIC;

impl Peer {
    /// A frame of a message to a REQ begins. True if the message was not asked for.
    pub(super) fn is_stray(&mut self, more: bool) -> bool {
        if !self.has_more {
            self.is_unasked = !self.is_asked;
        }
        self.has_more = more;
        self.is_unasked
    }

    /// Drops what has come of the frame at hand. True if that is all of it.
    pub(super) fn pass_by(&mut self) -> bool {
        self.inbound.skip();
        self.in_frame = self.inbound.body_left() > 0;
        !self.in_frame
    }

    /// Takes in what a subscriber of version 3.0 wants, which it says in a message. False if more bytes are needed for that.
    pub(super) fn subscribe(&mut self) -> Result<bool, Lost> {
        let mut piece = [0; 256];
        while self.inbound.body_left() > 0 {
            let count = self.inbound.take(&mut piece);
            if count == 0 {
                return Ok(false);
            }
            self.topic.extend(piece.iter().take(count));
            // What is neither means nothing to a publisher.
            if !matches!(self.topic.first(), Some(0 | 1)) {
                self.topic.clear();
                self.is_unasked = true;
                return Ok(self.pass_by());
            }
            if self.topic.len() > LONGEST_TOPIC {
                return Err(Lost::Fault(Fault::OverLimit {
                    what: "a topic",
                    value: self.topic.len() as u64 + self.inbound.body_left(),
                    limit: LONGEST_TOPIC as u64,
                }));
            }
        }
        self.in_frame = false;
        let topic = std::mem::take(&mut self.topic);
        match topic.split_first() {
            Some((1, topic)) => self.want(topic)?,
            Some((0, topic)) => self.want_no_more(topic),
            _ => {}
        }
        Ok(true)
    }

    fn want(&mut self, topic: &[u8]) -> Result<(), Fault> {
        if self.topics.add(topic)? && self.pattern == Pattern::XPub {
            self.changes.push((true, topic.into()));
        }
        Ok(())
    }

    fn want_no_more(&mut self, topic: &[u8]) {
        if self.topics.remove(topic) && self.pattern == Pattern::XPub {
            self.changes.push((false, topic.into()));
        }
    }

    /// Takes in what the peer says next. False if more bytes are needed for that.
    pub(super) fn hear(&mut self) -> Result<bool, Lost> {
        let event = match self.inbound.next() {
            Ok(Some(event)) => event,
            Ok(None) => return Ok(false),
            Err(fault) => return Err(fault.into()),
        };
        let mut is_said = false;
        match event {
            Event::Greeting(greeting) => {
                self.minor = greeting.minor;
                is_said = true;
            }
            Event::Handshake => is_said = true,
            Event::Ready { properties, .. } => {
                self.identity = properties.get("Identity").map_or_else(Vec::new, Vec::from);
                self.phase = Phase::Open;
                is_said = true;
            }
            Event::Command(Command::Ping { .. }) if self.is_deaf => {}
            Event::Command(Command::Ping { ttl, context }) => {
                self.outbound.say(&Command::Pong(context));
                let ttl = Duration::from_millis(100) * u32::from(ttl);
                self.heartbeat.promise(ttl, Instant::now());
            }
            Event::Command(Command::Subscribe(topic)) if self.pattern.publishes() => {
                let topic = Vec::from(topic);
                self.want(&topic)?;
            }
            Event::Command(Command::Cancel(topic)) => {
                let topic = Vec::from(topic);
                self.want_no_more(&topic);
            }
            Event::Command(_) => {}
            Event::Frame(_) | Event::Sealed(_) if self.pattern == Pattern::Push => {
                // Nobody would ever take it, nor see what comes behind it.
                return Err(Lost::Fault(Fault::Violation(
                    "a message came to a socket that only sends",
                )));
            }
            Event::Sealed(len) if self.pattern.publishes() => {
                return Err(Lost::Fault(Fault::OverLimit {
                    what: "a topic",
                    value: len,
                    limit: LONGEST_TOPIC as u64,
                }));
            }
            Event::Sealed(len) => {
                (self.in_frame, self.is_sealed) = (true, true);
                // Whether more follows is known at its end.
                let is_stray = self.pattern == Pattern::Req && self.is_stray(true);
                self.arrival.begin_sealed(len, is_stray)?;
            }
            Event::Frame(head) => {
                self.in_frame = true;
                match self.pattern {
                    // A subscription is one frame.
                    Pattern::Pub | Pattern::XPub => {
                        self.is_unasked = self.has_more || head.more;
                        self.has_more = head.more;
                    }
                    Pattern::Req => {
                        if !self.is_stray(head.more) {
                            self.arrival.begin(head);
                        }
                    }
                    _ => self.arrival.begin(head),
                }
            }
            _ => {}
        }
        if is_said {
            self.say();
        }
        Ok(true)
    }

    /// Writes what the handshake says.
    pub(super) fn say(&mut self) {
        let says = self.inbound.says();
        self.outbound.push(Frames::of_handshake(says));
        if let Some(way_out) = self.inbound.way_out() {
            self.outbound.open(way_out);
            // Errors name who it is.
            self.user = self.inbound.peer();
            if let Some(user) = &self.user {
                self.stream.name += &format!(" ({user})");
            }
        }
        // The first write of a connection needs no wait.
        self.may_write = true;
    }

    /// Tells the peer that messages are wanted which begin with `topic`, or that they are not any more.
    pub(in crate::zmq) fn subscribe_to(&mut self, topic: &[u8], is_wanted: bool) {
        self.outbound.push(match (self.minor, is_wanted) {
            // In version 3.0 it is a message.
            (0, _) => {
                let mut frames = Frames::new();
                let mut said = vec![u8::from(is_wanted)];
                said.extend(topic);
                frames.push_copy(&said, false);
                frames
            }
            (_, true) => Frames::of_command(&Command::Subscribe(topic)),
            (_, false) => Frames::of_command(&Command::Cancel(topic)),
        });
    }

    /// Tells a peer that may not come in why, if the handshake has a word for that and the socket takes it now.
    pub(in crate::zmq) fn say_farewell(&mut self) {
        if self.is_open() {
            return;
        }
        let says = self.inbound.says();
        self.outbound.push(Frames::of_handshake(says));
        let mut slices = Vec::new();
        if matches!(self.outbound.gather(&mut slices, STEP), Ok(1..)) {
            let _ = os::send(&self.stream, &slices, false);
        }
    }
}
