//! Values that their owner wants back, and the clients that have not answered yet.

use std::collections::HashSet;
use std::sync::mpsc::SyncSender;

/// A value that is wanted back.
#[derive(Debug)]
struct Recall {
    number: u64,
    /// The clients that have not answered.
    open: HashSet<u64>,
    done: SyncSender<bool>,
}

/// All values that are wanted back.
#[derive(Debug, Default)]
pub(super) struct Recalls(Vec<Recall>);

impl Recalls {
    /// Notes that the clients `open` are asked for value `number`.
    pub(super) fn begin(&mut self, number: u64, open: HashSet<u64>, done: SyncSender<bool>) {
        let recall = Recall { number, open, done };
        self.0.push(recall);
        self.answer();
    }

    /// Client `token` does not have value `number` any more.
    pub(super) fn closed(&mut self, token: u64, number: u64) {
        let same = self.0.iter_mut().filter(|recall| recall.number == number);
        same.for_each(|recall| {
            recall.open.remove(&token);
        });
        self.answer();
    }

    /// Client `token` does not have any value any more.
    pub(super) fn ended(&mut self, token: u64) {
        for recall in &mut self.0 {
            recall.open.remove(&token);
        }
        self.answer();
    }

    /// Client `token` uses value `number`.
    pub(super) fn in_use(&mut self, token: u64, number: u64) {
        self.0.retain(|recall| {
            let refused = recall.number == number && recall.open.contains(&token);
            if refused {
                // Whoever asked has waited long enough, perhaps.
                let _ = recall.done.try_send(false);
            }
            !refused
        });
    }

    fn answer(&mut self) {
        self.0.retain(|recall| {
            let is_done = recall.open.is_empty();
            if is_done {
                let _ = recall.done.try_send(true);
            }
            !is_done
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::sync_channel;

    #[test]
    fn all_clients_answer_or_one_refuses() {
        let mut recalls = Recalls::default();
        let (done, answer) = sync_channel(1);
        recalls.begin(7, HashSet::from([1, 2]), done.clone());
        recalls.closed(1, 7);
        recalls.closed(2, 8);
        assert!(answer.try_recv().is_err());
        recalls.ended(2);
        assert_eq!(answer.try_recv(), Ok(true));
        recalls.begin(7, HashSet::from([1]), done.clone());
        recalls.in_use(2, 7);
        assert!(answer.try_recv().is_err());
        recalls.in_use(1, 7);
        assert_eq!(answer.try_recv(), Ok(false));
        recalls.begin(7, HashSet::new(), done);
        assert_eq!(answer.try_recv(), Ok(true));
    }
}
