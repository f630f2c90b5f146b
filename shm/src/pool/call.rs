//! A call: the tasks of one function that one thread waits for.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::pool::encoded::Encoded;
use crate::pool::error::TaskError;
use crate::pool::options::TaskOptions;
use crate::pool::wake::Wake;

/// What the tasks of a call have in common.
#[derive(Debug)]
pub(super) struct Common {
    pub(super) id: u64,
    /// The name of the function.
    pub(super) task: &'static str,
    /// The second argument of every task, if items are the first: encoded once.
    pub(super) argument: Option<Encoded>,
    pub(super) options: TaskOptions,
}

/// A task that no worker has yet.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) number: usize,
    pub(super) arguments: Encoded,
}

/// What became of a task: the bytes of its result, or why there is none.
pub(super) type Outcome = Result<Encoded, TaskError>;

/// The tasks of a call that have not been taken by the caller.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) common: Arc<Common>,
    pub(super) waiting: VecDeque<Waiting>,
    /// Number of tasks that workers have.
    pub(super) out: usize,
    pub(super) ended: VecDeque<(usize, Outcome)>,
    /// The caller is gone: nobody takes the results.
    pub(super) abandoned: bool,
    /// Time that a task takes, smoothed.
    pace: Option<Duration>,
    /// Notified when a task has ended.
    wake: Arc<Wake>,
}

/// How long a worker is busy with the tasks that are sent to it at a time, about.
const CHUNK_TIME: Duration = Duration::from_micros(200);
/// Most tasks that are sent to a worker at a time, unless the options say so.
const MAX_CHUNK: usize = 64;

impl Call {
    pub(super) fn new(common: Arc<Common>, wake: Arc<Wake>) -> Self {
        Self {
            common,
            waiting: VecDeque::new(),
            out: 0,
            ended: VecDeque::new(),
            abandoned: false,
            pace: None,
            wake,
        }
    }

    /// Number of tasks that a worker may have at a time.
    pub(super) fn chunk(&self) -> usize {
        let adapted = || {
            let pace = self.pace?.as_nanos().max(1);
            usize::try_from(CHUNK_TIME.as_nanos() / pace).ok()
        };
        let chunk = self.common.options.chunk;
        chunk.unwrap_or_else(|| adapted().unwrap_or(1).clamp(1, MAX_CHUNK))
    }

    /// Notes that `count` tasks took `time` together.
    pub(super) fn note_pace(&mut self, time: Duration, count: u32) {
        let Some(each) = time.checked_div(count) else {
            return;
        };
        self.pace = Some(self.pace.map_or(each, |pace| (pace * 3 + each) / 4));
    }

    /// Number of tasks to encode beyond those that wait, so that `workers` never wait for one.
    pub(super) fn room(&self, workers: usize) -> usize {
        let window = (2 * workers * self.chunk()).max(16);
        // Filled up when half of it is used, so that a task costs one lock, not two.
        if self.waiting.len() > window / 2 {
            0
        } else {
            window - self.waiting.len()
        }
    }

    /// True if nothing more will come of the tasks that were given.
    pub(super) fn is_over(&self) -> bool {
        self.waiting.is_empty() && self.out == 0 && self.ended.is_empty()
    }

    pub(super) fn end(&mut self, number: usize, outcome: Outcome) {
        if !self.abandoned {
            self.ended.push_back((number, outcome));
        }
        self.wake.notify();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(options: TaskOptions) -> Call {
        let common = Common {
            id: 0,
            task: "f",
            argument: None,
            options,
        };
        Call::new(Arc::new(common), Arc::default())
    }

    #[test]
    fn short_tasks_go_out_in_chunks_and_long_ones_alone() {
        let mut call = call(TaskOptions::new());
        assert_eq!(call.chunk(), 1, "unknown tasks may be long");
        call.note_pace(Duration::from_micros(10), 1);
        assert_eq!(call.chunk(), 20);
        call.note_pace(Duration::from_micros(20), 20);
        assert!(call.chunk() > 20);
        (0..50).for_each(|_| call.note_pace(Duration::from_nanos(100), 1));
        assert_eq!(call.chunk(), MAX_CHUNK);
        (0..9).for_each(|_| call.note_pace(Duration::from_millis(1), 1));
        assert_eq!(call.chunk(), 1);
    }

    #[test]
    fn a_chunk_that_was_asked_for_stays() {
        let mut call = call(TaskOptions::new().chunk(100));
        call.note_pace(Duration::from_secs(1), 1);
        assert_eq!(call.chunk(), 100);
        assert_eq!(call.room(2), 400);
    }
}
