//! Where calls wait.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use numpush_os::{self as os, Ready};

use crate::deadline::Deadline;
use crate::error::{Error, Operation};
use crate::socket::ending::{ends_the_way, socket_error};
use crate::socket::link::{End, Link, Side};
use crate::socket::medium::Medium;
use crate::socket::write::Progress;

/// A thread that waits for another one, or for memory, looks this often.
const TICK: Duration = Duration::from_millis(10);

/// A call whose time is over goes on for so long if the peer has sent something: it may be what the call waits for.
const GRACE: Duration = Duration::from_millis(20);

impl<M: Medium> Link<M> {
    /// Waits until the socket is ready for `want`, another thread has something for `side`, or `until`. Returns what the
    /// socket is ready for.
    ///
    /// Fails with [`Error::Cancelled`] if the call was cancelled.
    pub(super) fn wait(
        &self,
        side: Side,
        want: Ready,
        until: Option<Instant>,
    ) -> Result<Ready, Error> {
        loop {
            let look = M::NETWORK.then(|| Instant::now() + look_every(self.patience));
            let look = look.filter(|look| until.is_none_or(|until| *look < until));
            let ready = self.wait_once(side, want, look.or(until))?;
            if ready.is_none() {
                self.check_way();
            }
            if ready.is_some() || look.is_none() {
                return Ok(ready.unwrap_or_default());
            }
        }
    }

    /// Waits a moment for what no descriptor reports. Another thread, or `deadline`, ends the wait.
    pub(super) fn rest(&self, side: Side, deadline: Deadline) -> Result<(), Error> {
        self.unused.drop_all();
        let until = deadline.or_sooner(Some(Instant::now() + TICK));
        let bell = self.bell(side);
        let waited = match bell {
            None => os::wait(&[], until),
            Some(bell) => os::wait(&[(bell.as_fd(), Ready::READ)], until),
        };
        let ready = waited.map_err(Error::io(Operation::Wait, &self.peer))?;
        if let Some(bell) = bell.filter(|_| ready.iter().any(|ready| ready.read)) {
            bell.quiet();
        }
        self.check_cancelled()
    }

    /// As [`Self::wait`]; `None` if nothing happened until then.
    fn wait_once(
        &self,
        side: Side,
        want: Ready,
        until: Option<Instant>,
    ) -> Result<Option<Ready>, Error> {
        self.unused.drop_all();
        self.check_cancelled()?;
        let bell = self.bell(side);
        let socket = (self.socket.as_fd(), want);
        let poll = |until| match bell {
            None => os::wait(&[socket], until),
            Some(bell) => os::wait(&[socket, (bell.as_fd(), Ready::READ)], until),
        };
        let mut ready = None;
        // What receives has looked without sleeping before it comes here.
        if side == Side::Send && !self.spin.is_zero() {
            let end = self.sending().spin.end(self.spin, Instant::now());
            let end = until.map_or(end, |until| until.min(end));
            while ready.is_none() && Instant::now() < end {
                let looked = poll(Some(Instant::now()));
                let is_over = |ready: &Vec<Ready>| ready.iter().any(|ready| ready.any());
                ready = looked.map_or_else(
                    |error| Some(Err(error)),
                    |ready| is_over(&ready).then_some(Ok(ready)),
                );
            }
        }
        let ready = ready.unwrap_or_else(|| poll(until));
        let ready = ready.map_err(|error| socket_error(Operation::Wait, &self.peer, error))?;
        if let Some(bell) = bell
            && ready.get(1).is_some_and(|bell| bell.read)
        {
            bell.quiet();
            self.check_cancelled()?;
        }
        let any = ready.iter().any(|ready| ready.any());
        Ok(ready.first().copied().filter(|_| any))
    }

    /// Waits for what lets a message begin: the peer's hello, credit, or acknowledgements.
    pub(super) fn wait_to_send(
        &self,
        operation: Operation,
        deadline: Deadline,
    ) -> Result<(), Error> {
        let mut sending = self.sending();
        let was_drained = sending.session.is_drained();
        sending.session.pay();
        let drained = sending.drain(&self.socket);
        drop(sending);
        let want = match drained {
            // That may have been all that the caller waits for, and then the peer has nothing to say to it.
            Ok(Progress::Done) if !was_drained => return Ok(()),
            Ok(Progress::Done) => Ready::READ,
            Ok(Progress::Full) => Ready::BOTH,
            Err(error) => return Err(self.write_failed(error)),
        };
        self.wait_and_read(operation, want, deadline)
    }

    /// Waits for room in the socket.
    pub(super) fn wait_to_write(
        &self,
        operation: Operation,
        deadline: Deadline,
    ) -> Result<(), Error> {
        self.wait_and_read(operation, Ready::BOTH, deadline)
    }

