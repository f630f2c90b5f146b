//! The graph as petgraph's algorithms see it.

use std::collections::HashSet;
use std::ops::Range;

use petgraph::visit::{
    Data, EdgeRef, GraphBase, GraphProp, GraphRef, IntoEdgeReferences, IntoEdges, IntoNeighbors,
    IntoNodeIdentifiers, NodeCompactIndexable, NodeCount, NodeIndexable, Visitable,
};
use petgraph::{Directed, visit::EdgeCount};

use crate::graph::GraphReadGuard;

/// A graph that is locked for reading, for the algorithms of petgraph. Nodes and edges are numbers; nothing is copied.
#[derive(Clone, Copy, Debug)]
pub struct GraphView<'a> {
    indptr: &'a [u64],
    indices: &'a [u64],
    weights: &'a [f64],
}

impl GraphReadGuard<'_> {
    /// The graph for the algorithms of petgraph.
    pub fn view(&self) -> GraphView<'_> {
        GraphView {
            indptr: self.indptr(),
            indices: self.indices(),
            weights: self.weights(),
        }
    }
}

/// An edge of a [`GraphView`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Edge {
    /// The node it leaves.
    pub from: usize,
    /// The node it goes to.
    pub to: usize,
    /// Its weight.
    pub weight: f64,
    /// Its number.
    pub number: usize,
}

impl<'a> GraphView<'a> {
    fn edges_from(self, node: usize) -> Edges<'a> {
        let at = |node: usize| self.indptr.get(node).map_or(0, |&at| clip(at));
        Edges {
            view: self,
            from: node,
            edges: at(node)..at(node + 1),
        }
    }
}

/// Lengths fit; a number that does not is no edge.
fn clip(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Edges, one node's or those of all nodes from one on.
#[derive(Clone, Debug)]
pub struct Edges<'a> {
    view: GraphView<'a>,
    from: usize,
    edges: Range<usize>,
}

impl Iterator for Edges<'_> {
    type Item = Edge;

    fn next(&mut self) -> Option<Edge> {
        let number = self.edges.next()?;
        let to = clip(*self.view.indices.get(number)?);
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
pub struct Neighbors<'a>(Edges<'a>);

impl Iterator for Neighbors<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        self.0.next().map(|edge| edge.to)
    }
}

/// All edges.
#[derive(Clone, Debug)]
pub struct AllEdges<'a> {
    view: GraphView<'a>,
    node: Edges<'a>,
}

impl Iterator for AllEdges<'_> {
    type Item = Edge;

    fn next(&mut self) -> Option<Edge> {
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

impl EdgeRef for Edge {
    type NodeId = usize;
    type EdgeId = usize;
    type Weight = f64;

    fn source(&self) -> usize {
        self.from
    }

    fn target(&self) -> usize {
        self.to
    }

    fn weight(&self) -> &f64 {
        &self.weight
    }

    fn id(&self) -> usize {
        self.number
    }
}

impl GraphBase for GraphView<'_> {
    type NodeId = usize;
    type EdgeId = usize;
}

impl GraphRef for GraphView<'_> {}

impl Data for GraphView<'_> {
    type NodeWeight = ();
    type EdgeWeight = f64;
}

impl GraphProp for GraphView<'_> {
    type EdgeType = Directed;
}

impl NodeCount for GraphView<'_> {
    fn node_count(&self) -> usize {
        self.indptr.len().saturating_sub(1)
    }
}

impl EdgeCount for GraphView<'_> {
    fn edge_count(&self) -> usize {
        self.indices.len()
    }
}

impl NodeIndexable for GraphView<'_> {
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

impl NodeCompactIndexable for GraphView<'_> {}

impl IntoNodeIdentifiers for GraphView<'_> {
    type NodeIdentifiers = Range<usize>;

    fn node_identifiers(self) -> Range<usize> {
        0..self.node_count()
    }
}

impl<'a> IntoNeighbors for GraphView<'a> {
    type Neighbors = Neighbors<'a>;

    fn neighbors(self, node: usize) -> Neighbors<'a> {
        Neighbors(self.edges_from(node))
    }
}

impl<'a> IntoEdgeReferences for GraphView<'a> {
    type EdgeRef = Edge;
    type EdgeReferences = AllEdges<'a>;

    fn edge_references(self) -> AllEdges<'a> {
        AllEdges {
            view: self,
            node: self.edges_from(0),
        }
    }
}

impl<'a> IntoEdges for GraphView<'a> {
    type Edges = Edges<'a>;

    fn edges(self, node: usize) -> Edges<'a> {
        self.edges_from(node)
    }
}

impl Visitable for GraphView<'_> {
    type Map = HashSet<usize>;

    fn visit_map(&self) -> HashSet<usize> {
        HashSet::new()
    }

    fn reset_map(&self, map: &mut HashSet<usize>) {
        map.clear();
    }
}
