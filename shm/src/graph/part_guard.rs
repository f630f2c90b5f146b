use std::marker::PhantomData;
use std::ops::Range;

use bytemuck::Pod;
use numpush_message::Element;
use numpush_shm_core::{DividedRun, Locked, MemoryRange, PartHold, block_range};

use crate::elements::{elements, elements_mut};
use crate::error::Error;
use crate::graph::description::{EDGES, GraphDescription, Of};
use crate::graph::edges::edges_of;
use crate::graph::{GraphIndex, GraphWeight, SharedGraph};
use crate::object::Spans;

/// A part of a graph while the part's lock is held.
#[derive(Debug)]
#[must_use = "dropped at once, it unlocks at once"]
pub struct GraphPartGuard<'a, I = u64, W = f64> {
    spans: &'a Spans,
    description: &'a GraphDescription,
    part: PartHold,
    elements: PhantomData<fn() -> (I, W)>,
}

/// What all workers on parts of a graph read: its edges, their weights and their attributes.
#[derive(Debug)]
pub struct GraphPartView<'a, I = u64, W = f64> {
    description: &'a GraphDescription,
    /// The bytes of the spans that are not of nodes, each with its number.
    read: Vec<(usize, &'a [u8])>,
    elements: PhantomData<fn() -> (I, W)>,
}

/// The edges of the whole graph, and attributes of a part's nodes.
type PartViews<'a, I, W, T, const N: usize> = (GraphPartView<'a, I, W>, [&'a mut [T]; N]);

impl<'a, I: GraphIndex, W: GraphWeight> GraphPartGuard<'a, I, W> {
    pub(super) fn new(graph: &'a SharedGraph<I, W>, part: PartHold) -> Self {
        Self {
            spans: graph.object.spans(),
            description: &graph.object.description().sent,
            part,
            elements: PhantomData,
        }
    }

    /// The nodes of the part.
    pub fn range(&self) -> Range<usize> {
        let id = self.part.id();
        block_range(id.division, id.number, 0, self.description.nodes)
    }

    /// The edges of the whole graph, to read, and attributes of one type of the part's nodes, to write. The first value of an
    /// attribute is that of the part's first node.
    ///
    /// # Errors
    /// [`Error::Column`] if there is no attribute of a name, or if its values are not of `T`.
    ///
    /// # Panics
    /// If an attribute is named twice.
    pub fn columns<T: Element + Pod, const N: usize>(
        &mut self,
        names: [&str; N],
    ) -> Result<PartViews<'_, I, W, T, N>, Error> {
        let spans = self.spans.locked();
        let mut written = Vec::with_capacity(N);
        for name in names {
            let span = self.description.span_of::<T>(Of::Node, name)?;
            written.push(DividedRun {
                bytes: &spans[span],
                items: self.description.nodes.max(1),
                rows: 1,
            });
        }
        let numbers: Vec<usize> = EDGES.chain(self.description.spans_of(Of::Edge)).collect();
        let read: Vec<_> = numbers.iter().map(|&span| &spans[span]).collect();
        let views = MemoryRange::<Locked>::part_bytes_beside(&written, &read, &mut self.part);
        let (written, read) = views.map_err(|_| Error::InUse {
            what: "this process knows the part divided in another way",
        })?;
        let view = GraphPartView {
            description: self.description,
            read: numbers.into_iter().zip(read).collect(),
            elements: PhantomData,
        };
        let mut written = written.into_iter();
        let columns = std::array::from_fn(|_| elements_mut(written.next().unwrap_or_default()));
        Ok((view, columns))
    }
}

impl<I: GraphIndex, W: GraphWeight> GraphPartView<'_, I, W> {
    fn bytes(&self, span: usize) -> &[u8] {
        let found = self.read.iter().find(|(number, _)| *number == span);
        found.map_or(&[], |(_, bytes)| bytes)
    }

    /// Where the edges of each node begin, and after the last node where its edges end.
    pub fn indptr(&self) -> &[I] {
        elements(self.read[0].1)
    }

    /// Where each edge goes.
    pub fn indices(&self) -> &[I] {
        elements(self.read[1].1)
    }

    /// The weight of each edge.
    pub fn weights(&self) -> &[W] {
        W::of_bytes(self.read[2].1, self.description.edges)
    }

    /// The edges that leave `node`, any node of the graph: where they go, their weight, and their number. None for a node that
    /// does not exist.
    pub fn edges_of(&self, node: usize) -> impl Iterator<Item = (usize, W, usize)> {
        edges_of(self.indptr(), self.indices(), self.weights(), node)
    }

    /// An attribute of all edges.
    ///
    /// # Errors
    /// [`Error::Column`] if there is none of that name, or if its values are not of `T`.
    pub fn edge_column<T: Element + Pod>(&self, name: &str) -> Result<&[T], Error> {
        let span = self.description.span_of::<T>(Of::Edge, name)?;
        Ok(elements(self.bytes(span)))
    }
}
