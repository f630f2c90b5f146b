use std::sync::Arc;

use bytemuck::{Pod, cast_slice};
use numpush_message::Element;
use numpush_shm_core::{LockError, LockOptions};
use serde::{Deserialize, Serialize};

use crate::arena::Arena;
use crate::error::Error;
use crate::graph::description::{GraphDescription, Of};
use crate::graph::{GraphReadGuard, GraphWriteGuard};
use crate::object::{Describe, Handle, Object, RawObject, make_locks};

/// A directed graph in compressed sparse row form, in shared memory: which edges leave a node, where they go, their
/// weights, and named columns of attributes of nodes and edges.
///
/// Its structure is fixed when it is made; weights and attributes are written in place, under the graph's lock. The
/// three arrays are those of SciPy's `csr_array`: `indptr` (nodes + 1), `indices` and `weights` (edges).
///
/// ```
/// use numpush_shm::{Arena, SharedGraph};
///
/// let arena = Arena::shared();
/// let mut graph = SharedGraph::from_edges(&arena, 3, &[(0, 1, 0.5), (0, 2, 1.5), (2, 0, 1.0)])?;
/// graph.add_node_column(&arena, "rank", &[0.0_f64; 3])?;
/// let mut guard = graph.write()?;
/// guard.weights()[0] = 2.0;
/// guard.node_column::<f64>("rank")?.fill(1.0);
/// drop(guard);
/// let guard = graph.read()?;
/// let targets: Vec<(usize, f64)> = guard.edges_of(0).map(|(to, weight, _)| (to, weight)).collect();
/// assert_eq!(targets, [(1, 2.0), (2, 1.5)]);
/// # Ok::<(), numpush_shm::Error>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SharedGraph {
    object: Object<GraphDescription>,
}

impl SharedGraph {
    /// Copies a graph in CSR form: the edges of node `i` are those from `indptr[i]` to `indptr[i + 1]`.
    ///
    /// # Errors
    /// [`Error::Graph`] if the arrays do not belong together; [`Error::NoRoom`] if the arena's budget or the machine's
    /// memory does not have the bytes.
    pub fn from_csr(
        arena: &Arena,
        indptr: &[u64],
        indices: &[u64],
        weights: &[f64],
    ) -> Result<Self, Error> {
        check(indptr, indices, weights)?;
        let description = GraphDescription::new(indptr.len() - 1, indices.len());
        // In the order of the constants of `description`.
        let arrays: [&[u8]; 3] = [cast_slice(indptr), cast_slice(indices), cast_slice(weights)];
        let copies: Result<Vec<_>, _> = arrays
            .into_iter()
            .map(|bytes| arena.copy_of(bytes))
            .collect();
        let (claims, homes) = copies?.into_iter().unzip();
        let object = Object::new(description, claims, make_locks(1)?, homes);
        Ok(Self { object })
    }

    /// Makes a graph of `nodes` nodes and of edges (from, to, weight) in any order. Edges that leave the same node keep
    /// their order.
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
    /// [`Error::Column`] if the name is taken, or if there are not as many values as nodes; [`Error::NotOwner`] in a
    /// process that has only opened the graph; [`Error::NoRoom`].
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
        let mut homes = self.object.raw().reservations("add a column")?.to_owned();
        let description = self.object.description();
        let description = description.with_column::<T>(of, name, values.len(), homes.len())?;
        let mut spans = self.object.join(0..homes.len())?;
        let (claim, home) = arena.copy_of(cast_slice(values))?;
        spans.push(claim.into_locked(self.object.raw().lock()));
        homes.push(home);
        self.object = self.object.version(description, spans, homes)?;
        Ok(())
    }

    pub(crate) const KIND: &str = GraphDescription::KIND;

    pub(crate) fn from_raw(raw: Arc<RawObject>) -> Result<Self, Error> {
        Object::from_raw(raw).map(|object| Self { object })
    }

    /// Opens the graph of a handle.
    ///
    /// # Errors
    /// [`Error::Stale`] if the graph is gone; [`Error::Busy`] if its owner does not answer within ten seconds;
    /// [`Error::Kind`] if the handle is of another kind of value.
    pub fn open(handle: &Handle) -> Result<Self, Error> {
        Object::open(handle).map(|object| Self { object })
    }

    /// Number of nodes.
    pub fn nodes(&self) -> usize {
        self.object.description().nodes
    }

    /// Number of edges.
    pub fn edges(&self) -> usize {
        self.object.description().edges
    }

    /// Bytes of the three arrays and of all columns.
    pub fn byte_len(&self) -> usize {
        self.object.byte_len()
    }

    /// The handle by which another process opens the graph.
    ///
    /// # Errors
    /// As [`SharedArray::handle`](crate::SharedArray::handle).
    pub fn handle(&self) -> Result<Handle, Error> {
        self.object.handle()
    }

    /// Locks the graph for reading.
    ///
    /// # Errors
    /// As [`SharedArray::read`](crate::SharedArray::read).
    pub fn read(&self) -> Result<GraphReadGuard<'_>, LockError> {
        self.read_with(LockOptions::default())
    }

    /// As [`Self::read`], without a wait.
    ///
    /// # Errors
    /// As [`Self::read`]; [`LockError::Timeout`] names a holder, at once.
    pub fn try_read(&self) -> Result<GraphReadGuard<'_>, LockError> {
        self.read_with(LockOptions::no_wait())
    }

    /// As [`Self::read`], with a timeout or with poison accepted.
    ///
    /// # Errors
    /// As [`SharedArray::read_with`](crate::SharedArray::read_with).
    pub fn read_with(&self, options: LockOptions) -> Result<GraphReadGuard<'_>, LockError> {
        GraphReadGuard::new(&self.object, options)
    }

    /// As [`Self::read`], also if a writer did not finish.
    ///
    /// # Errors
    /// As [`Self::read`], without poison.
    pub fn read_poisoned(&self) -> Result<GraphReadGuard<'_>, LockError> {
        self.read_with(LockOptions::default().accept_poison(true))
    }

    /// Locks weights and attributes for writing.
    ///
    /// # Errors
    /// As [`SharedArray::write`](crate::SharedArray::write).
    pub fn write(&self) -> Result<GraphWriteGuard<'_>, LockError> {
        self.write_with(LockOptions::default())
    }

    /// As [`Self::write`], without a wait.
    ///
    /// # Errors
    /// As [`Self::write`]; [`LockError::Timeout`] names a holder, at once.
    pub fn try_write(&self) -> Result<GraphWriteGuard<'_>, LockError> {
        self.write_with(LockOptions::no_wait())
    }

    /// As [`Self::write`], with a timeout or with poison accepted.
    ///
    /// # Errors
    /// As [`SharedArray::write_with`](crate::SharedArray::write_with).
    pub fn write_with(&self, options: LockOptions) -> Result<GraphWriteGuard<'_>, LockError> {
        GraphWriteGuard::new(&self.object, options)
    }

    /// As [`Self::write`], also if the last writer did not finish.
    ///
    /// # Errors
    /// As [`Self::write`], without poison.
    pub fn write_poisoned(&self) -> Result<GraphWriteGuard<'_>, LockError> {
        self.write_with(LockOptions::default().accept_poison(true))
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
        return fault(format!("indptr falls after node {node}"));
    }
    let nodes = indptr.len() as u64 - 1;
    match indices.iter().find(|&&to| to >= nodes) {
        Some(to) => fault(format!("an edge goes to node {to} of {nodes}")),
        None => Ok(()),
    }
}
