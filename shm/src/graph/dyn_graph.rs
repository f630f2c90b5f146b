use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::graph::SharedGraph;
use crate::graph::description::{GraphDescription, TypedGraph};
use crate::graph::element::{GraphIndex, GraphWeight};
use crate::object::{Describe, Handle, Object, RawObject};

/// A shared graph whose numbers and weights are known at run time only.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SharedDynGraph {
    object: Object<GraphDescription>,
}

impl SharedDynGraph {
    pub(crate) const KIND: &str = GraphDescription::KIND;

    pub(crate) fn from_raw(raw: Arc<RawObject>) -> Result<Self, Error> {
        Object::from_raw(raw).map(|object| Self { object })
    }

    /// Opens the graph of a handle.
    ///
    /// # Errors
    /// As [`SharedGraph::open`], for every type of numbers and weights.
    pub fn open(handle: &Handle) -> Result<Self, Error> {
        Object::open(handle).map(|object| Self { object })
    }

    /// The handle by which another process opens the graph.
    ///
    /// # Errors
    /// As [`SharedArray::handle`](crate::SharedArray::handle).
    pub fn handle(&self) -> Result<Handle, Error> {
        self.object.handle()
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

    /// The graph with the types of its numbers and weights.
    ///
    /// # Errors
    /// [`Error::Kind`] if it has others.
    pub fn typed<I: GraphIndex, W: GraphWeight>(self) -> Result<SharedGraph<I, W>, Error> {
        let graph = TypedGraph::from_sent(self.object.description().clone())?;
        Ok(SharedGraph {
            object: self.object.described(|_| graph),
        })
    }
}
