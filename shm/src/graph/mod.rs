//! Sparse graphs in shared memory.

mod guard;
#[cfg(feature = "petgraph")]
pub(crate) mod view;

use std::sync::Arc;

use bytemuck::{Pod, cast_slice};
use numpush_message::Element;
use numpush_shm_core::LockOptions;
use serde::{Deserialize, Serialize};

pub use guard::{GraphReadGuard, GraphWriteGuard};

use crate::arena::Arena;
use crate::array::dtype;
use crate::client;
use crate::dtype::DtypeText;
use crate::error::Error;
use crate::handle::Handle;
use crate::object::{self, Locks, Object};

/// A directed graph in compressed sparse row form, in shared memory: which edges leave a node, where they go, their
/// weights, and named columns of attributes of nodes and edges.
///
/// Its structure is fixed when it is made; weights and attributes are written in place, under the graph's lock. The
/// three arrays are those of SciPy's `csr_array`: `indptr` (nodes + 1), `indices` and `weights` (edges).
#[derive(Clone, Debug)]
pub struct SharedGraph {
    value: Arc<Object>,
}

/// What a process that opens a graph is told of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Descriptor {
    pub(crate) nodes: usize,
    pub(crate) edges: usize,
    columns: Vec<ColumnMeta>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct ColumnMeta {
    name: String,
    of: Of,
    dtype: DtypeText,
    span: usize,
}

/// What an attribute belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Of {
    Node,
    Edge,
}

const INDPTR: usize = 0;
const INDICES: usize = 1;
const WEIGHTS: usize = 2;

impl SharedGraph {
    /// Copies a graph in CSR form: the edges of node `i` are those from `indptr[i]` to `indptr[i + 1]`.
    ///
    /// # Errors
    /// [`Error::Graph`] if the arrays do not belong together; [`Error::NoRoom`].
    pub fn from_csr(
        arena: &Arena,
        indptr: &[u64],
        indices: &[u64],
        weights: &[f64],
    ) -> Result<Self, Error> {
        check(indptr, indices, weights)?;
        let (nodes, edges) = (indptr.len() - 1, indices.len());
        let arrays: [&[u8]; 3] = [cast_slice(indptr), cast_slice(indices), cast_slice(weights)];
        let copies: Result<Vec<_>, _> = arrays
            .into_iter()
            .map(|bytes| arena.copy_of(bytes))
            .collect();
        let (claims, homes) = copies?.into_iter().unzip();
        let meta = object::Descriptor::Graph(Descriptor {
            nodes,
            edges,
            columns: Vec::new(),
        });
        Ok(Self {
            value: Object::new(meta, claims, Locks::One, homes)?,
        })
    }

    /// Makes a graph of `nodes` nodes and of edges (from, to, weight) in any order. Edges that leave one node keep
    /// theirs.
    ///
    /// # Errors
    /// As [`Self::from_csr`].
    pub fn from_edges(
        arena: &Arena,
        nodes: usize,
        edges: &[(u64, u64, f64)],
    ) -> Result<Self, Error> {
        let mut indptr = vec![0_u64; nodes + 1];
        for &(from, _, _) in edges {
            let count = usize::try_from(from)
                .ok()
                .and_then(|from| indptr.get_mut(from + 1));
            *count.ok_or_else(|| Error::Graph {
                fault: format!("an edge leaves node {from} of {nodes}"),
            })? += 1;
        }
        (1..=nodes).for_each(|node| indptr[node] += indptr[node - 1]);
        let mut order: Vec<usize> = (0..edges.len()).collect();
        order.sort_by_key(|&edge| edges[edge].0);
        let indices: Vec<u64> = order.iter().map(|&edge| edges[edge].1).collect();
        let weights: Vec<f64> = order.iter().map(|&edge| edges[edge].2).collect();
        Self::from_csr(arena, &indptr, &indices, &weights)
    }

    /// Adds a column of attributes, one for each node. The graph's other arrays stay where they are.
    ///
    /// # Errors
    /// [`Error::Column`] if the name is taken or if there are not as many values as nodes; [`Error::NotOwner`].
    pub fn add_node_column<T: Element + Pod>(
        &mut self,
        arena: &Arena,
        name: &str,
        values: &[T],
    ) -> Result<(), Error> {
        self.add_column(arena, Of::Node, name, values)
    }

