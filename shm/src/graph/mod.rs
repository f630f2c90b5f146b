//! Sparse graphs in shared memory.

mod description;
mod dyn_graph;
mod edges;
mod element;
mod guard;
mod part_guard;
mod parts;
mod shared_graph;
#[cfg(feature = "petgraph")]
pub(crate) mod view;

pub use dyn_graph::SharedDynGraph;
pub use element::{GraphIndex, GraphWeight};
pub use guard::{GraphReadGuard, GraphWriteGuard};
pub use part_guard::{GraphPartGuard, GraphPartView};
pub use shared_graph::SharedGraph;

#[cfg(test)]
mod tests;
