//! The tasks that wait for a worker, of all calls of a pool.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::pool::call::{Call, Common, Outcome, Waiting};
use crate::pool::encoded::Encoded;
use crate::pool::error::TaskError;
use crate::pool::frames::MAX_FRAME;
use crate::pool::options::TaskOptions;
use crate::pool::protocol::{call_len, too_long};
use crate::pool::wake::Wake;

/// The calls of a pool. They take turns: a call with one task does not wait for one with a thousand.
#[derive(Debug, Default)]
pub(super) struct Queue {
    calls: BTreeMap<u64, Call>,
    last_id: u64,
    /// The calls with tasks that wait, the next first.
    turns: VecDeque<u64>,
}

impl Queue {
    pub(super) fn begin(
        &mut self,
        task: &'static str,
        argument: Option<Encoded>,
        options: TaskOptions,
        wake: &Arc<Wake>,
    ) -> u64 {
        self.last_id += 1;
        let id = self.last_id;
        let common = Common {
            id,
            task,
            argument,
            options,
        };
        let call = Call::new(Arc::new(common), Arc::clone(wake));
        self.calls.insert(id, call);
        id
    }

    pub(super) fn call(&mut self, id: u64) -> Option<&mut Call> {
        self.calls.get_mut(&id)
    }

    /// Adds a task to a call, or the error of one whose arguments cannot be sent.
    pub(super) fn add(&mut self, id: u64, number: usize, arguments: Result<Encoded, String>) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        let task = call.common.task;
        let fits = |arguments: Encoded| {
            let argument = call.common.argument.as_ref();
            let argument = argument.map(|argument| argument.bytes.as_slice());
            let len = call_len(task, &arguments.bytes, argument);
            (len <= MAX_FRAME)
                .then_some(arguments)
                .ok_or_else(|| too_long("arguments"))
        };
        match arguments.and_then(fits) {
            Ok(arguments) => {
                if call.waiting.is_empty() {
                    self.turns.push_back(id);
                }
                call.waiting.push_back(Waiting { number, arguments });
            }
            Err(fault) => call.end(
                number,
                Err(TaskError::Arguments {
                    task: task.into(),
                    fault,
                }),
            ),
        }
    }

    /// The call whose turn it is, and whether others wait too.
    pub(super) fn first(&self) -> Option<(&Call, bool)> {
        let call = self.calls.get(self.turns.front()?)?;
        Some((call, self.turns.len() > 1))
    }

    /// Takes a task of the call whose turn it is, for a worker.
    pub(super) fn draw(&mut self) -> Option<(Arc<Common>, Waiting)> {
        let call = self.calls.get_mut(self.turns.front()?)?;
        let task = call.waiting.pop_front()?;
        call.out += 1;
        let common = Arc::clone(&call.common);
        if call.waiting.is_empty() {
            self.turns.pop_front();
        }
        Some((common, task))
    }

    /// Ends the turn of call `id`.
    pub(super) fn end_turn(&mut self, id: u64) {
        if self.turns.front() == Some(&id) {
            self.turns.rotate_left(1);
        }
    }

    /// Puts a task back in front, because its worker has died before the task began.
    pub(super) fn put_back(&mut self, common: &Common, task: Waiting) {
        let Some(call) = self.calls.get_mut(&common.id) else {
            return;
        };
        call.out -= 1;
        if call.abandoned {
            return self.forget_if_over(common.id);
        }
        if call.waiting.is_empty() {
            self.turns.push_front(common.id);
        }
        call.waiting.push_front(task);
    }

    /// Notes what became of a task that a worker had.
    pub(super) fn end(&mut self, common: &Common, number: usize, outcome: Outcome) {
        if let Some(call) = self.calls.get_mut(&common.id) {
            call.out -= 1;
            call.end(number, outcome);
            if call.abandoned {
                self.forget_if_over(common.id);
            }
        }
    }

    /// Ends every task that waits: no worker will ever run it.
    pub(super) fn fail_all(&mut self, fault: &str) {
        for id in std::mem::take(&mut self.turns) {
            let Some(call) = self.calls.get_mut(&id) else {
                continue;
            };
            for Waiting { number, arguments } in std::mem::take(&mut call.waiting) {
                arguments.parts.give_up();
                let error = TaskError::NoWorker {
                    task: call.common.task.into(),
                    fault: fault.into(),
                };
                call.end(number, Err(error));
            }
        }
    }

    /// Forgets the tasks of a call that wait, and the results of all others. Returns the tasks that waited.
    pub(super) fn abandon(&mut self, id: u64) -> VecDeque<Waiting> {
        let Some(call) = self.calls.get_mut(&id) else {
            return VecDeque::new();
        };
        call.abandoned = true;
        call.ended.clear();
        let waiting = std::mem::take(&mut call.waiting);
        self.turns.retain(|&other| other != id);
        self.forget_if_over(id);
        waiting
    }

    /// True if tasks wait.
    pub(super) fn has_waiting(&self) -> bool {
        !self.turns.is_empty()
    }

    fn forget_if_over(&mut self, id: u64) {
        if self.calls.get(&id).is_some_and(Call::is_over) {
            self.calls.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(queue: &mut Queue, count: usize) -> u64 {
        let id = queue.begin("f", None, TaskOptions::new(), &Arc::default());
        (0..count).for_each(|number| queue.add(id, number, Ok(Encoded::default())));
        id
    }

    #[test]
    fn calls_take_turns() {
        let mut queue = Queue::default();
        let (long, short) = (add(&mut queue, 3), add(&mut queue, 1));
        let mut drawn = Vec::new();
        while let Some((common, task)) = queue.draw() {
            queue.end_turn(common.id);
            drawn.push((common.id, task.number));
        }
        assert_eq!(drawn, [(long, 0), (short, 0), (long, 1), (long, 2)]);
    }

    #[test]
    fn a_task_that_was_put_back_is_the_next() {
        let mut queue = Queue::default();
        let id = add(&mut queue, 2);
        let (common, task) = queue.draw().unwrap();
        queue.put_back(&common, task);
        assert_eq!(queue.draw().unwrap().1.number, 0);
        let (common, task) = queue.draw().unwrap();
        assert!(!queue.has_waiting());
        queue.put_back(&common, task);
        assert_eq!((queue.draw().unwrap().1.number, common.id), (1, id));
    }

    #[test]
    fn an_abandoned_call_is_forgotten_with_its_last_task() {
        let mut queue = Queue::default();
        let id = add(&mut queue, 2);
        let (common, task) = queue.draw().unwrap();
        assert_eq!(queue.abandon(id).len(), 1);
        assert!(!queue.has_waiting() && queue.call(id).is_some());
        queue.end(&common, task.number, Ok(Encoded::default()));
        assert!(queue.call(id).is_none());
    }

    #[test]
    fn arguments_over_the_limit_are_an_error_of_their_task() {
        let mut queue = Queue::default();
        let id = queue.begin("f", None, TaskOptions::new(), &Arc::default());
        let bytes = vec![0; MAX_FRAME];
        let values = Vec::new();
        queue.add(
            id,
            0,
            Ok(Encoded {
                bytes,
                values,
                ..Encoded::default()
            }),
        );
        let call = queue.call(id).unwrap();
        assert!(call.waiting.is_empty());
        let ended = call.ended.pop_front();
        assert!(matches!(ended, Some((0, Err(TaskError::Arguments { .. })))));
    }
}
