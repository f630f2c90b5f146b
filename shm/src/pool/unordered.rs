use std::collections::HashMap;
use std::fmt;
use std::iter::Fuse;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::pool::encoded::Encoded;
use crate::pool::error::TaskError;
use crate::pool::ongoing::{Event, Ongoing};

/// The results of [`Pool::map_unordered`](crate::Pool::map_unordered) as they come: an iterator over the number of an
/// item and its result, `(usize, Result<R, TaskError>)`.
///
/// It takes the items as workers need them, a few ahead, and keeps an item until its task has ended. Workers are given
/// tasks while a thread is in a call of the pool, `next` for example: during a long loop body each worker finishes what
/// it has.
///
/// Its drop cancels the tasks that have not begun, and forgets the results of the others. It waits for none of them.
#[must_use = "it takes no item before its first `next`"]
pub struct Unordered<I: Iterator, R> {
    // Dropped before the items, which its tasks may need.
    call: Ongoing,
    /// The items whose tasks have not ended: workers may have them open.
    kept: HashMap<usize, I::Item>,
    items: Fuse<I>,
    /// Number of items taken.
    taken: usize,
    more: bool,
    /// Why the argument that all tasks share cannot be sent.
    fault: Option<String>,
    result: PhantomData<fn() -> R>,
}

/// Most items that are encoded before the first of them is sent.
const BATCH: usize = 16;

impl<I: Iterator<Item: Serialize>, R: DeserializeOwned> Unordered<I, R> {
    pub(super) fn new(call: Ongoing, items: I, fault: Option<String>) -> Self {
        Self {
            call,
            kept: HashMap::new(),
            items: items.fuse(),
            taken: 0,
            more: true,
            fault,
            result: PhantomData,
        }
    }

    /// Gives the pool up to `room` more items.
    fn fill(&mut self, room: usize) {
        let mut tasks = Vec::with_capacity(room.min(BATCH));
        while tasks.len() < room.min(BATCH) {
            let Some(item) = self.items.next() else {
                self.more = false;
                break;
            };
            let arguments = match &self.fault {
                None => Encoded::of(&item),
                Some(fault) => Err(fault.clone()),
            };
            tasks.push((self.taken, arguments));
            self.kept.insert(self.taken, item);
            self.taken += 1;
        }
        self.call.add(tasks);
    }

    pub(super) fn in_order(mut self) -> Vec<Result<R, TaskError>> {
        let mut results: Vec<Option<Result<R, TaskError>>> = Vec::new();
        for (number, result) in self.by_ref() {
            if results.len() <= number {
                results.resize_with(number + 1, || None);
            }
            results[number] = Some(result);
        }
        let lost = || Err(self.call.lost());
        let results = results.into_iter();
        results.map(|result| result.unwrap_or_else(lost)).collect()
    }
}

impl<I: Iterator<Item: Serialize>, R: DeserializeOwned> Iterator for Unordered<I, R> {
    type Item = (usize, Result<R, TaskError>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.call.next(self.more, None)? {
                Event::Room(room) => self.fill(room),
                Event::Over => return None,
                Event::Forked if self.more => {
                    self.more = false;
                    return Some((self.taken, Err(self.call.lost())));
                }
                Event::Forked => return None,
                Event::Ended(number, outcome) => {
                    let result = self.call.decode(outcome);
                    drop(self.kept.remove(&number));
                    return Some((number, result));
                }
            }
        }
    }
}

impl<I: Iterator, R> fmt::Debug for Unordered<I, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (task, kept) = (self.call.task, self.kept.len());
        write!(f, "Unordered({task}: {kept} of {} not ended)", self.taken)
    }
}
