//! Sparse graphs in shared memory.

mod description;
mod guard;
mod shared_graph;
#[cfg(feature = "petgraph")]
pub(crate) mod view;

pub use guard::{GraphReadGuard, GraphWriteGuard};
pub use shared_graph::SharedGraph;

#[cfg(test)]
mod tests;
