//! Which worker gets which tasks.

use std::collections::VecDeque;

use super::{Slot, Workers};
use crate::pool::queue::Queue;
use crate::pool::worker::{Cause, Phase, Sent, Worker};

/// Most bytes of arguments that are sent to a worker at a time, if that is more than one task.
const MAX_CHUNK_BYTES: usize = 64 << 10;

impl Workers {
    /// Hands tasks to workers that have none, or few of the only call that waits.
    pub(in crate::pool) fn dispatch(&mut self, queue: &mut Queue) {
        while let Some((call, others)) = queue.first() {
            let (id, chunk, waiting) = (call.common.id, call.chunk(), call.waiting.len());
            let has_room =
                |worker: &Worker| worker.is_idle() || !others && is_running_out(worker, id, chunk);
            let serving = |slot: &Slot| matches!(slot, Slot::Filled(worker) if worker.phase == Phase::Serving);
            let found = |slot: &Slot| matches!(slot, Slot::Filled(worker) if has_room(worker));
            // Each is left its share.
            let serving = self.slots.iter().filter(|slot| serving(slot)).count();
            let Some(number) = self.slots.iter().position(found) else {
                return;
            };
            let share = waiting.div_ceil(serving.max(1));
            let Some(worker) = self.worker(number) else {
                return;
            };
            let mut count = chunk.saturating_sub(worker.out.len()).min(share).max(1);
            let mut bytes = 0;
            while count > 0
                && bytes < MAX_CHUNK_BYTES
                && let Some((common, task)) = queue.draw()
            {
                bytes += task.arguments.bytes.len();
                worker.push(&common, task);
                count -= 1;
                if common.id != id || queue.call(id).is_none_or(|call| call.waiting.is_empty()) {
                    break;
                }
            }
            queue.end_turn(id);
            self.flush(number, queue);
        }
    }

    /// Sends what a worker's socket takes. If the worker is gone, what it has not begun waits for another.
    pub(in crate::pool) fn flush(&mut self, number: usize, queue: &mut Queue) {
        if let Some(worker) = self.worker(number)
            && worker.flush().is_err()
        {
            let unbegun = worker.take_unbegun();
            worker.close(Cause::Unknown);
            put_back(unbegun, queue);
        }
    }
}

/// True if a worker has at most half of a chunk of the call left.
fn is_running_out(worker: &Worker, id: u64, chunk: usize) -> bool {
    let same = worker.out.iter().all(|sent| sent.common.id == id);
    worker.phase == Phase::Serving
        && !worker.has_unsent()
        && worker.out.len() * 2 <= chunk
        && same
        && chunk > 1
}

/// Puts tasks that no worker has begun back in front of those that wait.
pub(super) fn put_back(unbegun: VecDeque<Sent>, queue: &mut Queue) {
    for Sent { common, task, .. } in unbegun.into_iter().rev() {
        queue.put_back(&common, task);
    }
}
