use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;

use serde::de::DeserializeOwned;

use crate::pool::error::TaskError;
use crate::pool::worker::{Worker, wait_for_one};
use crate::pool::workers::Workers;

/// Tasks of one function that wait, and workers that run some of them.
pub(super) struct Running<'p> {
    workers: &'p Workers,
    name: &'static str,
    waiting: VecDeque<(usize, Result<Vec<u8>, TaskError>)>,
    busy: Vec<(usize, Worker)>,
    /// Workers that these tasks have and that run nothing yet.
    free: Vec<Worker>,
}

impl<'p> Running<'p> {
    pub(super) fn new(
        workers: &'p Workers,
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
            workers.take(waiting.len())
        };
        Self {
            workers,
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
            // No worker is left for the tasks that still wait.
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
        self.workers.forget(worker.pid());
        let error = worker.death_report(self.name);
        if let Some(worker) = self.workers.replace() {
            self.rest(worker);
        }
        Some((number, Err(error)))
    }

    /// Sends every free worker a task. Returns a task that has ended because its arguments cannot be sent.
    fn dispatch(&mut self) -> Option<(usize, Result<Vec<u8>, TaskError>)> {
        while !self.waiting.is_empty()
            && let Some(mut worker) = self.free.pop()
        {
            // A worker that died while it ran nothing takes no task with it.
            if worker.has_ended() {
                self.workers.forget(worker.pid());
                worker.end();
                self.free.extend(self.workers.replace());
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

    /// Keeps a worker for the next task, or returns it to the pool if there is none.
    fn rest(&mut self, worker: Worker) {
        if self.waiting.is_empty() {
            self.workers.give_back(worker)
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
            self.workers.give_back(worker);
        }
    }
}

/// The results of [`Pool::map_unordered`](crate::Pool::map_unordered) as they come: an iterator over the number of an
/// item and its result, `(usize, Result<R, TaskError>)`.
///
/// Its drop waits for the tasks that run, and runs no more.
pub struct Unordered<'p, I, R> {
    running: Running<'p>,
    /// Kept for as long as workers have them open.
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
