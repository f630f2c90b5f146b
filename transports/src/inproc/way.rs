//! One direction of a connection: a queue of messages, and how far its receiver has come with them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use numpush_message::Message;
use numpush_os::{Bell, lock};
use numpush_session::Tag;

use crate::transfer::Transfer;
#[cfg(feature = "tokio")]
use crate::watch::Watch;

/// A message on its way.
pub(super) struct Item {
    pub(super) message: Message<'static>,
    pub(super) transfer: Transfer,
    pub(super) tag: Tag,
    /// Bytes of the receiver's credit that it takes.
    pub(super) charge: u64,
}

#[derive(Default)]
pub(super) struct Way {
    queue: Mutex<Queue>,
    /// The receiver waits for a message.
    pub(super) arrived: Condvar,
    /// The sender waits for the receiver.
    pub(super) progressed: Condvar,
    pub(super) progress: Progress,
}

#[derive(Default)]
pub(super) struct Queue {
    pub(super) messages: VecDeque<Item>,
    /// The sum of their charges.
    pub(super) charge: u64,
    /// The sender has closed.
    pub(super) closed: bool,
    /// The receiver has no place for a message, and never will have.
    pub(super) refused: bool,
    /// The sender, or the receiver, is dropped.
    pub(super) sender_gone: bool,
    pub(super) receiver_gone: bool,
    /// Threads that wait. A wake-up is a system call, even where nobody waits.
    pub(super) receivers: u32,
    pub(super) senders: u32,
    /// What either side waits for in an event loop.
    pub(super) receiver_bell: Option<Arc<Bell>>,
    pub(super) sender_bell: Option<Arc<Bell>>,
    /// As the bells, where tasks wait.
    #[cfg(feature = "tokio")]
    pub(super) receiver_watch: Option<Arc<Watch>>,
    #[cfg(feature = "tokio")]
    pub(super) sender_watch: Option<Arc<Watch>>,
    /// The receiver's bell has rung since the receiver last found nothing.
    pub(super) has_rung: bool,
}

/// What the receiver has done with the messages sent, all of it sums. The receiver counts without the lock of the queue,
/// and on a cache line of its own: it would hold up the sender with every message.
#[derive(Default)]
#[repr(align(128))]
pub(super) struct Progress {
    /// Credit of the messages that were returned to the program.
    taken_charge: AtomicU64,
    /// Messages that are acknowledged, and their payload bytes.
    acked: AtomicU64,
    acked_bytes: AtomicU64,
    /// The sender waits, or will look when its bell rings.
    is_awaited: AtomicBool,
}

/// A look at the progress.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    pub(super) taken_charge: u64,
    pub(super) acked: u64,
    pub(super) acked_bytes: u64,
}

impl Way {
    pub(super) fn queue(&self) -> MutexGuard<'_, Queue> {
        lock(&self.queue)
    }

    /// Lets whoever waits on either side look again.
    pub(super) fn interrupt(&self) {
        // Whoever has looked before the lock is free waits by now.
        let queue = self.queue();
        #[cfg(feature = "tokio")]
        let watches = [queue.receiver_watch.clone(), queue.sender_watch.clone()];
        drop(queue);
        self.arrived.notify_all();
        self.progressed.notify_all();
        #[cfg(feature = "tokio")]
        for watch in watches.iter().flatten() {
            watch.ring();
        }
    }

    /// Ends a change for the receiver, and wakes it when the lock is free: it would wait for that otherwise.
    pub(super) fn tell_receiver(&self, mut queue: MutexGuard<'_, Queue>) {
        let wakes = queue.receivers > 0;
        let bell = match &queue.receiver_bell {
            Some(bell) if !queue.has_rung => Some(Arc::clone(bell)),
            _ => None,
        };
        queue.has_rung |= bell.is_some();
        #[cfg(feature = "tokio")]
        let watch = queue.receiver_watch.clone();
        drop(queue);
        #[cfg(feature = "tokio")]
        if let Some(watch) = watch {
            watch.ring();
        }
        if wakes {
            self.arrived.notify_all();
        }
        if let Some(bell) = bell {
            bell.ring();
        }
    }

    /// Ends a change for the sender, and wakes it. It looks again, whatever it waits for.
    pub(super) fn tell_sender(&self, queue: MutexGuard<'_, Queue>) {
        self.progress.is_awaited.store(false, Ordering::Relaxed);
        let wakes = queue.senders > 0;
        let bell = queue.sender_bell.clone();
        #[cfg(feature = "tokio")]
        let watch = queue.sender_watch.clone();
        drop(queue);
        #[cfg(feature = "tokio")]
        if let Some(watch) = watch {
            watch.ring();
        }
        if wakes {
            self.progressed.notify_all();
        }
        if let Some(bell) = bell {
            bell.ring();
        }
    }

    /// The receiver has counted: a sender that waits for that looks again.
    pub(super) fn report(&self) {
        // Pairs with that of `Progress::await_next`: one of the two sides sees what the other has written.
        fence(Ordering::SeqCst);
        if !self.progress.is_awaited.load(Ordering::Relaxed) {
            return;
        }
        self.tell_sender(self.queue());
    }
}

impl Progress {
    /// Counts a message that was returned to the program. Only the receiver calls it.
    pub(super) fn take(&self, charge: u64) {
        add(&self.taken_charge, charge);
    }

    /// Counts `count` messages more as acknowledged. Only the receiver calls it, one thread at a time.
    pub(super) fn acknowledge(&self, count: u64, bytes: u64) {
        add(&self.acked_bytes, bytes);
        add(&self.acked, count);
    }

    pub(super) fn look(&self) -> Seen {
        Seen {
            taken_charge: self.taken_charge.load(Ordering::Acquire),
            acked: self.acked.load(Ordering::Acquire),
            acked_bytes: self.acked_bytes.load(Ordering::Acquire),
        }
    }

    /// From now on the receiver reports. The sender looks once more afterwards, and holds the lock of the queue until it waits.
    pub(super) fn await_next(&self) {
        self.is_awaited.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// True from [`Self::await_next`] until the receiver reports.
    pub(super) fn is_awaited(&self) -> bool {
        self.is_awaited.load(Ordering::SeqCst)
    }
}

/// An addition by the only thread that writes.
fn add(sum: &AtomicU64, more: u64) {
    sum.store(
        sum.load(Ordering::Relaxed).wrapping_add(more),
        Ordering::Release,
    );
}
