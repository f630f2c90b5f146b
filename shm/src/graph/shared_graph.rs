use std::fmt;
use std::sync::Arc;

use bytemuck::{Pod, cast_slice};
use numpush_message::Element;
use numpush_shm_core::{LockError, LockOptions, MemoryRange, Owned};
use serde::{Deserialize, Serialize};

use crate::arena::{Arena, Reservation};
use crate::error::Error;
use crate::graph::description::{Of, TypedGraph};
use crate::graph::element::{GraphIndex, GraphWeight};
use crate::graph::{GraphReadGuard, GraphWriteGuard};
use crate::object::{Handle, Object, make_locks};

/// A directed graph in compressed sparse row form, in shared memory: which edges leave a node, where they go, their
/// weights, and named columns of attributes of nodes and edges.
///
/// Weights and attributes are written in place, under the graph's lock; the edges are [replaced](Self::replace_edges) as a
/// whole. The three arrays are those of SciPy's `csr_array`: `indptr` (nodes + 1), `indices` and `weights` (edges), with
/// numbers `I` of `u32` or `u64`, and weights `W` of `f32`, `f64` or, without weights, `()`.
///
/// ```
/// use numpush_shm::{Arena, SharedGraph};
///
/// let arena = Arena::shared();
/// let edges = [(0, 1, 0.5), (0, 2, 1.5), (2, 0, 1.0)];
/// let mut graph = SharedGraph::<u32, f64>::from_edges(&arena, 3, &edges)?;
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
#[derive(Serialize, Deserialize)]
#[serde(transparent, bound = "I: GraphIndex, W: GraphWeight")]
pub struct SharedGraph<I = u64, W = f64> {
    pub(super) object: Object<TypedGraph<I, W>>,
}

impl<I: GraphIndex, W: GraphWeight> SharedGraph<I, W> {
    /// Copies a graph in CSR form: the edges of node `i` are those from `indptr[i]` to `indptr[i + 1]`. Edges without weights
    /// have none: `&[]`.
    ///
    /// # Errors
    /// [`Error::Graph`] if the arrays do not belong together; [`Error::NoRoom`] if the arena's budget or the machine's
    /// memory does not have the bytes.
    pub fn from_csr(
        arena: &Arena,
        indptr: &[I],
        indices: &[I],
        weights: &[W],
    ) -> Result<Self, Error> {
        check(indptr, indices, weights)?;
        let description = TypedGraph::new(indptr.len() - 1, indices.len());
        let (claims, homes) = copy(arena, indptr, indices, weights)?.into_iter().unzip();
        let object = Object::new(description, claims, make_locks(1)?, homes);
        Ok(Self { object })
    }

    /// Makes a graph of `nodes` nodes and of edges (from, to, weight) in any order. Edges that leave the same node keep
    /// their order.
    ///
    /// # Errors
    /// As [`Self::from_csr`].
    pub fn from_edges(arena: &Arena, nodes: usize, edges: &[(I, I, W)]) -> Result<Self, Error> {
        let mut ends = vec![0_usize; nodes + 1];
        for &(from, _, _) in edges {
            let count = from.to_usize().checked_add(1);
            let count = count.and_then(|after| ends.get_mut(after));
            *count.ok_or_else(|| Error::Graph {
                fault: format!("an edge leaves node {from} of {nodes}"),
            })? += 1;
        }
        (1..=nodes).for_each(|node| ends[node] += ends[node - 1]);
        let indptr: Option<Vec<I>> = ends.into_iter().map(I::from_usize).collect();
        let indptr = indptr.ok_or_else(|| Error::Graph {
            fault: format!("{} edges are more than its indices count", edges.len()),
        })?;
        let mut order: Vec<usize> = (0..edges.len()).collect();
        order.sort_by_key(|&edge| edges[edge].0);
        let indices: Vec<I> = order.iter().map(|&edge| edges[edge].1).collect();
        let weights: Vec<W> = order.iter().map(|&edge| edges[edge].2).collect();
        Self::from_csr(arena, &indptr, &indices, &weights)
    }

    /// Replaces the edges by others, which are copied into `arena`. Columns of nodes stay where they are; columns of edges
    /// belong to the edges before, and are gone.
    ///
    /// It is a new version of the graph for this handle: those who have the graph open keep the edges they have, and see
    /// the new ones when they open the new [handle](Self::handle). The lock and the columns of nodes are the same in both.
    ///
    /// # Errors
    /// [`Error::Graph`] if the arrays do not belong together, or are of another number of nodes; [`Error::NotOwner`] in a
    /// process that has only opened the graph; [`Error::NoRoom`]. The graph is as it was then.
    pub fn replace_edges(
        &mut self,
        arena: &Arena,
        indptr: &[I],
        indices: &[I],
        weights: &[W],
    ) -> Result<(), Error> {
        check(indptr, indices, weights)?;
        if indptr.len() - 1 != self.nodes() {
            let fault = format!("{} nodes do not replace {}", indptr.len() - 1, self.nodes());
            return Err(Error::Graph { fault });
        }
        let before = self.object.raw().reservations("replace the edges")?;
        let (description, stay) = self.object.description().sent.with_edges(indices.len());
        let columns = self.object.join(stay.iter().copied())?;
        let lock = self.object.raw().lock();
        let copied = copy(arena, indptr, indices, weights)?;
        let (mut spans, mut homes): (Vec<_>, Vec<_>) = copied
            .into_iter()
            .map(|(claim, home)| (claim.into_locked(lock), home))
            .unzip();
        spans.extend(columns);
        homes.extend(stay.iter().map(|&span| Arc::clone(&before[span])));
        let description = TypedGraph::with(description);
        self.object = self.object.version(description, spans, homes)?;
        Ok(())
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
        let description = &self.object.description().sent;
        let description = description.with_column::<T>(of, name, values.len(), homes.len())?;
        let description = TypedGraph::with(description);
        let mut spans = self.object.join(0..homes.len())?;
        let (claim, home) = arena.copy_of(cast_slice(values))?;
        spans.push(claim.into_locked(self.object.raw().lock()));
        homes.push(home);
        self.object = self.object.version(description, spans, homes)?;
        Ok(())
    }

