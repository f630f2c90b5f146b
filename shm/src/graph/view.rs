//! The graph as petgraph's algorithms see it.

use std::ops::Range;

use petgraph::visit::{
    Data, EdgeRef, GraphBase, GraphProp, GraphRef, IntoEdgeReferences, IntoEdges, IntoNeighbors,
    IntoNodeIdentifiers, NodeCompactIndexable, NodeCount, NodeIndexable, VisitMap, Visitable,
};
use petgraph::{Directed, visit::EdgeCount};

use crate::graph::GraphReadGuard;
use crate::graph::element::{GraphIndex, GraphWeight};

/// A graph that is locked for reading, for the algorithms of petgraph. Nodes and edges are numbers; nothing is copied.
#[derive(Clone, Copy, Debug)]
pub struct GraphView<'a, I = u64, W = f64> {
    indptr: &'a [I],
    indices: &'a [I],
    weights: &'a [W],
}

impl<I: GraphIndex, W: GraphWeight> GraphReadGuard<'_, I, W> {
    /// The graph for the algorithms of petgraph.
    pub fn view(&self) -> GraphView<'_, I, W> {
        GraphView {
            indptr: self.indptr(),
            indices: self.indices(),
            weights: self.weights(),
        }
    }
}

/// An edge of a [`GraphView`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Edge<W = f64> {
    /// The node it leaves.
    pub from: usize,
    /// The node it goes to.
    pub to: usize,
    /// Its weight.
    pub weight: W,
    /// Its number.
    pub number: usize,
}

impl<'a, I: GraphIndex, W: GraphWeight> GraphView<'a, I, W> {
    fn edges_from(self, node: usize) -> Edges<'a, I, W> {
        let at = |node: usize| self.indptr.get(node).map_or(0, |&at| at.to_usize());
        Edges {
            view: self,
            from: node,
            edges: at(node)..at(node + 1),
        }
    }
}

/// Edges, one node's or those of all nodes from one on.
#[derive(Clone, Debug)]
pub struct Edges<'a, I = u64, W = f64> {
    view: GraphView<'a, I, W>,
    from: usize,
    edges: Range<usize>,
}

impl<I: GraphIndex, W: GraphWeight> Iterator for Edges<'_, I, W> {
    type Item = Edge<W>;

    fn next(&mut self) -> Option<Edge<W>> {
        let number = self.edges.next()?;
        let to = self.view.indices.get(number)?.to_usize();
        Some(Edge {
            from: self.from,
            to,
            weight: *self.view.weights.get(number)?,
            number,
        })
    }
}

/// The nodes that one node's edges go to.
#[derive(Clone, Debug)]
pub struct Neighbors<'a, I = u64, W = f64>(Edges<'a, I, W>);

impl<I: GraphIndex, W: GraphWeight> Iterator for Neighbors<'_, I, W> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        self.0.next().map(|edge| edge.to)
    }
}

/// All edges.
#[derive(Clone, Debug)]
pub struct AllEdges<'a, I = u64, W = f64> {
    view: GraphView<'a, I, W>,
    node: Edges<'a, I, W>,
}

impl<I: GraphIndex, W: GraphWeight> Iterator for AllEdges<'_, I, W> {
    type Item = Edge<W>;

    fn next(&mut self) -> Option<Edge<W>> {
        loop {
            if let Some(edge) = self.node.next() {
                return Some(edge);
            }
            let next = self.node.from + 1;
            if next >= self.view.node_count() {
                return None;
            }
            self.node = self.view.edges_from(next);
        }
    }
}

impl<W: GraphWeight> EdgeRef for Edge<W> {
    type NodeId = usize;
    type EdgeId = usize;
    type Weight = W;

    fn source(&self) -> usize {
        self.from
    }

    fn target(&self) -> usize {
        self.to
    }

    fn weight(&self) -> &W {
        &self.weight
    }

    fn id(&self) -> usize {
        self.number
    }
}

