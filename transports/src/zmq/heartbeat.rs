//! Whether a peer that says nothing is still there.

use std::time::{Duration, Instant};

/// The silence of one peer.
///
/// It is looked at when a time has come, not when something comes: that costs a flag. So a silence is noticed after once to twice its
/// time.
#[derive(Debug, Default)]
pub(super) struct Heartbeat {
    /// This side asks after so long a silence.
    ours: Watch,
    /// The peer has asked to be given up after so long a silence of its own.
    theirs: Watch,
    is_asked: bool,
}

#[derive(Debug, Default)]
struct Watch {
    time: Option<Duration>,
    /// When it is looked at next.
    at: Option<Instant>,
    has_heard: bool,
}

/// What is to be done about a silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beat {
    Nothing,
    /// The peer is asked, and has so long to answer.
    Ask(Duration),
    /// It has said nothing for so long.
    Silent(Duration),
}

impl Watch {
    fn set(&mut self, time: Option<Duration>, now: Instant) {
        (self.time, self.has_heard) = (time, false);
        self.at = time.and_then(|time| now.checked_add(time));
    }

    /// The time, if it is over without a sign of life. Else it begins anew when it is over.
    fn is_over(&mut self, now: Instant, is_blind: bool) -> Option<Duration> {
        self.at.filter(|at| *at <= now)?;
        let time = self.time?;
        let was_heard = std::mem::take(&mut self.has_heard);
        self.at = now.checked_add(time);
        (!was_heard && !is_blind).then_some(time)
    }
}

impl Heartbeat {
    /// The peer is ready: from now on it is asked after a silence of `time`.
    pub(super) fn begin(&mut self, time: Option<Duration>, now: Instant) {
        self.ours.set(time, now);
    }

    /// The peer asks to be given up after a silence of `time`, if that is not zero.
    pub(super) fn promise(&mut self, time: Duration, now: Instant) {
        let time = Some(time).filter(|time| !time.is_zero());
        if self.theirs.time != time {
            self.theirs.set(time, now);
        }
    }

    /// Something has come.
    pub(super) fn hear(&mut self) {
        (self.ours.has_heard, self.theirs.has_heard) = (true, true);
        self.is_asked = false;
    }

    /// When to look at it.
    pub(super) fn at(&self) -> Option<Instant> {
        self.ours.at.into_iter().chain(self.theirs.at).min()
    }

    /// Looks whether a silence has lasted too long. What this side does not read is none, while it `is_blind`.
    pub(super) fn look(&mut self, now: Instant, is_blind: bool) -> Beat {
        if let Some(time) = self.theirs.is_over(now, is_blind) {
            return Beat::Silent(time);
        }
        match self.ours.is_over(now, is_blind) {
            None => Beat::Nothing,
            Some(time) if self.is_asked => Beat::Silent(time),
            Some(time) => {
                self.is_asked = true;
                Beat::Ask(time)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Duration = Duration::from_secs(10);

    fn begun(now: Instant) -> Heartbeat {
        let mut heartbeat = Heartbeat::default();
        heartbeat.begin(Some(TIME), now);
        heartbeat
    }

    #[test]
    fn who_says_nothing_is_asked_and_then_given_up() {
        let start = Instant::now();
        let mut heartbeat = begun(start);
        assert_eq!(heartbeat.at(), Some(start + TIME));
        assert_eq!(heartbeat.look(start, false), Beat::Nothing);
        assert_eq!(heartbeat.look(start + TIME, false), Beat::Ask(TIME));
        assert_eq!(heartbeat.look(start + TIME, false), Beat::Nothing);
        assert_eq!(heartbeat.at(), Some(start + 2 * TIME));
        assert_eq!(heartbeat.look(start + 2 * TIME, false), Beat::Silent(TIME));
    }

    #[test]
    fn who_answers_or_is_not_read_stays() {
        let start = Instant::now();
        let mut heartbeat = begun(start);
        for round in 1..10 {
            let now = start + round * TIME;
            // It is asked each other time, as it answers when it is asked.
            let asked = if round % 2 == 1 {
                Beat::Ask(TIME)
            } else {
                Beat::Nothing
            };
            assert_eq!(heartbeat.look(now, false), asked, "{round}");
            if round % 2 == 1 {
                heartbeat.hear();
            }
        }
        let mut heartbeat = begun(start);
        for round in 1..10 {
            assert_eq!(heartbeat.look(start + round * TIME, true), Beat::Nothing);
        }
    }

    #[test]
    fn a_peer_that_asked_for_it_is_given_up_without_a_question() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::default();
        assert_eq!(heartbeat.at(), None);
        heartbeat.promise(TIME, start);
        heartbeat.hear();
        assert_eq!(heartbeat.look(start + TIME, false), Beat::Nothing);
        // What it says again does not put it off.
        heartbeat.promise(TIME, start + TIME);
        assert_eq!(heartbeat.look(start + 2 * TIME, false), Beat::Silent(TIME));
        heartbeat.promise(Duration::ZERO, start);
        assert_eq!(heartbeat.at(), None);
    }
}
