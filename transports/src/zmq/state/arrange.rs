//! What a socket waits for: what its set is told, and what the clock says.

use std::time::{Duration, Instant};

use numpush_os::Events;

use crate::zmq::lost::Lost;
use crate::zmq::peer::Peer;
use crate::zmq::state::State;

/// How often a peer hears that this side is there while a message of it waits, and its pings behind that. Who pings gives up
/// after a second or more.
const PULSE: Duration = Duration::from_millis(300);

impl State {
    /// Does what it is time for.
    pub(in crate::zmq) fn look_at_the_clock(&mut self, events: &Events) {
        let now = Instant::now();
        self.told = now;
        let late = self.greeting.iter().filter(|(_, until)| **until <= now);
        let late: Vec<u64> = late.map(|(token, _)| *token).collect();
        for token in late {
            self.lose(token, Lost::Late, events);
        }
        self.end_who_stands_still(now, events);
        if self.beat_at.take_if(|at| *at <= now).is_some() {
            self.look_for_life(now, events);
        }
        if self.pulse_at.take_if(|at| *at <= now).is_some() {
            self.peers.values_mut().for_each(Peer::pulse);
        }
        let before = self.endpoints.at();
        let begun = self.endpoints.step(now, events);
        // The timer does not know it yet.
        self.has_changed |= self.endpoints.at() != before;
        for (endpoint, stream) in begun {
            self.greet(stream, endpoint, true, None);
        }
    }

    /// Asks peers that say nothing whether they are there, and ends those that were asked in vain.
    fn look_for_life(&mut self, now: Instant, events: &Events) {
        self.has_changed = true;
        let mut silent = Vec::new();
        for (token, peer) in &mut self.peers {
            if let Err(lost) = peer.look_for_life(now) {
                silent.push((*token, lost));
            }
        }
        for (token, lost) in silent {
            self.lose(token, lost, events);
        }
    }

    /// A peer whose message does not go on would keep its room for ever.
    fn end_who_stands_still(&mut self, now: Instant, events: &Events) {
        let patience = self.terms.patience;
        if self
            .still
            .is_none_or(|since| now.duration_since(since) < patience)
        {
            return;
        }
        let mut still = Vec::new();
        for (token, peer) in &self.peers {
            let is_over = peer
                .still
                .is_some_and(|since| now.duration_since(since) >= patience);
            if is_over && peer.is_waited_for() {
                still.push(*token);
            }
        }
        for token in still {
            self.lose(token, Lost::Stalled(patience), events);
        }
    }

    /// Tells the set what to wait for. Returns true if something can be done without a wait.
    pub(in crate::zmq) fn arrange(&mut self, events: &Events) -> bool {
        let mut is_busy = false;
        let mut broken = Vec::new();
        self.has_changed = false;
        self.still = None;
        self.beat_at = None;
        let mut any_may_ping = false;
        for (token, peer) in &mut self.peers {
            match peer.is_waited_for() {
                true => {
                    let since = *peer.still.get_or_insert_with(Instant::now);
                    self.still = Some(self.still.map_or(since, |first| first.min(since)));
                }
                false => peer.still = None,
            }
            self.beat_at = self.beat_at.into_iter().chain(peer.heartbeat.at()).min();
            any_may_ping |= peer.may_ping();
            is_busy |= peer.is_busy();
            let wants = Some(peer.wants()).filter(|wants| wants.any());
            if wants == peer.waits_for {
                continue;
            }
            let done = match (peer.waits_for, wants) {
                (None, Some(wants)) => events.add(&peer.stream, *token, wants),
                (Some(_), Some(wants)) => events.change(&peer.stream, *token, wants),
                (_, None) => events.remove(&peer.stream),
            };
            match done {
                Ok(()) => peer.waits_for = wants,
                Err(error) => broken.push((*token, error)),
            }
        }
        if !broken.is_empty() {
            for (token, error) in broken {
                self.lose(token, Lost::Io(error), events);
            }
            // What they had may be with others now.
            return self.arrange(events);
        }
        match any_may_ping {
            true => self.pulse_at = self.pulse_at.or_else(|| Some(Instant::now() + PULSE)),
            false => self.pulse_at = None,
        }
        self.endpoints.arrange(events);
        self.set_timer();
        is_busy
    }

    fn set_timer(&mut self) {
        let greeting = self.greeting.values().min().copied();
        let still = self
            .still
            .and_then(|since| since.checked_add(self.terms.patience));
        let all = [
            self.endpoints.at(),
            greeting,
            still,
            self.pulse_at,
            self.beat_at,
        ];
        let at = all.into_iter().flatten().min();
        // A time that has come stays: nothing reads the timer, and it is set anew behind what it is for.
        if at != self.timer_at && self.timer.set(at).is_ok() {
            self.timer_at = at;
        }
    }
}
