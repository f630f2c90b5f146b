use std::marker::PhantomData;

use bytemuck::Pod;
use numpush_message::Element;
use numpush_shm_core::{LockError, LockOptions, Poison, ReadHold, WriteHold};

use crate::elements::{elements, elements_mut};
use crate::error::Error;
use crate::graph::description::{GraphDescription, INDICES, INDPTR, Of, TypedGraph, WEIGHTS};
use crate::graph::edges::edges_of;
use crate::graph::element::{GraphIndex, GraphWeight};
use crate::object::{Object, Spans};

/// A graph while its lock is held for reading.
#[derive(Debug)]
#[must_use = "dropped at once, it unlocks at once"]
pub struct GraphReadGuard<'a, I = u64, W = f64> {
    spans: &'a Spans,
    description: &'a GraphDescription,
    held: ReadHold,
    elements: PhantomData<fn() -> (I, W)>,
}

/// Weights and attributes of a graph while its lock is held for writing.
#[derive(Debug)]
#[must_use = "dropped at once, it unlocks at once"]
pub struct GraphWriteGuard<'a, I = u64, W = f64> {
    spans: &'a Spans,
    description: &'a GraphDescription,
    held: WriteHold,
    elements: PhantomData<fn() -> (I, W)>,
}

impl<'a, I: GraphIndex, W: GraphWeight> GraphReadGuard<'a, I, W> {
    pub(super) fn new(
        object: &'a Object<TypedGraph<I, W>>,
        options: LockOptions,
    ) -> Result<Self, LockError> {
        let spans = object.spans();
        let held = spans.read(options)?;
        Ok(Self {
            spans,
            description: &object.description().sent,
            held,
            elements: PhantomData,
        })
    }

    fn elements<T: Pod>(&self, span: usize) -> &[T] {
        elements(self.spans.locked()[span].bytes(&self.held))
    }

    /// What an unfinished write left, if the lock was taken nevertheless.
    pub fn poison(&self) -> Option<Poison> {
        self.held.poison()
    }

    /// Where the edges of each node begin, and after the last node where its edges end.
    pub fn indptr(&self) -> &[I] {
        self.elements(INDPTR)
    }

    /// Where each edge goes.
    pub fn indices(&self) -> &[I] {
        self.elements(INDICES)
    }

    /// The weight of each edge.
    pub fn weights(&self) -> &[W] {
        let bytes = self.spans.locked()[WEIGHTS].bytes(&self.held);
        W::of_bytes(bytes, self.description.edges)
    }

    /// The edges that leave `node`: where they go, their weight, and their number. None for a node that does not exist.
    pub fn edges_of(&self, node: usize) -> impl Iterator<Item = (usize, W, usize)> {
        edges_of(self.indptr(), self.indices(), self.weights(), node)
    }

    /// An attribute of all nodes.
    ///
    /// # Errors
    /// [`Error::Column`] if there is none of that name, or if its values are not of `T`.
    pub fn node_column<T: Element + Pod>(&self, name: &str) -> Result<&[T], Error> {
        Ok(self.elements(self.description.span_of::<T>(Of::Node, name)?))
    }

    /// An attribute of all edges.
    ///
    /// # Errors
    /// As [`Self::node_column`].
    pub fn edge_column<T: Element + Pod>(&self, name: &str) -> Result<&[T], Error> {
        Ok(self.elements(self.description.span_of::<T>(Of::Edge, name)?))
    }
}

impl<'a, I: GraphIndex, W: GraphWeight> GraphWriteGuard<'a, I, W> {
    pub(super) fn new(
        object: &'a Object<TypedGraph<I, W>>,
        options: LockOptions,
    ) -> Result<Self, LockError> {
        let spans = object.spans();
        let held = spans.write(options)?;
        Ok(Self {
            spans,
            description: &object.description().sent,
            held,
            elements: PhantomData,
        })
    }

    fn elements<T: Pod>(&mut self, span: usize) -> &mut [T] {
        elements_mut(self.spans.locked()[span].bytes_mut(&mut self.held))
    }

    /// The weight of each edge.
    pub fn weights(&mut self) -> &mut [W] {
        let bytes = self.spans.locked()[WEIGHTS].bytes_mut(&mut self.held);
        W::of_bytes_mut(bytes, self.description.edges)
    }

    /// An attribute of all nodes.
    ///
    /// # Errors
    /// As [`GraphReadGuard::node_column`].
    pub fn node_column<T: Element + Pod>(&mut self, name: &str) -> Result<&mut [T], Error> {
        let span = self.description.span_of::<T>(Of::Node, name)?;
        Ok(self.elements(span))
    }

    /// An attribute of all edges.
    ///
    /// # Errors
    /// As [`GraphReadGuard::node_column`].
    pub fn edge_column<T: Element + Pod>(&mut self, name: &str) -> Result<&mut [T], Error> {
        let span = self.description.span_of::<T>(Of::Edge, name)?;
        Ok(self.elements(span))
    }

    /// What an unfinished write left, if the lock was taken nevertheless.
    pub fn poison(&self) -> Option<&Poison> {
        self.held.poison()
    }

    /// Declares that the graph is whole again. Without it the graph stays poisoned.
    pub fn clear_poison(&mut self) {
        self.held.clear_poison();
    }
}
