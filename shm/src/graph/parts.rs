//! Graphs divided among workers.

use std::ops::Range;
use std::sync::Arc;

use numpush_shm_core::{Division, LockError, LockOptions, block_range};

use crate::error::Error;
use crate::graph::{GraphIndex, GraphPartGuard, GraphWeight, SharedGraph};
use crate::object::{Divide, Object, Part, Partition, RawObject, divide};

/// Nodes whose attributes of eight bytes fill a cache line, so that two parts seldom write one line.
const GRAIN: u32 = 8;

impl<I: GraphIndex, W: GraphWeight> SharedGraph<I, W> {
    /// Divides the graph by nodes into `parts`, whose workers write attributes of their own nodes at the same time, each under
    /// the lock of its part. All of them read the edges, the weights and the attributes of edges of the whole graph.
    ///
    /// Parts begin at multiples of eight nodes; a graph of fewer nodes has fewer parts. The graph stays locked for writing
    /// until the partition is dropped. A worker sees the attributes of its own nodes only: what all of them read while all
    /// write is two states, as a [`DoubleBufferedArray`](crate::DoubleBufferedArray) beside the graph has them.
    ///
    /// ```
    /// use numpush_shm::{Arena, Error, Part, Pool, SharedGraph, Tasks};
    ///
    /// /// Notes how many edges leave each node.
    /// fn count(mut part: Part<SharedGraph>, _: ()) -> Result<(), Error> {
    ///     let first = part.range().start;
    ///     let mut guard = part.write()?;
    ///     let (graph, [degrees]) = guard.columns::<u32, 1>(["degree"])?;
    ///     for (node, degree) in (first..).zip(degrees) {
    ///         *degree = graph.edges_of(node).count() as u32;
    ///     }
    ///     Ok(())
    /// }
    ///
    /// Tasks::new().with(count).serve();
    /// let arena = Arena::shared();
    /// let mut graph = SharedGraph::from_edges(&arena, 3, &[(0, 1, 0.5), (0, 2, 1.5), (2, 0, 1.0)])?;
    /// graph.add_node_column(&arena, "degree", &[0_u32; 3])?;
    /// let parts = graph.partition(2)?;
    /// for counted in Pool::new(2)?.map(count, &parts, &())? {
    ///     counted?;
    /// }
    /// drop(parts);
    /// assert_eq!(graph.read()?.node_column::<u32>("degree")?, [2, 0, 1]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Lock`]; [`Error::Division`] if `parts` is 0 or over 16,777,215; [`Error::Io`] without memory for the locks.
    pub fn partition(&self, parts: usize) -> Result<Partition<Self>, Error> {
        let nodes = self.nodes();
        let refused = |why| Error::Division {
            axis: 0,
            parts,
            shape: vec![nodes],
            why,
        };
        if parts == 0 {
            return Err(refused("at least one part is needed"));
        }
        let fewer = parts.min(nodes.div_ceil(GRAIN as usize).max(1));
        let division = Division::new([(0, fewer)], GRAIN);
        let division = division.ok_or_else(|| refused("it has at most 16777215 parts"))?;
        divide(self, division, vec![0..self.byte_len(); fewer])
    }
}

impl<I: GraphIndex, W: GraphWeight> Divide for SharedGraph<I, W> {
    fn raw(&self) -> &Arc<RawObject> {
        self.object.raw()
    }

    fn divisible(raw: &Arc<RawObject>, division: Division) -> Result<Self, Error> {
        if division.grain() != GRAIN || division.cuts().any(|(axis, _)| axis != 0) {
            return Err(Error::Protocol {
                peer: "the owner".into(),
                what: "a part of a graph that is not whole grains of nodes",
            });
        }
        let object = Object::from_raw(Arc::clone(raw))?;
        Ok(Self { object })
    }
}

impl<I: GraphIndex, W: GraphWeight> Part<SharedGraph<I, W>> {
    /// The nodes of the part.
    pub fn range(&self) -> Range<usize> {
        let id = self.share().id;
        block_range(id.division, id.number, 0, self.value().nodes())
    }

    /// Locks the part for writing.
    ///
    /// # Errors
    /// [`LockError::Retired`] if the partition is gone, or the thread that made it; [`LockError::Poisoned`] if another
    /// worker died while it wrote this part.
    pub fn write(&mut self) -> Result<GraphPartGuard<'_, I, W>, LockError> {
        self.write_with(LockOptions::default())
    }

    /// As [`Self::write`], without a wait.
    ///
    /// # Errors
    /// As [`Self::write`]; [`LockError::Timeout`] names a holder, at once.
    pub fn try_write(&mut self) -> Result<GraphPartGuard<'_, I, W>, LockError> {
        self.write_with(LockOptions::no_wait())
    }

    /// Locks the part for writing, also after another worker did not finish. The part's poison is cleared: its one
    /// writer writes all of it.
    ///
    /// # Errors
    /// As [`Self::write`], without poison.
    pub fn write_poisoned(&mut self) -> Result<GraphPartGuard<'_, I, W>, LockError> {
        self.write_with(LockOptions::default().accept_poison(true))
    }

    /// As [`Self::write`], with a timeout or with poison accepted.
    ///
    /// # Errors
    /// As [`Self::write`]; [`LockError::Timeout`] names the holder.
    pub fn write_with(
        &mut self,
        options: LockOptions,
    ) -> Result<GraphPartGuard<'_, I, W>, LockError> {
        let part = self.share().lock(options)?;
        Ok(GraphPartGuard::new(self.value(), part))
    }
}
