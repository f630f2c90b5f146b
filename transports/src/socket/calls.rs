//! The calls of a connection over a stream socket, and its end.

use std::io::{self, IoSlice};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use numpush_message::{Message, RecordKind};
use numpush_os::{self as os, Ready};

use crate::error::{Error, Operation};
use crate::socket::medium::Medium;
use crate::socket::stream::Stream;
use crate::transfer::{Capabilities, Received, Transfer};
use crate::transport::{Context, Transport};

impl<M: Medium> Transport for Stream<M> {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            two_way: true,
            acknowledges: true,
            notices_death: true,
            limits_size: true,
            passes_descriptors: M::DESCRIPTORS,
            fills_allocator: !M::DESCRIPTORS,
        }
    }

    fn send(&mut self, message: &Message<'_>, cx: &mut Context<'_>) -> Result<Transfer, Error> {
        self.ready(cx)?;
        let result = self.send_message(message, cx);
        self.fail_unless_recoverable(result)
    }

    fn recv(&mut self, cx: &mut Context<'_>) -> Result<Received, Error> {
        self.incoming.finish();
        if let Some(received) = self.incoming.take_message() {
            return Ok(received);
        }
        self.ready(cx)?;
        let result = self.next_message(cx);
        self.fail_unless_recoverable(result)
    }

    fn flush(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        self.incoming.finish();
        self.ready(cx)?;
        let result = self.flush_messages(Operation::Flush, cx);
        self.fail_unless_recoverable(result)
    }

    fn close(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        self.incoming.finish();
        self.ready(cx)?;
        let result = self.close_outgoing(cx);
        self.fail_unless_recoverable(result)
    }
}

/// How long a dropped connection that has messages on their way waits for the peer to take them.
const LINGER: Duration = Duration::from_secs(2);

impl<M: Medium> Drop for Stream<M> {
    /// Leaves in good order, without waiting long: the kernel throws away what it has not sent if bytes of the peer
    /// (its acknowledgements) are unread, so they are read first.
    fn drop(&mut self) {
        if self.failed || self.outgoing.closed {
            return;
        }
        if !self.incoming.is_unfinished() {
            self.queue_control(true);
        }
        self.outgoing
            .queue(RecordKind::Close, self.outgoing.next_id - 1);
        let until = Instant::now() + LINGER;
        let mut scratch = [0; 4096];
        while Instant::now() < until && !self.outgoing.control.is_empty() {
            match os::send(&self.socket, &[IoSlice::new(&self.outgoing.control)], false) {
                Ok(count) => drop(self.outgoing.control.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let _ = os::wait(&[(self.socket.as_fd(), Ready::WRITE)], Some(until));
                }
                Err(_) => return,
            }
        }
        let _ = os::end_writing(&self.socket);
        // Once the peer's kernel has it all, nothing can be thrown away.
        while !M::KEEPS_SENT
            && Instant::now() < until
            && os::unacknowledged(&self.socket).is_ok_and(|bytes| bytes > 0)
        {
            let soon = Instant::now() + Duration::from_millis(1);
            let ready = os::wait(&[(self.socket.as_fd(), Ready::READ)], Some(soon));
            let readable = ready.is_ok_and(|ready| ready.first().is_some_and(|ready| ready.read));
            if readable && !matches!(os::receive(&self.socket, &mut scratch, false), Ok(1..)) {
                return;
            }
        }
    }
}
