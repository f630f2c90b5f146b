//! What the machine and other libraries do without numpush.

use std::fs::File;
use std::io::{self, Read};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::time::Instant;

use bytes::Bytes;
use tokio::runtime::{Builder, Runtime};
use zeromq::{PullSocket, PushSocket, Socket, SocketRecv, SocketSend, ZmqMessage};

use crate::error::{BenchError, bench_error};
use crate::peer::{Peer, measured, say, touch_pages};

/// Seconds that `count` copies of `size` bytes take.
pub(crate) fn memcpy(size: usize, count: usize, fresh: bool) -> f64 {
    let source = vec![7_u8; size];
    let mut target = vec![1_u8; size];
    let began = Instant::now();
    for _ in 0..count {
        if fresh {
            // A mapping of its own each time: every page is faulted in by the copy.
            target = Vec::with_capacity(size.max(1 << 20));
            target.extend_from_slice(&source);
        } else {
            target.copy_from_slice(&source);
        }
        touch_pages(std::hint::black_box(&target));
    }
    began.elapsed().as_secs_f64()
}

/// Seconds that `count` files of `size` bytes take, each written, read and removed.
pub(crate) fn file(size: usize, count: usize) -> Result<f64, BenchError> {
    let path = std::env::temp_dir().join(format!("numpush-bench-file-{}", std::process::id()));
    let source = vec![7_u8; size];
    let mut target = vec![1_u8; size];
    let began = Instant::now();
    let turn = |_| -> io::Result<()> {
        std::fs::write(&path, &source)?;
        File::open(&path)?.read_exact(&mut target)?;
        touch_pages(&target);
        std::fs::remove_file(&path)
    };
    (0..count).try_for_each(turn).map_err(bench_error)?;
    Ok(began.elapsed().as_secs_f64())
}

/// Sends `size` bytes of a descriptor by sendfile, or by splice through a pipe.
pub(crate) fn send_descriptor(
    socket: &TcpStream,
    file: &OwnedFd,
    size: usize,
    splice: bool,
) -> io::Result<()> {
    let mut at = 0;
    if !splice {
        while at < size {
            at += numpush_os::send_file(socket, file, at as u64, size - at)?;
        }
        return Ok(());
    }
    let (reader, writer) = io::pipe()?;
    while at < size {
        let mut piped = numpush_os::splice(file, Some(at as u64), &writer, size - at)?;
        at += piped;
        while piped > 0 {
            piped -= numpush_os::splice(&reader, None, socket, piped)?;
        }
    }
    Ok(())
}

fn runtime() -> Result<Runtime, BenchError> {
    Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(bench_error)
}

pub(crate) fn zmq_receiver(peer: &Peer) -> Result<(), BenchError> {
    let runtime = runtime()?;
    let mut socket = PullSocket::new();
    let bound = runtime
        .block_on(socket.bind("tcp://127.0.0.1:0"))
        .map_err(bench_error)?;
    say(&format!("at {bound}"));
    measured(peer, &mut |last| {
        let message = runtime.block_on(socket.recv()).map_err(bench_error)?;
        last.bytes = peer.size as u64;
        message.iter().for_each(|frame| touch_pages(frame));
        Ok(())
    })
}

/// Sends `count` payloads of `size` bytes with the bare `zeromq` crate; a function to call for each part.
pub(crate) fn zmq_sender(
    address: &str,
    size: usize,
    framed: bool,
) -> Result<impl FnMut(usize) -> Result<(), BenchError>, BenchError> {
    let runtime = runtime()?;
    let payload = Bytes::from(vec![7_u8; size]);
    let mut socket = {
        let _guard = runtime.enter();
        PushSocket::new()
    };
    runtime
        .block_on(socket.connect(address))
        .map_err(bench_error)?;
    Ok(move |count: usize| {
        for _ in 0..count {
            let mut message = ZmqMessage::from(payload.clone());
            if framed {
                message.push_front(Bytes::from_static(&[0; 64]));
            }
            runtime
                .block_on(socket.send(message))
                .map_err(bench_error)?;
        }
        Ok(())
    })
}
