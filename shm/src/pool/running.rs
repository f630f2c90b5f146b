use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;

use serde::de::DeserializeOwned;

use crate::pool::Pool;
use crate::pool::error::TaskError;
use crate::pool::process::{Worker, wait_for_one};

/// Tasks of one function that wait, and workers that run some of them.
pub(super) struct Running<'p> {
    pool: &'p Pool,
    name: &'static str,
    waiting: VecDeque<(usize, Result<Vec<u8>, TaskError>)>,
    busy: Vec<(usize, Worker)>,
    /// Workers of ours that have nothing to do yet.
    free: Vec<Worker>,
}

impl<'p> Running<'p> {
    pub(super) fn new(
        pool: &'p Pool,
        name: &'static str,
        calls: impl Iterator<Item = Result<Vec<u8>, rmp_serde::encode::Error>>,
    ) -> Self {
        let fault = |error: rmp_serde::encode::Error| TaskError::Arguments {
            task: name.into(),
            fault: error.to_string(),
        };
        let waiting: VecDeque<_> = calls.map(|call| call.map_err(fault)).enumerate().collect();
        let free = if waiting.is_empty() {
            Vec::new()
        } else {
            pool.take(waiting.len())
        };
        Self {
            pool,
            name,
            waiting,
            busy: Vec::new(),
            free,
        }
    }

    /// The next task that has ended.
    fn next(&mut self) -> Option<(usize, Result<Vec<u8>, TaskError>)> {
        if let Some(failed) = self.dispatch() {
            return Some(failed);
        }
        if self.busy.is_empty() {
            // Whatever still waits has nobody to wait for.
            let (number, _) = self.waiting.pop_front()?;
            return Some((
                number,
                Err(TaskError::NoWorker {
                    task: self.name.into(),
                }),
            ));
        }
        let workers: Vec<&Worker> = self.busy.iter().map(|(_, worker)| worker).collect();
        let (at, alone) = (wait_for_one(&workers), workers.len() == 1);
        let (number, mut worker) = self.busy.swap_remove(at);
        worker.channel.set_eager(alone);
        if let Some(result) = worker.result(self.name) {
            self.rest(worker);
            return Some((number, result));
        }
        self.pool.bury(worker.child.id());
        let error = worker.post_mortem(self.name);
        if let Some(worker) = self.pool.replace() {
            self.rest(worker);
        }
        Some((number, Err(error)))
    }

    /// Gives every free worker a task. A task whose arguments cannot be sent has ended.
    fn dispatch(&mut self) -> Option<(usize, Result<Vec<u8>, TaskError>)> {
        while !self.waiting.is_empty()
            && let Some(mut worker) = self.free.pop()
        {
            // One that died while it had nothing to do takes no task with it.
            if worker.has_ended() {
                self.pool.bury(worker.child.id());
                worker.end();
                self.free.extend(self.pool.replace());
                continue;
            }
            let Some((number, call)) = self.waiting.pop_front() else {
                break;
            };
            match call.and_then(|call| worker.call(self.name, &call)) {
                Ok(()) => self.busy.push((number, worker)),
                Err(error) => {
                    self.free.push(worker);
                    return Some((number, Err(error)));
                }
            }
        }
        None
    }

    /// Keeps a worker for the next task, or lets others have it if there is none.
    fn rest(&mut self, worker: Worker) {
        if self.waiting.is_empty() {
            self.pool.give(worker)
        } else {
            self.free.push(worker)
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.waiting.clear();
        while self.next().is_some() {}
        for worker in self.free.drain(..) {
            self.pool.give(worker);
        }
    }
}

/// Results as they come, each with the number of its item.
pub struct Unordered<'p, I, R> {
    running: Running<'p>,
    /// Kept while workers have them open.
    items: Vec<I>,
    result: PhantomData<fn() -> R>,
}

impl<'p, I, R: DeserializeOwned> Unordered<'p, I, R> {
    pub(super) fn new(running: Running<'p>, items: Vec<I>) -> Self {
        Self {
            running,
            items,
            result: PhantomData,
        }
    }

    pub(super) fn in_order(self) -> Vec<Result<R, TaskError>> {
        let mut results: Vec<Option<Result<R, TaskError>>> =
            self.items.iter().map(|_| None).collect();
        let name = self.running.name;
        for (number, result) in self {
            results[number] = Some(result);
        }
        let lost = || Err(TaskError::NoWorker { task: name.into() });
        results
            .into_iter()
            .map(|result| result.unwrap_or_else(lost))
            .collect()
    }
}

impl<I, R: DeserializeOwned> Iterator for Unordered<'_, I, R> {
    type Item = (usize, Result<R, TaskError>);

    fn next(&mut self) -> Option<Self::Item> {
        let (number, result) = self.running.next()?;
        let task = self.running.name;
        let decode = |bytes: Vec<u8>| {
            rmp_serde::from_slice(&bytes).map_err(|error| TaskError::Arguments {
                task: task.into(),
                fault: error.to_string(),
            })
        };
        Some((number, result.and_then(decode)))
    }
}

impl<I, R> fmt::Debug for Unordered<'_, I, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Unordered({} running, {} waiting)",
            self.running.busy.len(),
            self.running.waiting.len()
        )
    }
}