    /// Waits, and takes in what the peer sends meanwhile.
    fn wait_and_read(
        &self,
        operation: Operation,
        mut want: Ready,
        deadline: Deadline,
    ) -> Result<(), Error> {
        self.check_cancelled()?;
        // What has been read already needs no wait, and what cannot be taken in now is looked at again soon.
        let taken = self.take_in_or_hold(&mut want)?;
        // A call that does not wait has taken in enough.
        let grace = match deadline.is_none() {
            true => Duration::ZERO,
            false => GRACE,
        };
        if taken && deadline.passed_by(grace) {
            // A flood of the peer's must not hide the deadline.
            return Err(deadline.error(operation, &self.peer));
        }
        if taken {
            return Ok(());
        }
        let mut until = deadline.instant();
        if let Ok(mut receiving) = self.receiving.try_lock() {
            // What this call waits for may stand behind what has no room, and who could make some may wait for this call.
            if let Some(source) = receiving.short_for(self.patience) {
                let peer = self.peer.clone();
                return Err(Error::NoRoom { peer, source });
            }
            if let Some(end) = &receiving.end {
                return Err(self.explain(Error::ended(end, &self.peer)));
            }
            until = deadline.or_sooner(receiving.session.deadline());
        }
        if !want.read {
            until = Deadline::after(TICK).or_sooner(until);
        }
        let ready = self.wait(Side::Send, want, until)?;
        if ready.read && !want.read && !want.write {
            // poll(2) reports a hang-up though nobody asked, and what came before it has no room here.
            self.end_if_cut();
            self.sending().broken();
            return Err(self.gone());
        }
        if ready.write
            && want.write
            && let Ok(mut receiving) = self.receiving.try_lock()
        {
            // The peer reads: this call goes on.
            receiving.short = None;
        }
        if ready.read && want.read {
            let mut again = want;
            self.take_in_or_hold(&mut again)?;
        }
        if deadline.has_passed() && !ready.write {
            return Err(deadline.error(operation, &self.peer));
        }
        Ok(())
    }

    /// Takes in what is there. If there is no room for it, or another thread reads, the socket need not be watched for it.
    pub(super) fn take_in_or_hold(&self, want: &mut Ready) -> Result<bool, Error> {
        match self.take_in(Side::Send) {
            Ok(Some(taken)) => Ok(taken),
            Ok(None) | Err(Error::NoRoom { .. }) => {
                want.read = false;
                Ok(false)
            }
            Err(error) => Err(self.explain(error)),
        }
    }

    /// The error of a write. What the peer sent before it hung up can still be received, and its reason is the one to report.
    pub(super) fn write_failed(&self, error: io::Error) -> Error {
        if !ends_the_way(&error) {
            // No memory, for example: nothing of this write went, and the call may be made again.
            return socket_error(Operation::Send, &self.peer, error);
        }
        self.sending().broken();
        if error.kind() == io::ErrorKind::UnexpectedEof {
            // The file of a buffer was truncated while it was sent: half a record cannot be taken back.
            return socket_error(Operation::Send, &self.peer, error);
        }
        match self.take_in(Side::Send) {
            Err(refused @ Error::Refused { .. }) => refused,
            Err(error) if error.is_recoverable() => {
                self.end_if_cut();
                self.gone()
            }
            _ => self.explain(self.gone()),
        }
    }

    /// Ends what comes in if the peer has hung up in the middle of a record for which there is no room: it never comes whole,
    /// and a program that only sends would keep what it has of it.
    fn end_if_cut(&self) {
        let nothing = (self.socket.as_fd(), Ready::default());
        let ended = os::wait(&[nothing], Some(Instant::now()));
        let has_ended = ended.is_ok_and(|ended| ended.first().is_some_and(|ended| ended.read));
        let (true, Ok(mut receiving)) = (has_ended, self.receiving.try_lock()) else {
            return;
        };
        let unread = os::unread(&self.socket).unwrap_or(usize::MAX);
        if receiving.end.is_none() && receiving.session.is_cut(unread as u64) {
            receiving.end(End::Disconnected);
            drop(receiving);
            self.wake(Side::Receive);
        }
    }

    /// The reason that the peer gave, if it gave one, in place of `error`.
    pub(super) fn explain(&self, error: Error) -> Error {
        let Ok(receiving) = self.receiving.try_lock() else {
            return error;
        };
        match &receiving.end {
            Some(end @ End::Refused(_)) => Error::ended(end, &self.peer),
            _ => error,
        }
    }

    /// Hangs up if the peer's kernel has answered nothing for longer than this side's patience, though something was sent:
    /// the calls of both directions find the end then.
    pub(super) fn check_way(&self) {
        let is_cut = || {
            let silence = os::unanswered(&self.socket).unwrap_or_default();
            !silence.is_zero() && silence >= self.patience
        };
        if M::NETWORK && is_cut() {
            let _ = os::hang_up(&self.socket);
        }
    }
}

/// How often a wait looks whether the way to the peer is still there.
pub(crate) fn look_every(patience: Duration) -> Duration {
    (patience / 4).clamp(Duration::from_millis(10), Duration::from_secs(60))
}