    /// Opens the graph of a handle.
    ///
    /// # Errors
    /// [`Error::Stale`] if the graph is gone; [`Error::Busy`] if its owner does not answer within ten seconds;
    /// [`Error::Kind`] if the handle is of another kind of value, or of a graph of other numbers or weights.
    pub fn open(handle: &Handle) -> Result<Self, Error> {
        Object::open(handle).map(|object| Self { object })
    }

    /// Number of nodes.
    pub fn nodes(&self) -> usize {
        self.object.description().sent.nodes
    }

    /// Number of edges.
    pub fn edges(&self) -> usize {
        self.object.description().sent.edges
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
    pub fn read(&self) -> Result<GraphReadGuard<'_, I, W>, LockError> {
        self.read_with(LockOptions::default())
    }

    /// As [`Self::read`], without a wait.
    ///
    /// # Errors
    /// As [`Self::read`]; [`LockError::Timeout`] names a holder, at once.
    pub fn try_read(&self) -> Result<GraphReadGuard<'_, I, W>, LockError> {
        self.read_with(LockOptions::no_wait())
    }

    /// As [`Self::read`], with a timeout or with poison accepted.
    ///
    /// # Errors
    /// As [`SharedArray::read_with`](crate::SharedArray::read_with).
    pub fn read_with(&self, options: LockOptions) -> Result<GraphReadGuard<'_, I, W>, LockError> {
        GraphReadGuard::new(&self.object, options)
    }

    /// As [`Self::read`], also if a writer did not finish.
    ///
    /// # Errors
    /// As [`Self::read`], without poison.
    pub fn read_poisoned(&self) -> Result<GraphReadGuard<'_, I, W>, LockError> {
        self.read_with(LockOptions::default().accept_poison(true))
    }

    /// Locks weights and attributes for writing.
    ///
    /// # Errors
    /// As [`SharedArray::write`](crate::SharedArray::write).
    pub fn write(&self) -> Result<GraphWriteGuard<'_, I, W>, LockError> {
        self.write_with(LockOptions::default())
    }

    /// As [`Self::write`], without a wait.
    ///
    /// # Errors
    /// As [`Self::write`]; [`LockError::Timeout`] names a holder, at once.
    pub fn try_write(&self) -> Result<GraphWriteGuard<'_, I, W>, LockError> {
        self.write_with(LockOptions::no_wait())
    }

    /// As [`Self::write`], with a timeout or with poison accepted.
    ///
    /// # Errors
    /// As [`SharedArray::write_with`](crate::SharedArray::write_with).
    pub fn write_with(&self, options: LockOptions) -> Result<GraphWriteGuard<'_, I, W>, LockError> {
        GraphWriteGuard::new(&self.object, options)
    }

    /// As [`Self::write`], also if the last writer did not finish.
    ///
    /// # Errors
    /// As [`Self::write`], without poison.
    pub fn write_poisoned(&self) -> Result<GraphWriteGuard<'_, I, W>, LockError> {
        self.write_with(LockOptions::default().accept_poison(true))
    }
}

impl<I, W> Clone for SharedGraph<I, W> {
    fn clone(&self) -> Self {
        Self {
            object: self.object.clone(),
        }
    }
}

impl<I, W> fmt::Debug for SharedGraph<I, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SharedGraph")
            .field(self.object.description())
            .finish()
    }
}

/// A shared run of bytes, and where it goes back to.
type Run = (MemoryRange<Owned>, Arc<Reservation>);

/// Copies the three arrays, in the order of the constants of `description`.
fn copy<I: GraphIndex, W: GraphWeight>(
    arena: &Arena,
    indptr: &[I],
    indices: &[I],
    weights: &[W],
) -> Result<Vec<Run>, Error> {
    let arrays: [&[u8]; 3] = [
        cast_slice(indptr),
        cast_slice(indices),
        W::bytes_of(weights),
    ];
    let copies = arrays.into_iter().map(|bytes| arena.copy_of(bytes));
    Ok(copies.collect::<Result<_, _>>()?)
}

fn check<I: GraphIndex, W: GraphWeight>(
    indptr: &[I],
    indices: &[I],
    weights: &[W],
) -> Result<(), Error> {
    let fault = |fault: String| Err(Error::Graph { fault });
    let edges = indices.len();
    if W::SCALAR.is_some() && weights.len() != edges {
        return fault(format!("{edges} edges have {} weights", weights.len()));
    }
    let ends = [indptr.first(), indptr.last()];
    if ends.map(|end| end.map(|end| end.to_usize())) != [Some(0), Some(edges)] {
        return fault(format!(
            "indptr does not go from 0 to the number of edges, {edges}"
        ));
    }
    if let Some(node) = indptr.windows(2).position(|pair| pair[0] > pair[1]) {
        return fault(format!("indptr falls after node {node}"));
    }
    let nodes = indptr.len() - 1;
    match indices.iter().find(|to| to.to_usize() >= nodes) {
        Some(to) => fault(format!("an edge goes to node {to} of {nodes}")),
        None => Ok(()),
    }
}
