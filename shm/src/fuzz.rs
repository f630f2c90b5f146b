//! What other processes send, opened and used: the targets of `fuzz/`. Nothing of it is in a build for use.

use std::sync::OnceLock;

use bytemuck::Pod;
use ndarray::{Ix1, IxDyn};
use numpush_message::Element;

use crate::object::{conversation, find_value, hear, offer_of, open_offer, with_values};
use crate::{
    Arena, BarrierMember, DoubleBufferedArray, Error, GraphIndex, GraphWeight, GrowableArray,
    Handle, LockOptions, SharedArray, SharedAtomicArray, SharedBarrier, SharedCondition,
    SharedDynArray, SharedFrame, SharedGraph, SharedMutex, SharedValue,
};

/// Opens an offer as an owner sends it, and reads and writes what it is of as every kind of value.
///
/// # Errors
/// What is wrong with the offer.
pub fn open_and_use(offer: &[u8]) -> Result<(), Error> {
    let (handle, object) = open_offer(offer)?;
    with_values(vec![object], || {
        use_as_array::<u8>(&handle);
        use_as_array::<u16>(&handle);
        use_as_array::<i32>(&handle);
        use_as_array::<f64>(&handle);
        use_as_frame(&handle);
        use_as_graph::<u64, f64>(&handle);
        use_as_graph::<u32, f32>(&handle);
        use_as_graph::<u32, ()>(&handle);
        if let Ok(array) = SharedDynArray::open(&handle) {
            if let Ok(held) = array.read() {
                let _ = array.array(&held);
            }
            let _ = array.write().map(drop);
            let _ = array.typed::<u64, IxDyn>().map(|array| use_array(&array));
        }
        let _ = SharedMutex::open(&handle).map(|mutex| mutex.lock().map(drop));
        use_as_others(&handle);
        SharedValue::open(&handle).map(drop)
    })
}

/// Reads bytes as an owner and as a client that has connected to one.
pub fn hear_frames(bytes: &[u8]) {
    // The owner has one value: the first of this process.
    static VALUE: OnceLock<Option<SharedArray<u64, Ix1>>> = OnceLock::new();
    VALUE.get_or_init(|| SharedArray::zeros(&Arena::new(1 << 20), 8).ok());
    hear(bytes);
}

/// An input of fuzzing, after its target and its name.
pub type Seed = (&'static str, &'static str, Vec<u8>);

/// Inputs that fuzzing begins with: what this version of the library sends.
///
/// # Errors
/// Why a value could not be made.
pub fn seeds() -> Result<Vec<Seed>, Error> {
    let arena = Arena::new(1 << 20);
    let array = SharedArray::<f64, IxDyn>::zeros(&arena, IxDyn(&[4, 3]))?;
    let rows = SharedArray::<u16, Ix1>::zeros(&arena, 9)?;
    let rows = rows.with_row_locks(4).map_err(Error::from)?;
    let both = DoubleBufferedArray::<i32, Ix1>::zeros(&arena, 5)?;
    let grows = GrowableArray::<i32, Ix1>::with_capacity(&arena, 5)?;
    let mut graph: SharedGraph = SharedGraph::from_edges(&arena, 3, &[(0, 1, 1.0), (2, 0, 3.0)])?;
    graph.add_node_column(&arena, "rank", &[0_u16; 3])?;
    let mutex = SharedMutex::new()?;
    let atomics = SharedAtomicArray::<u64>::zeros(&arena, 3)?;
    let (barrier, condition) = (SharedBarrier::new(2)?, SharedCondition::new()?);
    let mut seeds = Vec::new();
    let mut add = |name, handle: Handle| {
        let value = find_value(handle.number());
        let offer = value.as_deref().and_then(offer_of);
        seeds.extend(offer.map(|bytes| ("offer", name, bytes)));
        let said = value.as_deref().and_then(conversation);
        seeds.extend(said.map(|bytes| ("lease", name, bytes)));
    };
    add("array", array.handle()?);
    add("row-locks", rows.handle()?);
    add("double-buffered", both.handle()?);
    add("growable", grows.handle()?);
    add("graph", graph.handle()?);
    add("mutex", mutex.handle()?);
    add("atomics", atomics.handle()?);
    add("barrier", barrier.handle()?);
    add("condition", condition.handle()?);
    #[cfg(feature = "arrow")]
    add("frame", frame(&arena)?.handle()?);
    Ok(seeds)
}

