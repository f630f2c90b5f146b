//! Receives a dataframe over tcp straight into shared memory, lets worker processes scale it there, and ships it back.
//!
//! `cargo run --release --example land_and_work [FILE.parquet]`
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
use numpush::{Frame, Message};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// Runs in a worker, on its rows: miles become kilometres.
fn to_kilometres(mut rows: Part<SharedFrame>, factor: f64) -> Result<usize, numpush::shm::Error> {
    let mut columns = rows.write()?;
    let mut distance = columns.column::<f64>("distance")?;
    distance.update(|value| *value *= factor);
    Ok(distance.len())
}

fn main() -> Result<(), Box<dyn Error>> {
    // A worker is this program again, and goes no further than this line.
    Tasks::new().with(to_kilometres).serve();

    let path = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "tests/data/flights.parquet".into());
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(&path)?)?.build()?;
    let schema = reader.schema();
    let batches: Vec<RecordBatch> = reader.collect::<Result<_, _>>()?;
    // A file holds many batches, a frame is one.
    let batch = concat_batches(&schema, &batches)?;
    let before = sum_of_distances(&batch)?;

    // The workers come first: a process is started more cheaply while there is little memory.
    let pool = Pool::new(2)?;
    let arena = Arena::shared();
    let mut listener = numpush::Options::new()
        .allocator(arena.clone())
        .listen("tcp://127.0.0.1:0")?;
    let address = listener.address();
    let client = std::thread::spawn(
        move || -> Result<RecordBatch, Box<dyn Error + Send + Sync>> {
            let mut connection = numpush::connect(&address)?;
            println!(
                "sent:      {}",
                connection.send(&Message::from(Frame::from_batch(&batch)?))?
            );
            let back = connection.recv()?;
            println!("back:      {}", back.transfer);
            Ok(back.message.as_frame().ok_or("no frame")?.to_batch()?)
        },
    );

    let mut connection = listener.accept()?;
    let received = connection.recv()?;
    println!("landed:    {}", received.transfer);
    // What landed is shared where it lies.
    let shared = SharedFrame::from_message(received.message)?;
    println!(
        "in place:  {} of {} bytes of the arena",
        shared.byte_len(),
        arena.usage().used
    );
    let rows: Result<Vec<usize>, numpush::shm::Error> = pool
        .map(to_kilometres, &shared.partition(2)?, &1.609344)?
        .into_iter()
        .collect();
    println!("scaled:    {:?} rows by {} workers", rows?, pool.size());
    let frame = shared.read()?;
    connection.send(&Message::from(frame.frame()?))?;
    connection.flush()?;
    drop(frame);

    let back = client
        .join()
        .map_err(|_| "the client panicked")?
        .map_err(|error| error.to_string())?;
    println!(
        "distances: {before} miles are {} kilometres",
        sum_of_distances(&back)?
    );
    Ok(())
}

fn sum_of_distances(batch: &RecordBatch) -> Result<f64, Box<dyn Error>> {
    let column = batch
        .column_by_name("distance")
        .ok_or("no column `distance`")?;
    let values = column
        .as_any()
        .downcast_ref::<arrow_array::Float64Array>()
        .ok_or("`distance` is no float64")?;
    Ok(values.values().iter().sum())
}
