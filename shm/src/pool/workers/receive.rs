//! What comes from a worker.

use std::sync::Arc;
use std::time::Instant;

use super::Workers;
use crate::pool::call::{Common, Waiting};
use crate::pool::chore::{Chore, Ended};
use crate::pool::encoded::Encoded;
use crate::pool::error::TaskError;
use crate::pool::frames::Received;
use crate::pool::protocol::Reply;
use crate::pool::queue::Queue;
use crate::pool::worker::{Cause, Phase, Sent};

impl Workers {
    /// Receives once from a worker, and notes the tasks that have ended; returns false if nothing came.
    pub(in crate::pool) fn absorb(
        &mut self,
        number: usize,
        queue: &mut Queue,
        chores: &mut Vec<Chore>,
    ) -> bool {
        let Some(worker) = self.worker(number) else {
            return false;
        };
        match worker.receive() {
            Received::Nothing => return false,
            Received::End => {
                if !matches!(worker.phase, Phase::Ending { .. }) {
                    worker.close(Cause::Unknown);
                }
                return false;
            }
            Received::Some => {}
        }
        let keeper = (number, worker.pid());
        let (began, mut ended) = (worker.since, 0);
        let mut last = None;
        loop {
            let frame = match worker.inbox.next() {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(_) => {
                    worker.kill(Cause::Unknown);
                    break;
                }
            };
            if let Phase::Starting { .. } = worker.phase {
                worker.serve();
                continue;
            }
            let Some(Sent { common, task, .. }) = worker.out.pop_front() else {
                worker.kill(Cause::Unknown);
                break;
            };
            ended += 1;
            last = Some(common.id);
            end(queue, chores, common, task, frame, keeper);
        }
        if let Some(id) = last {
            worker.since = Instant::now();
            if let Some(call) = queue.call(id) {
                call.note_pace(worker.since.duration_since(began), ended);
            }
        }
        true
    }
}

/// Notes what a worker replied to a task.
fn end(
    queue: &mut Queue,
    chores: &mut Vec<Chore>,
    common: Arc<Common>,
    Waiting { number, arguments }: Waiting,
    frame: &[u8],
    keeper: (usize, u32),
) {
    let task = common.task.to_owned();
    let outcome = match Reply::decode(frame) {
        Some(Reply::Done(result)) => Ok(Encoded {
            bytes: result.into(),
            ..Encoded::default()
        }),
        Some(Reply::DoneWithValues { handles, result }) => {
            return chores.push(Chore::Open {
                ended: Ended { common, number },
                handles,
                bytes: result.into(),
                keeper,
            });
        }
        Some(Reply::Panicked { message, location }) => Err(TaskError::Panicked {
            task,
            message,
            location,
        }),
        Some(Reply::Unknown) => Err(TaskError::Unknown { task }),
        Some(Reply::Unsendable(fault)) => Err(TaskError::Arguments { task, fault }),
        None => Err(TaskError::Arguments {
            task,
            fault: "the worker's reply is malformed".into(),
        }),
    };
    if outcome.is_err() {
        arguments.parts.give_up();
    }
    queue.end(&common, number, outcome);
}
