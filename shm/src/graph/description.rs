//! What the bytes of a graph mean.

use std::fmt;
use std::marker::PhantomData;

use numpush_message::{Dtype, Element};
use serde::{Deserialize, Serialize};

use crate::dtype::DtypeText;
use crate::error::Error;
use crate::graph::element::{GraphIndex, GraphWeight};
use crate::object::{Describe, Spans};

/// The span where the edges of each node begin.
pub(super) const INDPTR: usize = 0;
/// The span of the nodes that edges go to.
pub(super) const INDICES: usize = 1;
/// The span of the edges' weights.
pub(super) const WEIGHTS: usize = 2;

/// The three of them.
pub(super) const EDGES: std::ops::RangeInclusive<usize> = INDPTR..=WEIGHTS;

/// The description of a graph as processes send it to each other.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct GraphDescription {
    pub(super) nodes: usize,
    pub(super) edges: usize,
    index: DtypeText,
    /// `None` for edges without weights.
    weight: Option<DtypeText>,
    columns: Vec<ColumnDescription>,
}

/// The description of a graph with numbers `I` and weights `W`.
pub(crate) struct TypedGraph<I, W> {
    pub(super) sent: GraphDescription,
    elements: PhantomData<fn() -> (I, W)>,
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
    fn new<I: GraphIndex, W: GraphWeight>(nodes: usize, edges: usize) -> Self {
        let text = |scalar| DtypeText::from(&Dtype::Scalar(scalar));
        Self {
            nodes,
            edges,
            index: text(I::SCALAR),
            weight: W::SCALAR.map(text),
            columns: Vec::new(),
        }
    }

    /// The element types, for errors and reports.
    fn elements(&self) -> String {
        let name = |text: &DtypeText| text.parse().map(|dtype| dtype.to_string());
        let index = name(&self.index).unwrap_or_default();
        match self.weight.as_ref().and_then(name) {
            Some(weight) => format!("{index} indices and {weight} weights"),
            None => format!("{index} indices and no weights"),
        }
    }

    /// The description with `edges` other edges, without the columns of the edges before. Also returns the spans of the
    /// columns that stay, which follow those of the three arrays now.
    pub(super) fn with_edges(&self, edges: usize) -> (Self, Vec<usize>) {
        let mut with = self.clone();
        with.edges = edges;
        with.columns.retain(|column| column.of == Of::Node);
        let mut stay = Vec::new();
        for column in &mut with.columns {
            stay.push(column.span);
            column.span = WEIGHTS + stay.len();
        }
        (with, stay)
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

    /// The spans of all columns of nodes, or of edges.
    pub(super) fn spans_of(&self, of: Of) -> impl Iterator<Item = usize> {
        let wanted = self.columns.iter().filter(move |column| column.of == of);
        wanted.map(|column| column.span)
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
        let size = |text: &DtypeText| text.parse().map_or(0, |dtype| dtype.size());
        let index = |count: usize| count.checked_mul(size(&self.index));
        let weight = self.weight.as_ref().map_or(0, size);
        let column = |column: &ColumnDescription| {
            spans.len_of(column.span) == self.count(column.of).checked_mul(size(&column.dtype))
        };
        spans.len_of(INDPTR) == index(self.nodes.saturating_add(1))
            && spans.len_of(INDICES) == index(self.edges)
            && spans.len_of(WEIGHTS) == self.edges.checked_mul(weight)
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
        let alignment = |text: &DtypeText| text.parse().map_or(1, |dtype| dtype.size().min(8));
        for span in [INDPTR, INDICES] {
            spans.check_alignment(span, alignment(&sent.index))?;
        }
        if let Some(weight) = &sent.weight {
            spans.check_alignment(WEIGHTS, alignment(weight))?;
        }
        for column in &sent.columns {
            spans.check_alignment(column.span, alignment(&column.dtype))?;
        }
        Ok(sent)
    }

    fn summary(sent: &Self) -> String {
        let Self { nodes, edges, .. } = sent;
        format!("graph {nodes} nodes, {edges} edges, {}", sent.elements())
    }
}

impl<I: GraphIndex, W: GraphWeight> TypedGraph<I, W> {
    pub(super) fn new(nodes: usize, edges: usize) -> Self {
        Self::with(GraphDescription::new::<I, W>(nodes, edges))
    }

    /// The same graph, described otherwise.
    pub(super) fn with(sent: GraphDescription) -> Self {
        Self {
            sent,
            elements: PhantomData,
        }
    }

    pub(super) fn from_sent(sent: GraphDescription) -> Result<Self, Error> {
        let wanted = GraphDescription::new::<I, W>(0, 0).elements();
        let found = sent.elements();
        if found != wanted {
            let name = |elements| format!("a graph of {elements}").into();
            let (found, wanted) = (name(found), name(wanted));
            return Err(Error::Kind { found, wanted });
        }
        Ok(Self::with(sent))
    }
}

impl<I: GraphIndex, W: GraphWeight> Describe for TypedGraph<I, W> {
    const KIND: &'static str = GraphDescription::KIND;
    type Sent = GraphDescription;

    fn sent(&self) -> &GraphDescription {
        &self.sent
    }

    fn receive(sent: GraphDescription, spans: &Spans) -> Result<Self, Error> {
        GraphDescription::receive(sent, spans).and_then(Self::from_sent)
    }

    fn summary(sent: &GraphDescription) -> String {
        GraphDescription::summary(sent)
    }
}

impl<I, W> fmt::Debug for TypedGraph<I, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.sent.fmt(f)
    }
}
