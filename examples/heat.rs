//! Heat that spreads over a plate, computed by worker processes on blocks of shared memory, and by threads of one process on
//! plain memory. Both have the same result, bit for bit.
//!
//! `cargo run --release --example heat [SIZE [STEPS [WORKERS]]]`, for example `heat 2000 500 2`.
#![allow(
    clippy::allow_attributes,
    clippy::print_stdout,
    reason = "it shows what it does"
)]

use std::error::Error;
use std::num::NonZero;
use std::ops::Range;
use std::sync::{Barrier, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use ndarray::{Array2, ArrayRef2, Axis, Ix2, s};
use numpush::shm::{Arena, DoubleBufferedArray, LockError, LockOptions, Part, Pool, Tasks};

/// How much of the difference to its neighbours a point takes in a step.
const RATE: f64 = 0.1;

/// Runs in a worker: all steps of one block. The last worker to finish a step makes it the commit that all read next.
pub(crate) fn spread(
    mut part: Part<DoubleBufferedArray<f64, Ix2>>,
    steps: usize,
) -> Result<u64, LockError> {
    let [rows, columns] = two(part.block());
    let [seen_rows, seen_columns] = two(part.halo(1));
    // Long enough for the slowest worker; one that died is found at once.
    let patience = LockOptions::new().timeout(Duration::from_secs(600));
    let mut step = part.step_with(patience)?;
    for _ in 0..steps {
        let (last, mut next) = step.halo(1);
        let row = |number: usize| slice(&last, number - seen_rows.start);
        let edge = |number: usize| number == seen_rows.start || number + 1 == seen_rows.end;
        for number in rows.clone() {
            let around = (!edge(number)).then(|| [row(number - 1), row(number + 1)]);
            let mut to = next.row_mut(number - rows.start);
            let to = to.as_slice_mut().unwrap_or_default();
            relax(around, row(number), columns.start - seen_columns.start, to);
        }
        step.next_step()?;
    }
    Ok(step.commits())
}

/// The next state of the points `to` of a row, which begin at `offset` of `own`, the same row in the last state. `around`
/// are the rows above and below. Points at the edge of the plate stay as they are.
fn relax(around: Option<[&[f64]; 2]>, own: &[f64], offset: usize, to: &mut [f64]) {
    let len = to.len();
    to.copy_from_slice(&own[offset..offset + len]);
    let Some([above, below]) = around else {
        return;
    };
    let first = offset.max(1);
    let end = (offset + len).min(own.len() - 1);
    let count = end.saturating_sub(first);
    let to = &mut to[first - offset..][..count];
    let (left, right) = (&own[first - 1..][..count], &own[first + 1..][..count]);
    let (above, below) = (&above[first..][..count], &below[first..][..count]);
    let own = &own[first..][..count];
    for at in 0..count {
        let sum = above[at] + below[at] + left[at] + right[at];
        to[at] = own[at] + RATE * (sum - 4.0 * own[at]);
    }
}

fn slice(plate: &ArrayRef2<f64>, row: usize) -> &[f64] {
    // A row of a block is one run of memory.
    plate
        .index_axis(Axis(0), row)
        .to_slice()
        .unwrap_or_default()
}

fn two(block: Vec<Range<usize>>) -> [Range<usize>; 2] {
    <[_; 2]>::try_from(block).unwrap_or_default()
}

/// The same by threads, each with its rows in plain memory: two states of them, one read and one written in turn.
fn in_threads(strips: &[[RwLock<Array2<f64>>; 2]], steps: Range<usize>) {
    let barrier = Barrier::new(strips.len());
    let work = |number: usize| {
        for step in steps.clone() {
            let (last, next) = (step % 2, (step + 1) % 2);
            let before = number
                .checked_sub(1)
                .map(|before| read(&strips[before][last]));
            let (own, after) = (
                read(&strips[number][last]),
                strips.get(number + 1).map(|strip| read(&strip[last])),
            );
            let next = strips[number][next].write();
            let mut next = next.unwrap_or_else(PoisonError::into_inner);
            let rows = own.nrows();
            for row in 0..rows {
                let above = match row.checked_sub(1) {
                    Some(above) => Some(slice(&own, above)),
                    None => before.as_ref().map(|strip| slice(strip, strip.nrows() - 1)),
                };
                let below = match row + 1 < rows {
                    true => Some(slice(&own, row + 1)),
                    false => after.as_ref().map(|strip| slice(strip, 0)),
                };
                let around = above.zip(below).map(|(above, below)| [above, below]);
                let mut to = next.row_mut(row);
                relax(
                    around,
                    slice(&own, row),
                    0,
                    to.as_slice_mut().unwrap_or_default(),
                );
            }
            drop((before, own, after, next));
            barrier.wait();
        }
    };
    std::thread::scope(|scope| {
        for number in 0..strips.len() {
            let work = &work;
            scope.spawn(move || work(number));
        }
    });
}

fn read(rows: &RwLock<Array2<f64>>) -> RwLockReadGuard<'_, Array2<f64>> {
    rows.read().unwrap_or_else(PoisonError::into_inner)
}

