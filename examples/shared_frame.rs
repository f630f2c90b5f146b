//! One large dataframe in shared memory, and eight worker processes that modify it in place.
//!
//! `cargo run --release --example shared_frame [FILE.parquet [WORKERS]]`
#![allow(
    clippy::allow_attributes,
    clippy::print_stdout,
    reason = "it shows what it does"
)]

use std::error::Error;
use std::fs::File;

use arrow_array::{RecordBatch, RecordBatchReader as _};
use arrow_select::concat::concat_batches;
use numpush::shm::{Arena, Part, Pool, SharedFrame, Tasks};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// Runs in a worker, on its rows of the one frame: the gain of each flight, in place of its arrival delay.
fn gain(mut rows: Part<SharedFrame>) -> Result<usize, numpush::shm::Error> {
    let mut columns = rows.write()?;
    let departure: Vec<Option<i32>> = {
        let delay = columns.column::<i32>("dep_delay")?;
        (0..delay.len()).map(|row| delay.get(row)).collect()
    };
    let mut arrival = columns.column::<i32>("arr_delay")?;
    let mut changed = 0;
    for (row, departure) in departure.into_iter().enumerate() {
        let gain = departure
            .zip(arrival.get(row))
            .map(|(departure, arrival)| departure - arrival);
        changed += usize::from(gain.is_some());
        arrival.set(row, gain)?;
    }
    Ok(changed)
}

fn main() -> Result<(), Box<dyn Error>> {
    // A worker is this program again, and goes no further than this line.
    Tasks::new().with(gain).serve();

    let mut arguments = std::env::args().skip(1);
    let path = arguments
        .next()
        .unwrap_or_else(|| "tests/data/flights.parquet".into());
    let workers = arguments.next().map_or(Ok(8), |count| count.parse())?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(&path)?)?.build()?;
    let schema = reader.schema();
    let batches: Vec<RecordBatch> = reader.collect::<Result<_, _>>()?;
    // A file holds many batches, a frame is one.
    let batch = concat_batches(&schema, &batches)?;

    let shared = SharedFrame::from_batch(&Arena::shared(), &batch)?;
    println!(
        "{} rows, {} columns, {} bytes in shared memory",
        shared.rows(),
        shared.columns().count(),
        shared.byte_len()
    );

    let pool = Pool::new(workers)?;
    // Parts are at most as many as there are runs of 512 rows.
    let parts = shared.partition(workers)?;
    let changed: Result<Vec<usize>, numpush::shm::Error> = pool
        .starmap(gain, parts.iter().map(|part| (part,)))?
        .into_iter()
        .collect();
    // The frame is locked as long as it is divided.
    drop(parts);
    println!(
        "{workers} workers set the gain of {} flights",
        changed?.iter().sum::<usize>()
    );

    let frame = shared.read()?;
    let (gains, carriers) = (frame.values::<i32>("arr_delay")?, frame.strings("carrier")?);
    let known = frame.validity("arr_delay")?;
    let best = (0..gains.len())
        .filter(|&row| known.is_none_or(|bits| bits.get(row)))
        .max_by_key(|&row| gains[row])
        .ok_or("no flight with a gain")?;
    println!(
        "the best made up {} minutes, carrier {}",
        gains[best],
        carriers.get(best).unwrap_or("unknown")
    );
    Ok(())
}
