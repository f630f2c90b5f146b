use crate::arena::Arena;
use crate::error::Error;
use crate::graph::SharedGraph;

fn graph() -> (Arena, SharedGraph) {
    let arena = Arena::new(1 << 20);
    let edges = [(2, 0, 5.0), (0, 1, 1.0), (0, 2, 4.0), (1, 2, 2.0)];
    let graph = SharedGraph::from_edges(&arena, 3, &edges).unwrap();
    (arena, graph)
}

#[test]
fn edges_are_found_by_their_node() {
    let (_arena, graph) = graph();
    let guard = graph.read().unwrap();
    assert_eq!(guard.indptr(), [0, 2, 3, 4]);
    assert_eq!(
        guard
            .edges_of(0)
            .map(|(to, weight, _)| (to, weight))
            .collect::<Vec<_>>(),
        [(1, 1.0), (2, 4.0)]
    );
    assert_eq!(guard.edges_of(7).count(), 0);
}

#[test]
fn weights_and_attributes_are_written_in_place() {
    let (arena, mut graph) = graph();
    graph
        .add_node_column(&arena, "rank", &[0.5_f32; 3])
        .unwrap();
    graph
        .add_edge_column(&arena, "kind", &[1_u8, 2, 3, 4])
        .unwrap();
    assert!(
        graph
            .add_node_column(&arena, "rank", &[0.5_f32; 3])
            .is_err()
    );
    assert!(graph.add_edge_column(&arena, "short", &[1_u8]).is_err());
    let mut guard = graph.write().unwrap();
    guard.weights().fill(9.0);
    guard.node_column::<f32>("rank").unwrap()[1] = 1.0;
    drop(guard);
    let guard = graph.read().unwrap();
    assert_eq!(guard.weights(), [9.0; 4]);
    assert_eq!(guard.node_column::<f32>("rank").unwrap(), [0.5, 1.0, 0.5]);
    assert_eq!(guard.edge_column::<u8>("kind").unwrap(), [1, 2, 3, 4]);
    assert!(guard.edge_column::<u16>("kind").is_err());
}

#[test]
fn arrays_that_are_no_graph_are_refused() {
    let arena = Arena::new(1 << 20);
    let make = |indptr: &[u64], indices: &[u64]| {
        SharedGraph::from_csr(&arena, indptr, indices, &vec![1.0; indices.len()])
    };
    assert!(make(&[0, 1, 1], &[1]).is_ok());
    for (indptr, indices) in [
        (&[0, 2, 1][..], &[1][..]),
        (&[0, 1], &[1]),
        (&[], &[]),
        (&[1, 1], &[0]),
        (&[0, 2], &[0]),
    ] {
        assert!(
            matches!(make(indptr, indices), Err(Error::Graph { .. })),
            "{indptr:?} {indices:?}"
        );
    }
    assert!(SharedGraph::from_edges(&arena, 2, &[(2, 0, 1.0)]).is_err());
}

#[cfg(feature = "petgraph")]
#[test]
fn petgraph_walks_it_where_it_lies() {
    let (_arena, graph) = graph();
    let guard = graph.read().unwrap();
    let far = petgraph::algo::dijkstra(guard.view(), 0, None, |edge| edge.weight);
    assert_eq!((far[&1], far[&2]), (1.0, 3.0));
    assert!(petgraph::algo::is_cyclic_directed(guard.view()));
    let components = petgraph::algo::tarjan_scc(guard.view());
    assert_eq!(components.len(), 1);
}
