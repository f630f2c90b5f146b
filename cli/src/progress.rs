//! Progress: a bar in bytes on a terminal, JSON on request, otherwise one line for each message.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};
use numpush::{Message, Transfer};

use crate::failure::Failure;
use crate::output::out;
use crate::transfer_report;

/// Shows how transfers go.
pub(crate) struct Progress {
    direction: &'static str,
    json: bool,
    bar: Option<ProgressBar>,
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

    /// One message of this many bytes went.
    pub(crate) fn moved(&self, report: &str, bytes: u64) -> Result<(), Failure> {
        if let Some(bar) = &self.bar {
            bar.inc(bytes);
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