    /// Adds a column of attributes, one for each edge, in the order of `indices`.
    ///
    /// # Errors
    /// As [`Self::add_node_column`].
    pub fn add_edge_column<T: Element + Pod>(
        &mut self,
        arena: &Arena,
        name: &str,
        values: &[T],
    ) -> Result<(), Error> {
        self.add_column(arena, Of::Edge, name, values)
    }

    fn add_column<T: Element + Pod>(
        &mut self,
        arena: &Arena,
        of: Of,
        name: &str,
        values: &[T],
    ) -> Result<(), Error> {
        let fault = |fault: String| Error::Column {
            name: name.into(),
            fault,
        };
        let mut meta = self.meta().clone();
        let wanted = if of == Of::Node {
            meta.nodes
        } else {
            meta.edges
        };
        if values.len() != wanted {
            return Err(fault(format!(
                "has {} values, and {wanted} are wanted",
                values.len()
            )));
        }
        if meta
            .columns
            .iter()
            .any(|column| column.of == of && column.name == name)
        {
            return Err(fault("is in the graph already".into()));
        }
        let mut homes = self.value.homes("add a column")?.to_owned();
        let mut spans = self.value.joined(0..homes.len())?;
        let (claim, home) = arena.copy_of(cast_slice(values))?;
        meta.columns.push(ColumnMeta {
            name: name.into(),
            of,
            dtype: dtype::<T>(),
            span: spans.len(),
        });
        spans.push(claim.into_locked(self.value.lock()));
        homes.push(home);
        self.value = self
            .value
            .version(object::Descriptor::Graph(meta), spans, homes)?;
        Ok(())
    }

    /// Opens the graph behind a handle.
    ///
    /// # Errors
    /// [`Error::Stale`], and [`Error::Kind`] if it is no graph.
    pub fn open(handle: &Handle) -> Result<Self, Error> {
        Self::from_value(client::open(handle)?)
    }

    pub(crate) fn from_value(value: Arc<Object>) -> Result<Self, Error> {
        let object::Descriptor::Graph(meta) = &value.meta else {
            return Err(Error::Kind {
                found: value.meta.kind(),
                wanted: "a graph",
            });
        };
        let len = |span: usize| value.guarded().get(span).map(|span| span.range().len());
        let words = |count: usize| count.checked_mul(8);
        let whole = len(INDPTR) == words(meta.nodes.saturating_add(1))
            && len(INDICES) == words(meta.edges)
            && len(WEIGHTS) == words(meta.edges);
        let column = |column: &ColumnMeta| {
            let count = if column.of == Of::Node {
                meta.nodes
            } else {
                meta.edges
            };
            let item = column.dtype.parse().map_or(0, |dtype| dtype.size());
            len(column.span) == count.checked_mul(item)
        };
        if !whole || !meta.columns.iter().all(column) {
            return Err(Error::Protocol {
                peer: "the owner".into(),
                what: "a graph that does not fit its bytes",
            });
        }
        Ok(Self { value })
    }

    fn meta(&self) -> &Descriptor {
        match &self.value.meta {
            object::Descriptor::Graph(meta) => meta,
            _ => unreachable!("every way to make a graph looks"),
        }
    }

    /// Number of nodes.
    pub fn nodes(&self) -> usize {
        self.meta().nodes
    }

    /// Number of edges.
    pub fn edges(&self) -> usize {
        self.meta().edges
    }

    /// The name by which another process opens the graph.
    ///
    /// # Errors
    /// As [`SharedArray::handle`](crate::SharedArray::handle).
    pub fn handle(&self) -> Result<Handle, Error> {
        self.value.handle()
    }

    /// Locks the graph for reading.
    ///
    /// # Errors
    /// As [`SharedArray::read`](crate::SharedArray::read).
    pub fn read(&self) -> Result<GraphReadGuard<'_>, Error> {
        GraphReadGuard::new(&self.value, self.meta(), LockOptions::default())
    }

    /// Locks weights and attributes for writing.
    ///
    /// # Errors
    /// As [`SharedArray::write`](crate::SharedArray::write).
    pub fn write(&self) -> Result<GraphWriteGuard<'_>, Error> {
        GraphWriteGuard::new(&self.value, self.meta(), LockOptions::default())
    }

    /// As [`Self::write`], but also when the last writer did not finish.
    ///
    /// # Errors
    /// As [`Self::write`], without poison.
    pub fn write_poisoned(&self) -> Result<GraphWriteGuard<'_>, Error> {
        GraphWriteGuard::new(
            &self.value,
            self.meta(),
            LockOptions {
                timeout: None,
                accept_poison: true,
            },
        )
    }
}