#[cfg(feature = "arrow")]
fn frame(arena: &Arena) -> Result<SharedFrame, Error> {
    use arrow_array::{ArrayRef, BooleanArray, DictionaryArray, Float64Array, StringArray};
    let codes: DictionaryArray<arrow_array::types::Int8Type> =
        ["UA", "AA", "UA"].into_iter().collect();
    let columns: [(&str, ArrayRef); 4] = [
        (
            "x",
            std::sync::Arc::new(Float64Array::from(vec![Some(1.0), None, Some(3.0)])),
        ),
        (
            "y",
            std::sync::Arc::new(BooleanArray::from(vec![true, false, true])),
        ),
        (
            "s",
            std::sync::Arc::new(StringArray::from(vec![Some("a"), None, Some("bc")])),
        ),
        ("c", std::sync::Arc::new(codes)),
    ];
    let batch = arrow_array::RecordBatch::try_from_iter(columns)
        .map_err(numpush_message::ArrowError::from)?;
    SharedFrame::from_batch(arena, &batch)
}

fn use_as_array<T: Element + Pod>(handle: &Handle) {
    let _ = SharedArray::<T, IxDyn>::open(handle).map(|array| use_array(&array));
    let _ = SharedArray::<T, Ix1>::open(handle).map(|array| use_array(&array));
    if let Ok(array) = DoubleBufferedArray::<T, IxDyn>::open(handle) {
        let _ = array.read().map(|held| held.len());
        let _ = array.replace(|last, next| next.assign(last));
    }
}

fn use_array<T: Element + Pod, D: ndarray::Dimension>(array: &SharedArray<T, D>) {
    let rows = array.shape().first().copied().unwrap_or(0);
    let _ = array.read().map(|held| held.iter().count());
    let _ = array.write().map(|mut held| held.fill(T::zeroed()));
    for rows in [0..rows, 0..1, rows / 2..rows, rows..rows.saturating_add(1)] {
        let _ = array
            .read_rows(rows.clone())
            .map(|held| held.iter().count());
        let _ = array
            .write_rows(rows)
            .map(|mut held| held.fill(T::zeroed()));
    }
}

fn use_as_frame(handle: &Handle) {
    let Ok(frame) = SharedFrame::open(handle) else {
        return;
    };
    let names: Vec<String> = frame.columns().map(Into::into).collect();
    if let Ok(held) = frame.read() {
        for name in &names {
            let _ = held.values::<f64>(name).map(<[f64]>::len);
            let _ = held.values::<i32>(name).map(<[i32]>::len);
            let _ = held.values::<i8>(name).map(<[i8]>::len);
            let _ = held.validity(name).map(|bits| bits.map(|bits| bits.get(7)));
            let _ = held.bools(name).map(|bits| bits.get(usize::MAX));
            // A length that no buffer bounds is only a number.
            let _ = held
                .strings(name)
                .map(|column| column.iter().take(1000).count());
        }
        let _ = held.frame().map(|frame| frame.validate().is_ok());
    }
    if let Ok(mut held) = frame.write() {
        for pair in names.windows(2) {
            let two = [pair[0].as_str(), pair[1].as_str()];
            let _ = held.columns::<f64, 2>(two).map(|columns| columns.len());
            let _ = held.columns::<i32, 2>(two).map(|columns| columns.len());
        }
        for name in &names {
            let _ = held
                .column::<f64>(name)
                .map(|mut column| column.update(|x| *x = 1.0));
            if let Ok(mut column) = held.bools(name) {
                let len = column.len();
                let _ = len.checked_sub(1).map(|last| column.set(last, Some(true)));
            }
        }
    }
}

fn use_as_others(handle: &Handle) {
    if let Ok(array) = SharedAtomicArray::<u64>::open(handle) {
        let _ = array.cells().map(|cells| cells.len());
    }
    if let Ok(barrier) = SharedBarrier::open(handle) {
        let wait = |mut member: BarrierMember<'_>| member.wait_with(LockOptions::no_wait());
        let _ = barrier.join().map(wait);
        let _ = barrier.join().map(wait);
    }
    if let Ok(array) = GrowableArray::<i32, IxDyn>::open(handle) {
        let _ = array.read().map(|held| held.iter().count());
        let _ = array.resize(array.capacity()[0], 1);
        let _ = array.write().map(|mut held| held.fill(2));
    }
    let _ = SharedCondition::open(handle).map(|condition| condition.notify_all());
}

fn use_as_graph<I: GraphIndex, W: GraphWeight>(handle: &Handle) {
    let Ok(graph) = SharedGraph::<I, W>::open(handle) else {
        return;
    };
    if let Ok(held) = graph.read() {
        for node in [0, 1, usize::MAX - 1] {
            let _ = held.edges_of(node).count();
        }
        let _ = held.node_column::<u16>("rank").map(<[u16]>::len);
    }
    if let Ok(mut held) = graph.write() {
        held.weights().reverse();
        let _ = held.node_column::<u16>("rank").map(|values| values.fill(1));
    }
}
