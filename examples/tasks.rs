//! A server and its clients as tasks of one runtime: each client sends arrays and gets their sums.
//!
//! `cargo run --release --features tokio --example tasks [ENDPOINT]`
#![allow(
    clippy::allow_attributes,
    clippy::print_stdout,
    reason = "it shows what it does"
)]

use std::error::Error;
use std::time::Duration;

use ndarray::{Array1, Ix1};
use numpush::aio::{self, Connection, Listener};
use numpush::{Array, Message};

const CLIENTS: u32 = 100;
const QUESTIONS: u32 = 20;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run(std::env::args().nth(1)))
}

async fn run(endpoint: Option<String>) -> Result<()> {
    let listener = aio::listen(endpoint.as_deref().unwrap_or("tcp://127.0.0.1:0"))?;
    let address = listener.address();
    let server = tokio::spawn(serve(listener));
    let mut clients = Vec::new();
    for client in 0..CLIENTS {
        let address = address.clone();
        clients.push(tokio::spawn(async move { ask(&address, client).await }));
    }
    for client in clients {
        // Any call may be cut short: what it was about is whole, or has not begun.
        tokio::time::timeout(Duration::from_secs(60), client).await???;
    }
    server.abort();
    println!("{} questions of {CLIENTS} tasks", CLIENTS * QUESTIONS);
    Ok(())
}

/// Answers each client in a task of its own. A peer that speaks something else delays nobody.
async fn serve(mut listener: Listener) -> Result<()> {
    loop {
        let connection = listener.accept().await?;
        tokio::spawn(async move {
            let peer = connection.peer().to_owned();
            if let Err(error) = answer(connection).await {
                println!("{peer}: {error}");
            }
        });
    }
}

async fn answer(mut connection: Connection) -> Result<()> {
    loop {
        let received = match connection.recv().await {
            Err(error) if error.is_closed() => return Ok(connection.close().await?),
            received => received?,
        };
        let sum = total(&received.message)?;
        let tag = received.reply_tag();
        connection.send_tagged(&array(&[sum])?, tag).await?;
    }
}

async fn ask(address: &str, client: u32) -> Result<()> {
    let mut connection = aio::connect(address).await?;
    for question in 0..QUESTIONS {
        let values = [f64::from(client), f64::from(question)];
        connection.send(&array(&values)?).await?;
        let answer = total(&connection.recv().await?.message)?;
        assert!((answer - values[0] - values[1]).abs() < f64::EPSILON);
    }
    Ok(connection.close().await?)
}

fn array(values: &[f64]) -> Result<Message<'static>> {
    let values = Array1::from_iter(values.iter().copied());
    Ok(Message::from(Array::from_owned(values)?))
}

fn total(message: &Message<'_>) -> Result<f64> {
    let array = message.as_array().ok_or("not an array")?;
    Ok(array.as_ndarray::<f64, Ix1>()?.sum())
}
