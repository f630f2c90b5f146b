//! What the subscribers of an XPUB want, for its program.

use std::collections::{BTreeMap, VecDeque};

/// The topics that are wanted by anybody, and what the program has not been told of them.
///
/// A topic waits once, however often it comes and goes before the program asks: what waits is no more than what peers hold.
#[derive(Debug, Default)]
pub(super) struct Feed {
    topics: BTreeMap<Box<[u8]>, Topic>,
    waiting: VecDeque<Box<[u8]>>,
}

#[derive(Debug, Default)]
struct Topic {
    /// Subscribers that want it.
    peers: usize,
    /// The program was told that it is wanted.
    is_told: bool,
    is_waiting: bool,
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
            self.wait(topic);
        }
    }

    fn wait(&mut self, topic: &[u8]) {
        if let Some(entry) = self.topics.get_mut(topic)
            && (entry.peers > 0) != entry.is_told
            && !std::mem::replace(&mut entry.is_waiting, true)
        {
            self.waiting.push_back(topic.into());
        }
    }

    /// What the program is told next: a 1 and a topic that is wanted from now on, or a 0 and one that is not any more.
    pub(super) fn next(&mut self) -> Option<Vec<u8>> {
        while let Some(topic) = self.waiting.pop_front() {
            let Some(entry) = self.topics.get_mut(&topic) else {
                continue;
            };
            entry.is_waiting = false;
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
        assert_eq!(feed.waiting.len(), 1);
        assert_eq!((feed.next(), feed.topics.len()), (None, 0));
    }
}
