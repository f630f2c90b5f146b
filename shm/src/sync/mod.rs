//! What processes count, meet and wait with: values whose bytes are atomics.

mod atomics;
mod barrier;
mod cells;
mod condition;
mod counter;
mod dyn_atomics;

pub use atomics::{AtomicGuard, SharedAtomicArray};
pub use barrier::{BarrierError, BarrierMember, SharedBarrier};
pub use condition::SharedCondition;
pub use counter::{CounterGuard, SharedCounter};
pub use dyn_atomics::SharedDynAtomicArray;

#[cfg(test)]
mod tests;
