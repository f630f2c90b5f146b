use crate::arena::Arena;
use crate::error::Error;
use crate::graph::{SharedDynGraph, SharedGraph};
use crate::value::SharedValue;

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
    assert!(SharedGraph::<u64>::from_edges(&arena, 2, &[(2, 0, 1.0)]).is_err());
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

#[test]
fn a_graph_has_the_numbers_and_weights_it_is_asked_for() {
    let arena = Arena::new(1 << 20);
    let edges = [(2_u32, 0, 5.0_f32), (0, 1, 1.0), (0, 2, 4.0)];
    let small = SharedGraph::from_edges(&arena, 3, &edges).unwrap();
    let guard = small.read().unwrap();
    assert_eq!(
        (guard.indptr(), guard.indices()),
        (&[0, 2, 2, 3][..], &[1, 2, 0][..])
    );
    assert_eq!(guard.weights(), [1.0_f32, 4.0, 5.0]);
    assert_eq!(small.byte_len(), 4 * 4 + 3 * 4 + 3 * 4);
    let bare = SharedGraph::<u32, ()>::from_csr(&arena, &[0, 2, 2, 3], &[1, 2, 0], &[]).unwrap();
    assert_eq!(bare.byte_len(), 4 * 4 + 3 * 4);
    assert_eq!(bare.read().unwrap().edges_of(0).count(), 2);
    assert_eq!(bare.read().unwrap().weights().len(), 3);
    assert_eq!(bare.write().unwrap().weights().len(), 3);
}

#[test]
fn a_graph_of_other_numbers_is_refused() {
    let (_arena, graph) = graph();
    let handle = graph.handle().unwrap();
    let refused = SharedGraph::<u32, ()>::open(&handle).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the handle is of a graph of <u8 indices and <f8 weights, not of a graph of <u4 indices and no weights"
    );
    let any = SharedDynGraph::open(&handle).unwrap();
    assert_eq!((any.nodes(), any.edges()), (3, 4));
    assert!(any.clone().typed::<u64, f32>().is_err());
    assert_eq!(
        any.typed::<u64, f64>()
            .unwrap()
            .read()
            .unwrap()
            .weights()
            .len(),
        4
    );
    assert!(matches!(
        SharedValue::open(&handle).unwrap(),
        SharedValue::Graph(_)
    ));
}

#[test]
fn more_edges_than_the_numbers_count_are_refused() {
    let arena = Arena::new(1 << 20);
    let far = SharedGraph::<u32, ()>::from_edges(&arena, 2, &[(0, u32::MAX, ())]);
    assert!(matches!(far, Err(Error::Graph { .. })));
    let far = SharedGraph::<u64, ()>::from_edges(&arena, 2, &[(u64::MAX, 0, ())]);
    assert!(matches!(far, Err(Error::Graph { .. })));
}

#[test]
fn edges_are_replaced_and_columns_of_nodes_stay() {
    let (arena, mut graph) = graph();
    graph.add_edge_column(&arena, "kind", &[1_u8; 4]).unwrap();
    graph
        .add_node_column(&arena, "rank", &[0.5_f64; 3])
        .unwrap();
    let before = graph.clone();
    graph
        .replace_edges(&arena, &[0, 0, 1, 2], &[2, 0], &[7.0, 8.0])
        .unwrap();
    assert_eq!((graph.nodes(), graph.edges()), (3, 2));
    let opened = SharedGraph::<u64, f64>::open(&graph.handle().unwrap()).unwrap();
    opened.write().unwrap().node_column::<f64>("rank").unwrap()[1] = 9.0;
    let held = graph.read().unwrap();
    assert_eq!(
        held.edges_of(1)
            .map(|(to, weight, _)| (to, weight))
            .collect::<Vec<_>>(),
        [(2, 7.0)]
    );
    assert_eq!(held.node_column::<f64>("rank").unwrap(), [0.5, 9.0, 0.5]);
    assert!(held.edge_column::<u8>("kind").is_err());
    drop(held);
    let held = before.read().unwrap();
    assert_eq!(
        (
            held.weights().len(),
            held.node_column::<f64>("rank").unwrap()[1]
        ),
        (4, 9.0)
    );
    drop(held);
    assert!(graph.replace_edges(&arena, &[0, 0], &[], &[]).is_err());
    graph.add_edge_column(&arena, "kind", &[1_u8; 2]).unwrap();
    let used = arena.usage().used;
    drop(before);
    assert!(arena.usage().used < used, "the edges before are free");
}

