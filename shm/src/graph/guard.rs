use bytemuck::Pod;
use numpush_message::{Dtype, Element};
use numpush_shm_core::{LockOptions, Poison, ReadHold, WriteHold};

use crate::error::Error;
use crate::graph::{Descriptor, INDICES, INDPTR, Of, WEIGHTS};
use crate::object::Object;

/// A graph while its lock is held for reading.
#[derive(Debug)]
pub struct GraphReadGuard<'a> {
    value: &'a Object,
    meta: &'a Descriptor,
    held: ReadHold,
}

/// Weights and attributes of a graph while its lock is held for writing.
#[derive(Debug)]
pub struct GraphWriteGuard<'a> {
    value: &'a Object,
    meta: &'a Descriptor,
    held: WriteHold,
}

impl<'a> GraphReadGuard<'a> {
    pub(super) fn new(
        value: &'a Object,
        meta: &'a Descriptor,
        attempt: LockOptions,
    ) -> Result<Self, Error> {
        Ok(Self {
            value,
            meta,
            held: value.lock().read(attempt)?,
        })
    }

    fn elements<T: Pod>(&self, span: usize) -> &[T] {
        let bytes = self.value.guarded()[span].bytes(&self.held);
        if bytes.is_empty() {
            &[]
        } else {
            bytemuck::cast_slice(bytes)
        }
    }

    /// Where the edges of each node begin, and behind the last where they end.
    pub fn indptr(&self) -> &[u64] {
        self.elements(INDPTR)
    }

    /// Where each edge goes.
    pub fn indices(&self) -> &[u64] {
        self.elements(INDICES)
    }

    /// The weight of each edge.
    pub fn weights(&self) -> &[f64] {
        self.elements(WEIGHTS)
    }

    /// The edges that leave `node`: where they go, their weight, and their number. None for a node that is not there.
    pub fn edges_of(&self, node: usize) -> impl Iterator<Item = (usize, f64, usize)> {
        let at = |node: usize| {
            self.indptr()
                .get(node)
                .and_then(|&at| usize::try_from(at).ok())
        };
        let edges = at(node)
            .zip(at(node + 1))
            .map_or(0..0, |(start, end)| start..end);
        let (indices, weights) = (self.indices(), self.weights());
        edges.filter_map(|edge| {
            let to = usize::try_from(*indices.get(edge)?).ok()?;
            Some((to, *weights.get(edge)?, edge))
        })
    }

    /// An attribute of all nodes.
    ///
    /// # Errors
    /// [`Error::Column`] if there is none of that name, or if its values are not of `T`.
    pub fn node_column<T: Element + Pod>(&self, name: &str) -> Result<&[T], Error> {
        Ok(self.elements(span_of::<T>(self.meta, Of::Node, name)?))
    }

    /// An attribute of all edges.
    ///
    /// # Errors
    /// As [`Self::node_column`].
    pub fn edge_column<T: Element + Pod>(&self, name: &str) -> Result<&[T], Error> {
        Ok(self.elements(span_of::<T>(self.meta, Of::Edge, name)?))
    }
}

impl<'a> GraphWriteGuard<'a> {
    pub(super) fn new(
        value: &'a Object,
        meta: &'a Descriptor,
        attempt: LockOptions,
    ) -> Result<Self, Error> {
        Ok(Self {
            value,
            meta,
            held: value.lock().write(attempt)?,
        })
    }

    fn elements<T: Pod>(&mut self, span: usize) -> &mut [T] {
        let bytes = self.value.guarded()[span].bytes_mut(&mut self.held);
        if bytes.is_empty() {
            &mut []
        } else {
            bytemuck::cast_slice_mut(bytes)
        }
    }

    /// The weight of each edge.
    pub fn weights(&mut self) -> &mut [f64] {
        self.elements(WEIGHTS)
    }

    /// An attribute of all nodes.
    ///
    /// # Errors
    /// As [`GraphReadGuard::node_column`].
    pub fn node_column<T: Element + Pod>(&mut self, name: &str) -> Result<&mut [T], Error> {
        let span = span_of::<T>(self.meta, Of::Node, name)?;
        Ok(self.elements(span))
    }

    /// An attribute of all edges.
    ///
    /// # Errors
    /// As [`GraphReadGuard::node_column`].
    pub fn edge_column<T: Element + Pod>(&mut self, name: &str) -> Result<&mut [T], Error> {
        let span = span_of::<T>(self.meta, Of::Edge, name)?;
        Ok(self.elements(span))
    }

    /// What an unfinished write left behind, if the graph was locked nevertheless.
    pub fn poison(&self) -> Option<&Poison> {
        self.held.poison()
    }

    /// Says that the graph is whole again.
    pub fn clear_poison(&mut self) {
        self.held.clear_poison();
    }
}

fn span_of<T: Element>(meta: &Descriptor, of: Of, name: &str) -> Result<usize, Error> {
    let fault = |fault: String| Error::Column {
        name: name.into(),
        fault,
    };
    let column = meta
        .columns
        .iter()
        .find(|column| column.of == of && column.name == name);
    let column = column.ok_or_else(|| fault("is not in the graph".into()))?;
    let wanted = Dtype::Scalar(T::SCALAR);
    if column.dtype.parse().as_ref() != Some(&wanted) {
        return Err(fault(format!("is not of {wanted}")));
    }
    Ok(column.span)
}
