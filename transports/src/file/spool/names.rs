//! How the entries of a spool are called.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

/// One side of a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Side {
    letter: char,
}

pub(super) static CONNECTOR: Side = Side { letter: 'c' };
pub(super) static LISTENER: Side = Side { letter: 'l' };

/// Locked by the connector while it lives, and removed when it leaves.
pub(super) const CONNECTOR_LOCK: &str = "connector";
/// The listener's lock before anybody has accepted, and after.
pub(super) const WAITING: &str = "waiting";
pub(super) const LISTENER_LOCK: &str = "listener";

/// Before the name of a connection: it is complete, it is being made, it is being removed.
pub(super) const LINK: &str = "link-";
pub(super) const NEW: &str = ".new-";
pub(super) const GONE: &str = ".gone-";

impl Side {
    /// Message `number` of this side.
    pub(super) fn message(&self, number: u64) -> String {
        format!("{}-{number}.np", self.letter)
    }

    /// The file of message `number`, which was received, for this side to write over.
    pub(super) fn free(&self, number: u64) -> String {
        format!("{}-{number}.free", self.letter)
    }

    /// This side has closed, and `number` would have been its next message.
    pub(super) fn end(&self, number: u64) -> String {
        format!("{}-{number}.end", self.letter)
    }

    /// Message `number` while it is written.
    pub(super) fn draft(&self, number: u64) -> String {
        format!(".{}-{number}", self.letter)
    }

    /// The lowest number of a message of this side in a listing.
    pub(super) fn first_message(&self, names: &[String]) -> Option<u64> {
        self.numbers(names, ".np").min()
    }

    /// The number of the end of this side in a listing.
    pub(super) fn ended_at(&self, names: &[String]) -> Option<u64> {
        self.numbers(names, ".end").min()
    }

    fn numbers(&self, names: &[String], ending: &'static str) -> impl Iterator<Item = u64> {
        let number = move |name: &String| {
            let rest = name.strip_prefix(self.letter)?.strip_prefix('-')?;
            let digits = rest.strip_suffix(ending)?;
            // A name that we would not write is no number.
            let number = digits.parse().ok().filter(|&number| number > 0);
            number.filter(|number: &u64| number.to_string() == digits)
        };
        names.iter().filter_map(number)
    }
}

/// A name for a connection, which no other has: names sort by the time of their making.
pub(super) fn unique() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let (process, count) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    format!("{:020}-{process}-{count}", since.as_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_we_write_are_numbers() {
        let names = [
            "c-0.np", "c-07.np", "c-+8.np", "c-9.npy", "l-2.np", "c-12.np", "c-4.end", ".c-3",
        ]
        .map(String::from);
        assert_eq!(CONNECTOR.first_message(&names), Some(12));
        assert_eq!(CONNECTOR.ended_at(&names), Some(4));
        assert_eq!(LISTENER.first_message(&names), Some(2));
        assert_eq!(LISTENER.ended_at(&names), None);
    }

    #[test]
    fn later_names_sort_last() {
        let names: Vec<_> = (0..3).map(|_| unique()).collect();
        let times: Vec<_> = names.iter().map(|name| &name[..20]).collect();
        assert!(times.is_sorted());
        assert_ne!(names[0], names[1]);
    }
}
