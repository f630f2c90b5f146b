//! A measurement: calls that are futures beside calls that block, in one run.
//!
//! `cargo test --release -p numpush-tests --test aio -- --ignored --nocapture figures`

use std::time::Instant;

use numpush::{Buffer, Message, Options};

use crate::{pair, places, runtimes};

const TURNS: u32 = 20_000;
const LARGE: usize = 64 << 20;
const PIECES: u32 = 20;

#[test]
#[ignore = "a measurement"]
fn round_trips_and_throughput() {
    let small = Message::new(Buffer::from(vec![1; 64]));
    let large = Message::new(Buffer::from(vec![1; LARGE]));
    for (endpoint, _place) in places() {
        for round in 0..3 {
            let mut listener = numpush::listen(&endpoint).unwrap();
            let mut near = numpush::connect(&listener.address()).unwrap();
            let mut far = listener.accept().unwrap();
            let echo = std::thread::spawn(move || {
                for _ in 0..TURNS {
                    let message = far.recv().unwrap().message;
                    far.send(&message).unwrap();
                }
                for _ in 0..PIECES {
                    far.recv().unwrap();
                }
            });
            let begin = Instant::now();
            for _ in 0..TURNS {
                near.send(&small).unwrap();
                near.recv().unwrap();
            }
            let trip = begin.elapsed() / TURNS;
            let begin = Instant::now();
            for _ in 0..PIECES {
                near.send(&large).unwrap();
            }
            near.flush().unwrap();
            let rate = f64::from(PIECES) * LARGE as f64 / begin.elapsed().as_nanos() as f64;
            echo.join().unwrap();
            drop((near, listener));
            println!("{endpoint} {round}: blocks {trip:?} {rate:.2} GB/s");
            for runtime in runtimes() {
                runtime.block_on(async {
                    let (mut near, mut far, _listener) = pair(&endpoint, &Options::new()).await;
                    let echo = tokio::spawn(async move {
                        for _ in 0..TURNS {
                            let message = far.recv().await.unwrap().message;
                            far.send(&message).await.unwrap();
                        }
                        for _ in 0..PIECES {
                            far.recv().await.unwrap();
                        }
                    });
                    let begin = Instant::now();
                    for _ in 0..TURNS {
                        near.send(&small).await.unwrap();
                        near.recv().await.unwrap();
                    }
                    let trip = begin.elapsed() / TURNS;
                    let begin = Instant::now();
                    for _ in 0..PIECES {
                        near.send(&large).await.unwrap();
                    }
                    near.flush().await.unwrap();
                    let rate = f64::from(PIECES) * LARGE as f64 / begin.elapsed().as_nanos() as f64;
                    echo.await.unwrap();
                    println!("{endpoint} {round}: tasks {trip:?} {rate:.2} GB/s");
                });
            }
        }
    }
}
