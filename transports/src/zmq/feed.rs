//! What the subscribers of an XPUB want, for its program.

use std::collections::BTreeMap;

/// The topics that are wanted by anybody, and what the program has not been told of them.
///
/// A topic waits once, however often it comes and goes before the program asks, and one that is gone before that is forgotten: what
/// waits is no more than what peers hold, and what the program was told.
#[derive(Debug, Default)]
pub(super) struct Feed {
    topics: BTreeMap<Box<[u8]>, Topic>,
    /// In the order in which they came or went.
    waiting: BTreeMap<u64, Box<[u8]>>,
    next: u64,
}

#[derive(Debug, Default)]
struct Topic {
    /// Subscribers that want it.
    peers: usize,
    /// The program was told that it is wanted.
    is_told: bool,
    /// Its place among those that wait.
    waits: Option<u64>,
}

impl Feed {
    /// One more subscriber wants a topic.
    pub(super) fn add(&mut self, topic: &[u8]) {
        let entry = self.topics.entry(topic.into()).or_default();
        entry.peers += 1;
        self.wait(topic);
    }

    /// One less does.
    pub(super) fn remove(&mut self, topic: &[u8]) {
        if let Some(entry) = self.topics.get_mut(topic) {
            entry.peers = entry.peers.saturating_sub(1);
            if entry.peers > 0 || entry.is_told {
                return self.wait(topic);
            }
            // The program will never have known of it.
            if let Some(place) = entry.waits {
                self.waiting.remove(&place);
            }
            self.topics.remove(topic);
        }
    }

    fn wait(&mut self, topic: &[u8]) {
        if let Some(entry) = self.topics.get_mut(topic)
            && (entry.peers > 0) != entry.is_told
            && entry.waits.is_none()
        {
            self.next += 1;
            entry.waits = Some(self.next);
            self.waiting.insert(self.next, topic.into());
        }
    }

    /// What the program is told next: a 1 and a topic that is wanted from now on, or a 0 and one that is not any more.
    pub(super) fn next(&mut self) -> Option<Vec<u8>> {
        while let Some((_, topic)) = self.waiting.pop_first() {
            let Some(entry) = self.topics.get_mut(&topic) else {
                continue;
            };
            entry.waits = None;
            let is_wanted = entry.peers > 0;
            let is_new = std::mem::replace(&mut entry.is_told, is_wanted) != is_wanted;
            if !is_wanted {
                self.topics.remove(&topic);
            }
            if is_new {
                let mut said = vec![u8::from(is_wanted)];
                said.extend(topic);
                return Some(said);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_subscriber_and_the_last_are_told() {
        let mut feed = Feed::default();
        feed.add(b"a");
        feed.add(b"a");
        feed.add(b"");
        assert_eq!(feed.next().unwrap(), b"\x01a");
        assert_eq!(feed.next().unwrap(), b"\x01");
        assert_eq!(feed.next(), None);
        feed.remove(b"a");
        assert_eq!(feed.next(), None);
        feed.remove(b"a");
        assert_eq!(feed.next().unwrap(), b"\x00a");
        assert_eq!((feed.next(), feed.topics.len()), (None, 1));
    }

    #[test]
    fn what_comes_and_goes_unseen_is_not_told() {
        let mut feed = Feed::default();
        for _ in 0..1000 {
            feed.add(b"a");
            feed.remove(b"a");
        }
        assert_eq!(feed.waiting.len(), 0);
        assert_eq!((feed.next(), feed.topics.len()), (None, 0));
    }

    /// They stayed for ever if the program did not ask.
    #[test]
    fn topics_that_nobody_wants_any_more_are_forgotten() {
        let mut feed = Feed::default();
        for number in 0..1000_u32 {
            feed.add(&number.to_be_bytes());
            feed.remove(&number.to_be_bytes());
        }
        assert_eq!((feed.topics.len(), feed.waiting.len()), (0, 0));
        assert_eq!(feed.next(), None);
    }
}
