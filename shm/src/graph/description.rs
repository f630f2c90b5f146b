//! What the bytes of a graph mean.

use numpush_message::{Dtype, Element};
use serde::{Deserialize, Serialize};

use crate::dtype::DtypeText;
use crate::error::Error;
use crate::object::{Describe, Spans};

/// The span where the edges of each node begin.
pub(super) const INDPTR: usize = 0;
/// The span of the nodes that edges go to.
pub(super) const INDICES: usize = 1;
/// The span of the edges' weights.
pub(super) const WEIGHTS: usize = 2;

/// The description of a graph as processes send it to each other.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct GraphDescription {
    pub(super) nodes: usize,
    pub(super) edges: usize,
    columns: Vec<ColumnDescription>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct ColumnDescription {
    name: String,
    of: Of,
    dtype: DtypeText,
    span: usize,
}

/// What an attribute belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Of {
    Node,
    Edge,
}

impl GraphDescription {
    pub(super) fn new(nodes: usize, edges: usize) -> Self {
        Self {
            nodes,
            edges,
            columns: Vec::new(),
        }
    }

    /// The description with one more column of `len` values of `T`, in span `span`.
    pub(super) fn with_column<T: Element>(
        &self,
        of: Of,
        name: &str,
        len: usize,
        span: usize,
    ) -> Result<Self, Error> {
        let wanted = self.count(of);
        if len != wanted {
            let fault = format!("has {len} values, and the graph has {wanted} of them");
            return Err(column_error(name, fault));
        }
        if self.find(of, name).is_some() {
            return Err(column_error(name, "is in the graph already".into()));
        }
        let mut with = self.clone();
        with.columns.push(ColumnDescription {
            name: name.into(),
            of,
            dtype: (&Dtype::Scalar(T::SCALAR)).into(),
            span,
        });
        Ok(with)
    }

    /// The span of a column of `T`.
    pub(super) fn span_of<T: Element>(&self, of: Of, name: &str) -> Result<usize, Error> {
        let column = self
            .find(of, name)
            .ok_or_else(|| column_error(name, "is not in the graph".into()))?;
        let wanted = Dtype::Scalar(T::SCALAR);
        if column.dtype.parse().as_ref() != Some(&wanted) {
            return Err(column_error(name, format!("is not of {wanted}")));
        }
        Ok(column.span)
    }

    fn find(&self, of: Of, name: &str) -> Option<&ColumnDescription> {
        let is_it = |column: &&ColumnDescription| column.of == of && column.name == name;
        self.columns.iter().find(is_it)
    }

    fn count(&self, of: Of) -> usize {
        match of {
            Of::Node => self.nodes,
            Of::Edge => self.edges,
        }
    }

    fn fits(&self, spans: &Spans) -> bool {
        let words = |count: usize| count.checked_mul(8);
        let column = |column: &ColumnDescription| {
            let item = column.dtype.parse().map_or(0, |dtype| dtype.size());
            spans.len_of(column.span) == self.count(column.of).checked_mul(item)
        };
        spans.len_of(INDPTR) == words(self.nodes.saturating_add(1))
            && spans.len_of(INDICES) == words(self.edges)
            && spans.len_of(WEIGHTS) == words(self.edges)
            && self.columns.iter().all(column)
    }
}

fn column_error(name: &str, fault: String) -> Error {
    Error::Column {
        name: name.into(),
        fault,
    }
}

impl Describe for GraphDescription {
    const KIND: &'static str = "a graph";
    type Sent = Self;

    fn sent(&self) -> &Self {
        self
    }

    fn receive(sent: Self, spans: &Spans) -> Result<Self, Error> {
        let malformed = |what| Error::Protocol {
            peer: "the owner".into(),
            what,
        };
        if !sent.fits(spans) {
            return Err(malformed("a graph that does not fit its bytes"));
        }
        if spans.locks().len() != 1 {
            return Err(malformed("a graph under several locks"));
        }
        for span in [INDPTR, INDICES, WEIGHTS] {
            spans.check_alignment(span, align_of::<u64>())?;
        }
        for column in &sent.columns {
            let item = column.dtype.parse().map_or(1, |dtype| dtype.size());
            spans.check_alignment(column.span, item.min(align_of::<u64>()))?;
        }
        Ok(sent)
    }

    fn summary(sent: &Self) -> String {
        format!("graph {} nodes, {} edges", sent.nodes, sent.edges)
    }
}
