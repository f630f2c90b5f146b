//! Many clients and one thread that answers all of them: each sends arrays and gets their sums.
//!
//! `cargo run --release --example serve [ENDPOINT]`
#![allow(
    clippy::allow_attributes,
    clippy::print_stdout,
    reason = "it shows what it does"
)]

use std::ops::ControlFlow;

use numpush::model::Element;
use numpush::{Array, Error, Message};

const CLIENTS: u32 = 8;
const QUESTIONS: u32 = 100;

fn main() -> Result<(), Error> {
    let endpoint = std::env::args().nth(1);
    let listener = numpush::listen(endpoint.as_deref().unwrap_or("tcp://127.0.0.1:0"))?;
    let address = listener.address();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let address = address.clone();
            std::thread::spawn(move || ask(&address, client))
        })
        .collect();
    let mut left = CLIENTS * QUESTIONS;
    listener.serve(|request| {
        let answer = total(&request.received.message).map(|sum| array(&[sum]));
        match answer.and_then(|answer| request.reply(&answer)) {
            Ok(_) => left -= 1,
            Err(error) => println!("{}: {error}", request.key),
        }
        if left == 0 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    })?;
    for client in clients {
        client.join().expect("no client panics")?;
    }
    println!("{} questions of {CLIENTS} clients", CLIENTS * QUESTIONS);
    Ok(())
}

fn ask(address: &str, client: u32) -> Result<(), Error> {
    let mut link = numpush::connect(address)?;
    for question in 0..QUESTIONS {
        let values = [f64::from(client), f64::from(question)];
        link.send(&array(&values))?;
        let answer = total(&link.recv()?.message)?;
        assert!((answer - values[0] - values[1]).abs() < f64::EPSILON);
    }
    Ok(())
}

fn array(values: &[f64]) -> Message<'static> {
    let bytes: Vec<u8> = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    let array = Array::new(f64::SCALAR, &[values.len()], bytes.into());
    Message::from(array.expect("as many bytes as elements"))
}

fn total(message: &Message<'_>) -> Result<f64, Error> {
    let Some(array) = message.as_array() else {
        return Ok(f64::NAN);
    };
    let elements = array.data().chunks_exact(8);
    let values = elements.map(|bytes| f64::from_le_bytes(bytes.try_into().expect("eight bytes")));
    Ok(values.sum())
}
