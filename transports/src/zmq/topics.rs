//! What a subscriber wants.

use std::collections::BTreeMap;

use numpush_zmtp::Fault;

/// Most topics of one peer, and most bytes of them.
const MOST: usize = 10_000;
const MOST_BYTES: usize = 1 << 20;

/// The topics of one peer, each as often as it was asked for.
#[derive(Debug, Default)]
pub(super) struct Topics {
    counts: BTreeMap<Box<[u8]>, u32>,
    /// How many of them have each length.
    lens: BTreeMap<usize, usize>,
    bytes: usize,
}

impl Topics {
    /// Messages are wanted that begin so. Returns true if they were not before.
    pub(super) fn add(&mut self, topic: &[u8]) -> Result<bool, Fault> {
        if let Some(count) = self.counts.get_mut(topic) {
            *count = count.saturating_add(1);
            return Ok(false);
        }
        over("topics of one peer", self.counts.len() + 1, MOST)?;
        over(
            "the bytes of its topics",
            self.bytes + topic.len(),
            MOST_BYTES,
        )?;
        self.bytes += topic.len();
        self.counts.insert(topic.into(), 1);
        *self.lens.entry(topic.len()).or_default() += 1;
        Ok(true)
    }

    /// They are wanted once less. Returns true if they are not wanted any more.
    pub(super) fn remove(&mut self, topic: &[u8]) -> bool {
        let Some(count) = self.counts.get_mut(topic) else {
            return false;
        };
        *count -= 1;
        let is_last = *count == 0;
        if is_last {
            self.counts.remove(topic);
            self.bytes -= topic.len();
            if let Some(of_len) = self.lens.get_mut(&topic.len()) {
                *of_len -= 1;
                if *of_len == 0 {
                    self.lens.remove(&topic.len());
                }
            }
        }
        is_last
    }

    /// All that are wanted.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.counts.keys().map(|topic| &**topic)
    }

    /// True if nothing is wanted.
    pub(super) fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// True if a message is wanted that begins with `start`.
    pub(super) fn want(&self, start: &[u8]) -> bool {
        // One search for each length that there is.
        let mut lens = self.lens.range(..=start.len());
        lens.any(|(len, _)| {
            let start = start.get(..*len);
            start.is_some_and(|start| self.counts.contains_key(start))
        })
    }
}

fn over(what: &'static str, value: usize, limit: usize) -> Result<(), Fault> {
    if value <= limit {
        return Ok(());
    }
    Err(Fault::OverLimit {
        what,
        value: value as u64,
        limit: limit as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_wanted_as_often_as_it_was_asked_for() {
        let mut topics = Topics::default();
        assert!(!topics.want(b"abc"));
        topics.add(b"ab").unwrap();
        topics.add(b"ab").unwrap();
        topics.add(b"x").unwrap();
        assert!(topics.want(b"abc") && topics.want(b"ab") && !topics.want(b"a"));
        topics.remove(b"ab");
        topics.remove(b"never");
        assert!(topics.want(b"abc"));
        topics.remove(b"ab");
        assert!(!topics.want(b"abc") && topics.want(b"xyz"));
        assert_eq!(topics.lens, BTreeMap::from([(1, 1)]));
        topics.add(b"").unwrap();
        assert!(topics.want(b""));
    }

    #[test]
    fn topics_are_bounded() {
        let mut topics = Topics::default();
        assert!(topics.add(&vec![0; MOST_BYTES + 1]).is_err());
        for number in 0..MOST {
            topics.add(&number.to_le_bytes()).unwrap();
        }
        assert!(topics.add(b"one more").is_err());
    }
}
