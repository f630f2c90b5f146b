use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};
use numpush::{Message, Transfer};

use crate::ledger;

/// Tells how it goes: a bar with the rate on a terminal, JSON where asked for, else nothing but what was done.
pub(crate) struct Progress {
    direction: &'static str,
    json: bool,
    bar: Option<ProgressBar>,
}

impl Progress {
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

    /// One message went.
    #[expect(clippy::print_stdout, reason = "the ledger is what the user asked for")]
    pub(crate) fn moved(&self, name: &str, message: &Message<'_>, transfer: &Transfer) {
        if let Some(bar) = &self.bar {
            bar.inc(transfer.bytes);
        }
        if self.json {
            println!(
                "{}",
                ledger::to_json(self.direction, name, message, transfer)
            );
        } else {
            self.say(&format!(
                "{} {name}: {} ({transfer})",
                self.direction,
                ledger::describe(message)
            ));
        }
    }

    /// A line for a person: on the terminal only.
    #[expect(clippy::print_stderr, reason = "a line for a person, where the bar is")]
    pub(crate) fn say(&self, line: &str) {
        if let Some(bar) = &self.bar {
            bar.suspend(|| eprintln!("{line}"));
        }
    }

    /// Something went wrong that does not end the command.
    #[expect(
        clippy::print_stderr,
        reason = "a warning belongs on standard error, terminal or not"
    )]
    pub(crate) fn warn(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("numpush: {line}")),
            None => eprintln!("numpush: {line}"),
        }
    }

    pub(crate) fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish();
        }
    }
}
