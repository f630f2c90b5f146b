//! Both ends of a connection, in two threads here; in two programs or on two machines it is the same.
#![allow(
    clippy::allow_attributes,
    clippy::print_stdout,
    reason = "it shows what it does"
)]

use ndarray::Array2;
use numpush::{Array, Message};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut listener = numpush::listen("tcp://127.0.0.1:0")?;
    let address = listener.address();

    let sender = std::thread::spawn(move || -> Result<(), numpush::Error> {
        let matrix = Array2::<f64>::ones((1000, 1000));
        let mut tx = numpush::connect(&address)?;
        let message = Message::from(Array::borrowed(&matrix)?).with_attribute("step", "1");
        println!("sent:     {}", tx.send(&message)?);
        tx.close()
    });

    let mut rx = listener.accept()?;
    let received = rx.recv()?;
    println!("received: {}", received.transfer);
    let array = received.message.as_array().ok_or("not an array")?;
    println!(
        "sum of {:?}: {}",
        array.shape(),
        array.as_ndarray::<f64, ndarray::Ix2>()?.sum()
    );
    sender.join().map_err(|_| "the sender panicked")??;
    Ok(())
}
