//! Progress: a bar in bytes on a terminal, JSON on request, otherwise one line for each message.

use std::cell::Cell;
use std::io::IsTerminal;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use numpush::transfer::Meter;
use numpush::{Message, Transfer};

use crate::failure::Failure;
use crate::output::out;
use crate::transfer_report;

/// How often the bar looks how far a message is.
const TICK: Duration = Duration::from_millis(100);

/// A message from this size on is followed while it goes.
const LARGE: u64 = 1 << 20;

/// Shows how transfers go.
pub(crate) struct Progress {
    direction: &'static str,
    json: bool,
    bar: Option<ProgressBar>,
    /// Bytes of the messages that have gone.
    done: Cell<u64>,
}

/// Moves the bar while one message goes, until it is dropped.
#[must_use]
pub(crate) struct Following {
    thread: Option<JoinHandle<()>>,
    end: Option<Sender<()>>,
}

impl Drop for Following {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Progress {
    /// `total` is the number of bytes that will go, as far as it is known.
    pub(crate) fn new(direction: &'static str, json: bool, total: Option<u64>) -> Self {
        let bar = (!json && std::io::stderr().is_terminal()).then(|| {
            let bar = total.map_or_else(ProgressBar::no_length, ProgressBar::new);
            let template = match total {
                Some(_) => "{prefix} [{bar:32}] {bytes}/{total_bytes} {bytes_per_sec}",
                None => "{prefix} {spinner} {bytes} {bytes_per_sec}",
            };
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.with_prefix(direction)
        });
        Self {
            direction,
            json,
            bar,
            done: Cell::new(0),
        }
    }

    /// What to print about a message when it has gone.
    pub(crate) fn report(&self, name: &str, message: &Message<'_>, transfer: &Transfer) -> String {
        if self.json {
            return transfer_report::to_json(self.direction, name, message, transfer).to_string();
        }
        let what = transfer_report::describe(message);
        format!("{} {name}: {what} ({transfer})", self.direction)
    }

    /// Moves the bar with what `meter` counts of a message of `bytes` that begins to go; `None` if nobody would see it.
    pub(crate) fn follow(&self, meter: Option<Meter>, bytes: u64) -> Option<Following> {
        let bar = self.bar.clone().filter(|_| bytes >= LARGE)?;
        let meter = meter?;
        let (done, before) = (self.done.get(), meter.written());
        let (end, ended) = channel::<()>();
        let work = move || {
            while ended.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                let written = meter.written() - before;
                bar.set_position(done + written.min(bytes));
            }
        };
        let thread = std::thread::Builder::new().name("progress".into());
        Some(Following {
            thread: Some(thread.spawn(work).ok()?),
            end: Some(end),
        })
    }

    /// One message of this many bytes went.
    pub(crate) fn moved(&self, report: &str, bytes: u64) -> Result<(), Failure> {
        self.done.set(self.done.get() + bytes);
        if let Some(bar) = &self.bar {
            bar.set_position(self.done.get());
        }
        if self.json {
            return out!("{report}\n");
        }
        self.say(report);
        Ok(())
    }

    /// Takes bytes that are not sent after all out of the total.
    pub(crate) fn skip(&self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.set_length(bar.length().unwrap_or(0).saturating_sub(bytes));
            bar.set_position(self.done.get());
        }
    }

    /// A line for a person, or for a program that waits for it.
    pub(crate) fn announce(&self, line: &str) {
        if self.json {
            self.warn(line);
        } else {
            self.say(line);
        }
    }

    /// A line for a person: on the terminal only.
    #[expect(clippy::print_stderr, reason = "a line for a person, where the bar is")]
    fn say(&self, line: &str) {
        if let Some(bar) = &self.bar {
            bar.suspend(|| eprintln!("{line}"));
        }
    }

    /// Reports a failure that does not end the command.
    pub(crate) fn warn(&self, line: &str) {
        self.note(&format!("numpush: {line}"));
    }

    /// A line on standard error, terminal or not.
    #[expect(clippy::print_stderr, reason = "that is what it is for")]
    pub(crate) fn note(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }

    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish();
        }
    }
}