#[cfg(feature = "petgraph")]
#[test]
fn a_node_that_does_not_exist_is_never_visited() {
    use petgraph::visit::{VisitMap, Visitable};
    let (_arena, graph) = graph();
    let guard = graph.read().unwrap();
    let mut map = guard.view().visit_map();
    assert!(map.visit(2) && !map.visit(2) && map.is_visited(&2));
    assert!(map.unvisit(2) && map.visit(2));
    assert!(!map.visit(usize::MAX) && map.is_visited(&usize::MAX));
    let order: Vec<usize> = {
        let mut search = petgraph::visit::Bfs::new(guard.view(), 0);
        std::iter::from_fn(|| search.next(guard.view())).collect()
    };
    assert_eq!(order, [0, 1, 2]);
}

#[test]
fn parts_write_attributes_of_their_nodes_beside_the_edges() {
    const NODES: usize = 20;
    let arena = Arena::new(1 << 20);
    // A ring, each edge with its own number as an attribute.
    let edges: Vec<(u64, u64, f64)> = (0..NODES as u64)
        .map(|node| (node, (node + 1) % NODES as u64, 1.5))
        .collect();
    let mut graph = SharedGraph::<u64, f64>::from_edges(&arena, NODES, &edges).unwrap();
    graph
        .add_node_column(&arena, "to", &[0_u64; NODES])
        .unwrap();
    graph
        .add_node_column(&arena, "by", &[0_u64; NODES])
        .unwrap();
    let numbers: Vec<u32> = (0..).take(NODES).collect();
    graph.add_edge_column(&arena, "number", &numbers).unwrap();
    assert!(graph.partition(0).is_err());
    // Grains of eight nodes.
    let parts = graph.partition(16).unwrap();
    assert_eq!(parts.len(), 3);
    std::thread::scope(|scope| {
        for mut part in &parts {
            scope.spawn(move || {
                let (range, number) = (part.range(), part.number() as u64);
                let mut guard = part.write().unwrap();
                let (graph, [to, by]) = guard.columns::<u64, 2>(["to", "by"]).unwrap();
                assert_eq!((graph.weights().len(), to.len()), (NODES, range.len()));
                assert_eq!(graph.edge_column::<u32>("number").unwrap()[7], 7);
                for (at, node) in range.enumerate() {
                    let (target, weight, edge) = graph.edges_of(node).next().unwrap();
                    assert_eq!((weight, edge), (1.5, node));
                    to[at] = target as u64;
                }
                by.fill(number + 1);
                assert_eq!(graph.edges_of(NODES).count(), 0);
                assert!(guard.columns::<f32, 1>(["to"]).is_err());
                assert!(guard.columns::<u64, 1>(["number"]).is_err());
            });
        }
    });
    // What the parts read is not written, and nobody reads the nodes of all.
    let busy = std::thread::scope(|scope| scope.spawn(|| graph.try_read().is_err()).join());
    assert!(busy.unwrap());
    drop(parts);
    let guard = graph.read().unwrap();
    let to = guard.node_column::<u64>("to").unwrap();
    assert!((0..NODES).all(|node| to[node] == (node as u64 + 1) % NODES as u64));
    let by = guard.node_column::<u64>("by").unwrap();
    assert_eq!((by[7], by[8], by[19]), (1, 2, 3));
}