impl<I: GraphIndex, W: GraphWeight> GraphBase for GraphView<'_, I, W> {
    type NodeId = usize;
    type EdgeId = usize;
}

impl<I: GraphIndex, W: GraphWeight> GraphRef for GraphView<'_, I, W> {}

impl<I: GraphIndex, W: GraphWeight> Data for GraphView<'_, I, W> {
    type NodeWeight = ();
    type EdgeWeight = W;
}

impl<I: GraphIndex, W: GraphWeight> GraphProp for GraphView<'_, I, W> {
    type EdgeType = Directed;
}

impl<I: GraphIndex, W: GraphWeight> NodeCount for GraphView<'_, I, W> {
    fn node_count(&self) -> usize {
        self.indptr.len().saturating_sub(1)
    }
}

impl<I: GraphIndex, W: GraphWeight> EdgeCount for GraphView<'_, I, W> {
    fn edge_count(&self) -> usize {
        self.indices.len()
    }
}

impl<I: GraphIndex, W: GraphWeight> NodeIndexable for GraphView<'_, I, W> {
    fn node_bound(&self) -> usize {
        self.node_count()
    }

    fn to_index(&self, node: usize) -> usize {
        node
    }

    fn from_index(&self, index: usize) -> usize {
        index
    }
}

impl<I: GraphIndex, W: GraphWeight> NodeCompactIndexable for GraphView<'_, I, W> {}

impl<I: GraphIndex, W: GraphWeight> IntoNodeIdentifiers for GraphView<'_, I, W> {
    type NodeIdentifiers = Range<usize>;

    fn node_identifiers(self) -> Range<usize> {
        0..self.node_count()
    }
}

impl<'a, I: GraphIndex, W: GraphWeight> IntoNeighbors for GraphView<'a, I, W> {
    type Neighbors = Neighbors<'a, I, W>;

    fn neighbors(self, node: usize) -> Neighbors<'a, I, W> {
        Neighbors(self.edges_from(node))
    }
}

impl<'a, I: GraphIndex, W: GraphWeight> IntoEdgeReferences for GraphView<'a, I, W> {
    type EdgeRef = Edge<W>;
    type EdgeReferences = AllEdges<'a, I, W>;

    fn edge_references(self) -> AllEdges<'a, I, W> {
        AllEdges {
            view: self,
            node: self.edges_from(0),
        }
    }
}

impl<'a, I: GraphIndex, W: GraphWeight> IntoEdges for GraphView<'a, I, W> {
    type Edges = Edges<'a, I, W>;

    fn edges(self, node: usize) -> Edges<'a, I, W> {
        self.edges_from(node)
    }
}

impl<I: GraphIndex, W: GraphWeight> Visitable for GraphView<'_, I, W> {
    type Map = VisitedNodes;

    fn visit_map(&self) -> VisitedNodes {
        VisitedNodes {
            bits: vec![0; self.node_count().div_ceil(64)],
        }
    }

    fn reset_map(&self, map: &mut VisitedNodes) {
        *map = self.visit_map();
    }
}

/// Which nodes of a graph were visited: a bit for each. A node that does not exist, whatever another process wrote, is
/// always visited already, so that no algorithm goes there.
#[derive(Clone, Debug, Default)]
pub struct VisitedNodes {
    bits: Vec<u64>,
}

impl VisitMap<usize> for VisitedNodes {
    fn visit(&mut self, node: usize) -> bool {
        let is_new = !self.is_visited(&node);
        if is_new {
            self.bits[node / 64] |= 1 << (node % 64);
        }
        is_new
    }

    fn is_visited(&self, node: &usize) -> bool {
        let word = self.bits.get(node / 64);
        word.is_none_or(|word| word >> (node % 64) & 1 == 1)
    }

    fn unvisit(&mut self, node: usize) -> bool {
        let was_visited = self.is_visited(&node);
        if let Some(word) = self.bits.get_mut(node / 64) {
            *word &= !(1 << (node % 64));
        }
        was_visited
    }
}