fn check(indptr: &[u64], indices: &[u64], weights: &[f64]) -> Result<(), Error> {
    let fault = |fault: String| Err(Error::Graph { fault });
    let edges = indices.len() as u64;
    if weights.len() != indices.len() {
        return fault(format!("{edges} edges have {} weights", weights.len()));
    }
    if indptr.first() != Some(&0) || indptr.last() != Some(&edges) {
        return fault(format!(
            "indptr does not go from 0 to the number of edges, {edges}"
        ));
    }
    if let Some(node) = indptr.windows(2).position(|pair| pair[0] > pair[1]) {
        return fault(format!("indptr falls behind node {node}"));
    }
    let nodes = indptr.len() as u64 - 1;
    match indices.iter().find(|&&to| to >= nodes) {
        Some(to) => fault(format!("an edge goes to node {to} of {nodes}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph() -> (Arena, SharedGraph) {
        let arena = Arena::new(1 << 20);
        let edges = [(2, 0, 5.0), (0, 1, 1.0), (0, 2, 4.0), (1, 2, 2.0)];
        let graph = SharedGraph::from_edges(&arena, 3, &edges).unwrap();
        (arena, graph)
    }

    #[test]
    fn edges_are_found_by_their_node() {
        let (_arena, graph) = graph();
        let guard = graph.read().unwrap();
        assert_eq!(guard.indptr(), [0, 2, 3, 4]);
        assert_eq!(
            guard
                .edges_of(0)
                .map(|(to, weight, _)| (to, weight))
                .collect::<Vec<_>>(),
            [(1, 1.0), (2, 4.0)]
        );
        assert_eq!(guard.edges_of(7).count(), 0);
    }

    #[test]
    fn weights_and_attributes_are_written_in_place() {
        let (arena, mut graph) = graph();
        graph
            .add_node_column(&arena, "rank", &[0.5_f32; 3])
            .unwrap();
        graph
            .add_edge_column(&arena, "kind", &[1_u8, 2, 3, 4])
            .unwrap();
        assert!(
            graph
                .add_node_column(&arena, "rank", &[0.5_f32; 3])
                .is_err()
        );
        assert!(graph.add_edge_column(&arena, "short", &[1_u8]).is_err());
        let mut guard = graph.write().unwrap();
        guard.weights().fill(9.0);
        guard.node_column::<f32>("rank").unwrap()[1] = 1.0;
        drop(guard);
        let guard = graph.read().unwrap();
        assert_eq!(guard.weights(), [9.0; 4]);
        assert_eq!(guard.node_column::<f32>("rank").unwrap(), [0.5, 1.0, 0.5]);
        assert_eq!(guard.edge_column::<u8>("kind").unwrap(), [1, 2, 3, 4]);
        assert!(guard.edge_column::<u16>("kind").is_err());
    }

    #[test]
    fn arrays_that_are_no_graph_are_refused() {
        let arena = Arena::new(1 << 20);
        let make = |indptr: &[u64], indices: &[u64]| {
            SharedGraph::from_csr(&arena, indptr, indices, &vec![1.0; indices.len()])
        };
        assert!(make(&[0, 1, 1], &[1]).is_ok());
        for (indptr, indices) in [
            (&[0, 2, 1][..], &[1][..]),
            (&[0, 1], &[1]),
            (&[], &[]),
            (&[1, 1], &[0]),
            (&[0, 2], &[0]),
        ] {
            assert!(
                matches!(make(indptr, indices), Err(Error::Graph { .. })),
                "{indptr:?} {indices:?}"
            );
        }
        assert!(SharedGraph::from_edges(&arena, 2, &[(2, 0, 1.0)]).is_err());
    }

    #[cfg(feature = "petgraph")]
    #[test]
    fn petgraph_walks_it_where_it_lies() {
        let (_arena, graph) = graph();
        let guard = graph.read().unwrap();
        let far = petgraph::algo::dijkstra(guard.view(), 0, None, |edge| edge.weight);
        assert_eq!((far[&1], far[&2]), (1.0, 3.0));
        assert!(petgraph::algo::is_cyclic_directed(guard.view()));
        let components = petgraph::algo::tarjan_scc(guard.view());
        assert_eq!(components.len(), 1);
    }
}