/// A plate that is hot on one side, with a few hot points.
fn plate(size: usize) -> Array2<f64> {
    Array2::from_shape_fn((size, size), |(row, column)| match (row, column) {
        (0, _) => 100.0,
        _ if (row * 31 + column * 17) % 97 == 0 => 50.0,
        _ => 0.0,
    })
}

fn strips(plate: &Array2<f64>, count: usize) -> Vec<[RwLock<Array2<f64>>; 2]> {
    let rows = plate.nrows();
    let strip = |number: usize| {
        let rows = plate.slice(s![rows * number / count..rows * (number + 1) / count, ..]);
        [(); 2].map(|()| RwLock::new(rows.to_owned()))
    };
    (0..count).map(strip).collect()
}

/// Blocks along both axes, as square as the number of workers lets them be.
fn blocks(workers: usize) -> [usize; 2] {
    let columns = (1..=workers.isqrt())
        .rev()
        .find(|columns| workers.is_multiple_of(*columns));
    let columns = columns.unwrap_or(1);
    [workers / columns, columns]
}

/// How long both took at best, and whether their results are the same.
#[derive(Debug)]
pub(crate) struct Comparison {
    pub(crate) threads: Duration,
    pub(crate) processes: Duration,
    pub(crate) same: bool,
}

/// Computes `steps` steps of a plate of `size` by `size` points, again and again, in threads and in processes.
pub(crate) fn compare(
    size: usize,
    steps: usize,
    workers: usize,
) -> Result<Comparison, Box<dyn Error>> {
    let plate = plate(size);
    let shared = DoubleBufferedArray::copy_of(&Arena::shared(), &plate)?;
    let strips = strips(&plate, workers);
    let pool = Pool::new(workers)?;
    let (mut threads, mut processes) = (Duration::MAX, Duration::MAX);
    // In turns, so that what else the machine does falls on both. The first round maps the memory.
    for round in 0..ROUNDS {
        let began = Instant::now();
        in_threads(&strips, round * steps..(round + 1) * steps);
        let (middle, parts) = (Instant::now(), shared.partition_blocks(blocks(workers))?);
        for commits in pool.map(spread, &parts, &steps)? {
            commits?;
        }
        parts.finish()?;
        if round > 0 {
            threads = threads.min(middle - began);
            processes = processes.min(middle.elapsed());
        }
    }
    let last = ROUNDS * steps % 2;
    let rows: Vec<_> = strips.iter().map(|strip| read(&strip[last])).collect();
    let views: Vec<_> = rows.iter().map(|rows| rows.view()).collect();
    let same = ndarray::concatenate(Axis(0), &views)? == *shared.read()?;
    Ok(Comparison {
        threads,
        processes,
        same,
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    // A worker is this program again, and goes no further than this line.
    Tasks::new().with(spread).serve();

    let mut numbers = std::env::args()
        .skip(1)
        .map(|argument| argument.parse::<usize>());
    let size = numbers.next().unwrap_or(Ok(1000))?.max(2);
    let steps = numbers.next().unwrap_or(Ok(200))?;
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    let workers = numbers.next().unwrap_or(Ok(processors))?.clamp(1, size);
    let Comparison {
        threads,
        processes,
        same,
    } = compare(size, steps, workers)?;
    let points = (size * size * steps) as f64 / 1e6;
    let speed = |time: Duration| points / time.as_secs_f64();
    let row = |what: &str, time: Duration| {
        let speed = speed(time);
        println!("{what:<30} {time:>10.1?} {speed:>8.0} million points a second");
    };
    println!("{size} x {size} points, {steps} steps, {workers} workers");
    row("threads, plain memory", threads);
    row("processes, parts with halos", processes);
    println!(
        "{:.2} of the speed of threads",
        speed(processes) / speed(threads)
    );
    if !same {
        return Err("the results differ".into());
    }
    println!("the results are the same, bit for bit");
    Ok(())
}

/// The first of them is not measured.
const ROUNDS: usize = 6;
