//! `numpush recv`: receives messages and writes them to files.

mod folder;
mod names;
mod peers;
mod sink;
mod write;

use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use numpush::Options;
use numpush::shm::Arena;
use numpush::transfer::{Acknowledge, Received};

use crate::args::Recv;
use crate::endpoint::{self, connect_within};
use crate::failure::Failure;
use crate::interrupt::{self, STEP};
use crate::progress::Progress;

use peers::{Event, Peers};
use sink::Sink;

pub(crate) fn run(args: &Recv) -> Result<(), Failure> {
    let timeout = interrupt::seconds(args.options.timeout)?;
    let endpoint = endpoint::parse(&args.endpoint, &args.options)?;
    let is_shared = endpoint::is_endless(&endpoint);
    let mut inbox = Inbox {
        args,
        sink: Sink::open(args)?,
        progress: Progress::new("received", args.json, None),
        // The end of a ZeroMQ sender is not known.
        number: args.number.or_else(|| is_shared.then_some(1)),
        is_one_file: endpoint::is_one_file(&endpoint),
        count: 0,
        bytes: 0,
        open: 0,
        done: 0,
        lost: None,
        otherwise: 0,
    };
    let text = endpoint.to_string();
    let options = options(args.shm, timeout);
    let peers = if args.connect {
        Peers::of(options.connect(&text)?, is_shared)?
    } else {
        let listener = options.listen(&text)?;
        inbox
            .progress
            .announce(&format!("listening at {}", listener.address()));
        Peers::listen(listener, is_shared)?
    };
    let ended = inbox.take(&peers, timeout);
    peers.stop();
    // What came is written, however it ended.
    let finished = inbox.sink.finish();
    inbox.end(ended.and(finished))
}

fn options(shm: bool, timeout: Option<Duration>) -> Options {
    // A message is acknowledged when it is written.
    let options = connect_within(timeout).acknowledge(Acknowledge::OnNextCall);
    if shm {
        options.allocator(Arena::shared())
    } else {
        options
    }
}

struct Inbox<'a> {
    args: &'a Recv,
    sink: Sink,
    progress: Progress,
    /// Messages to take; 0 for all that ever come, `None` until the sender is done.
    number: Option<u64>,
    is_one_file: bool,
    count: u64,
    bytes: u64,
    /// Connections that have not ended.
    open: u64,
    /// Senders that have reported that nothing more comes.
    done: u64,
    /// Why a sender that had begun was not done.
    lost: Option<Failure>,
    /// Messages that were not written as asked.
    otherwise: u64,
}

impl Inbox<'_> {
    /// Takes messages until there are enough, the sender is done, or something ends it.
    fn take(&mut self, peers: &Peers, timeout: Option<Duration>) -> Result<(), Failure> {
        let mut last = Instant::now();
        while self
            .number
            .is_none_or(|number| number == 0 || self.count < number)
        {
            interrupt::check()?;
            match peers.events.recv_timeout(STEP) {
                Ok(event) => {
                    last = Instant::now();
                    if self.is_ended_by(event)? {
                        return Ok(());
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if let Some(after) = timeout.filter(|&timeout| last.elapsed() >= timeout) {
                let what = "nothing was received";
                return Err(Failure::Timeout { what, after });
            }
        }
        Ok(())
    }

    /// True if nothing more is to come.
    fn is_ended_by(&mut self, event: Event) -> Result<bool, Failure> {
        match event {
            Event::Joined => self.open += 1,
            Event::Message { received, kept } => {
                let result = self.keep(*received);
                let _ = kept.send(result.is_ok());
                if let Err(failure) = result {
                    if !self.args.keep_going {
                        return Err(failure);
                    }
                    self.otherwise += 1;
                    self.progress.warn(&failure.chain());
                }
            }
            Event::Trouble(failure) => self.progress.warn(&failure.chain()),
            Event::Ended(failure) => return Err(failure),
            Event::Left { failure, sent } => return self.has_left(failure, sent),
        }
        Ok(false)
    }

    fn has_left(&mut self, failure: Failure, sent: u64) -> Result<bool, Failure> {
        self.open -= 1;
        if failure.is_closed() {
            self.done += 1;
        } else if self.is_one_file || self.args.connect || failure.is_out_of_memory() {
            return Err(self.of_file(failure));
        } else {
            // A peer that fails ends its own connection only. What it had begun is not whole.
            self.progress.warn(&failure.chain());
            if sent > 0 {
                self.lost = Some(failure);
            }
        }
        if self.args.connect || (self.number.is_none() && self.open == 0) {
            return match self.lost.take() {
                Some(_) if self.args.keep_going => Ok(true),
                Some(failure) => Err(failure),
                None => Ok(self.done > 0),
            };
        }
        Ok(false)
    }

    /// Broken contents of a file are the file's fault, not a peer's.
    fn of_file(&self, failure: Failure) -> Failure {
        match failure {
            Failure::Numpush(numpush::Error::InvalidMessage { peer, source })
                if self.is_one_file =>
            {
                Failure::file(peer.as_ref(), "is not a message")(source)
            }
            failure => failure,
        }
    }

    fn keep(&mut self, received: Received) -> Result<(), Failure> {
        let count = self.count + 1;
        let Received {
            message, transfer, ..
        } = received;
        let name = message.attributes.get("name").cloned();
        let name = name.unwrap_or_else(|| count.to_string());
        let report = self.progress.report(&name, &message, &transfer);
        let otherwise = self.sink.keep(message, count)?;
        self.count = count;
        if self.number == Some(count) {
            // An output for all messages is finished before the last of them is acknowledged.
            self.sink.finish()?;
        }
        self.bytes += transfer.bytes;
        self.progress.moved(&report, transfer.bytes)?;
        if let Some(how) = otherwise {
            self.otherwise += 1;
            self.progress.warn(&how);
        }
        Ok(())
    }

    fn end(self, ended: Result<(), Failure>) -> Result<(), Failure> {
        let Self { count, bytes, .. } = self;
        if matches!(self.sink, Sink::Nowhere) && !self.args.json {
            let text = format!(
                "received {count} messages of {bytes} bytes and wrote none: name a file with -o"
            );
            self.progress.note(&text);
        }
        self.progress.finish();
        ended?;
        if let Some(number) = self.args.number.filter(|&number| count < number) {
            let text = format!("the sender is done after {count} of {number} messages");
            return Err(Failure::Connection(text));
        }
        if self.otherwise > 0 {
            let text = format!(
                "{} of {count} messages were not written as asked",
                self.otherwise
            );
            return Err(Failure::Partial(text));
        }
        if let Sink::Shared(values) = &self.sink
            && !values.is_empty()
        {
            // The memory is this process's: it is there as long as the process is.
            interrupt::wait();
        }
        Ok(())
    }
}
