//! The edges of one node.

use std::ops::Range;

use crate::graph::element::{GraphIndex, GraphWeight};

/// The edges that leave `node`: where they go, their weight, and their number. None for a node that does not exist.
///
/// Another process may have written the arrays: what they say is checked once for a node, against the lengths.
#[inline]
pub(super) fn edges_of<I: GraphIndex, W: GraphWeight>(
    indptr: &[I],
    indices: &[I],
    weights: &[W],
    node: usize,
) -> impl Iterator<Item = (usize, W, usize)> {
    let edges = range_of(indptr, node);
    let start = edges.start;
    let targets = indices.get(edges.clone()).unwrap_or_default();
    let weights = weights.get(edges).unwrap_or_default();
    let pairs = targets.iter().zip(weights).enumerate();
    pairs.map(move |(at, (to, weight))| (to.to_usize(), *weight, start + at))
}

fn range_of<I: GraphIndex>(indptr: &[I], node: usize) -> Range<usize> {
    let ends = node.checked_add(2).and_then(|end| indptr.get(node..end));
    match ends {
        Some([start, end]) => start.to_usize()..end.to_usize(),
        _ => 0..0,
    }
}
