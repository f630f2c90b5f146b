//! What it costs to share memory between processes: `cargo bench -p numpush-benches --bench sharing`.
//!
//! Every figure is a median over one run, and stands beside a baseline of the same run. Other processes are this program
//! again, and every page is touched.

#[expect(dead_code, reason = "its `main` is that of the example")]
#[path = "../examples/heat.rs"]
mod heat;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use ndarray::{Axis, Ix1};
use numpush::model::{BufferAllocator, Element};
use numpush::shm::{
    Arena, ArenaOptions, Handle, PageOptions, Part, Pool, SharedArray, TaskOptions, Tasks,
};
use numpush::{Array, Message};
use numpush_benches::{is_test, median, quantile, time};
use numpush_os::Memfd;

const ROLE: &str = "NUMPUSH_BENCH_ROLE";
const MIB: usize = 1 << 20;
const GIB: usize = 1 << 30;

fn nothing(number: u64, _: ()) -> u64 {
    number
}

fn touch(array: SharedArray<u64, Ix1>) -> usize {
    array.shape()[0]
}

fn touch_part(part: Part<SharedArray<u64, Ix1>>, _: ()) -> usize {
    part.range(Axis(0)).len()
}

fn scale(mut part: Part<SharedArray<f64, Ix1>>, factor: f64) {
    *part.write().unwrap() *= factor;
}

fn main() {
    match std::env::var(ROLE).as_deref() {
        Ok("hold") => return hold(),
        Ok("send") => return send(),
        Ok("own") => return own(),
        _ => Tasks::new()
            .with(nothing)
            .with(touch)
            .with(touch_part)
            .with(scale)
            .with(heat::spread)
            .serve(),
    }
    // A test run only wants to know that it starts.
    if is_test() {
        return;
    }
    let deaths = if std::env::args().any(|argument| argument == "--quick") {
        50
    } else {
        1000
    };
    let named = |name: &str| std::env::args().any(|argument| argument == name);
    let sections: [(&str, &dyn Fn()); 9] = [
        ("allocation", &allocation),
        ("guards", &guards),
        ("death", &|| death(deaths)),
        ("opening", &opening),
        ("calls", &calls),
        ("arena", &into_an_arena),
        ("scaling", &scaling),
        ("stencil", &stencil),
        ("zeros", &zeros),
    ];
    let all = !sections.iter().any(|(name, _)| named(name));
    for (_, section) in sections.iter().filter(|(name, _)| all || named(name)) {
        section();
    }
}

fn row(what: &str, figure: String) {
    println!("{what:<58} {figure}");
}

fn allocation() {
    let mut arena = Arena::new(GIB);
    drop(arena.allocate(MIB).unwrap());
    let warm = time(21, 10_000, || drop(arena.allocate(MIB).unwrap()));
    row(
        "take and give back 1 MiB of a warm arena",
        format!("{:.0} ns", warm * 1e9),
    );
    let array = time(21, 1_000, || {
        drop(SharedArray::<f64, Ix1>::zeros(&arena, 16).unwrap())
    });
    row(
        "make and drop a shared array of 128 bytes",
        format!("{:.0} ns", array * 1e9),
    );
}

fn guards() {
    let array = SharedArray::<f64, Ix1>::zeros(&Arena::new(MIB), 16).unwrap();
    let read = time(21, 100_000, || drop(std::hint::black_box(array.read())));
    row(
        "SharedArray::read, the guard with its view",
        format!("{:.0} ns", read * 1e9),
    );
    let write = time(21, 10_000, || drop(std::hint::black_box(array.write())));
    row(
        "SharedArray::write, the guard with its view",
        format!("{:.0} ns", write * 1e9),
    );
}

fn again(role: &str, argument: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command
        .env(ROLE, role)
        .arg(argument)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    command
}

/// Locks the array of the handle and waits to be killed.
fn hold() {
    let handle: Handle = std::env::args().nth(1).unwrap().parse().unwrap();
    let array = SharedArray::<f64, Ix1>::open(&handle).unwrap();
    let _held = array.write().unwrap();
    println!("held");
    loop {
        std::thread::park();
    }
}

/// From the kill of a holder to the moment its waiter has the lock.
fn death(rounds: usize) {
    let array = SharedArray::<f64, Ix1>::zeros(&Arena::new(MIB), 512).unwrap();
    let handle = array.handle().unwrap().to_string();
    let (sender, receiver) = mpsc::channel();
    let (go, gone) = mpsc::channel::<()>();
    let waiter = std::thread::spawn(move || {
        while gone.recv().is_ok() {
            let mut held = array.write_poisoned().unwrap();
            sender.send(Instant::now()).unwrap();
            held.clear_poison();
        }
    });
    let latencies: Vec<f64> = (0..rounds)
        .map(|_| {
            let mut holder = again("hold", &handle).spawn().unwrap();
            let mut line = String::new();
            BufReader::new(holder.stdout.take().unwrap())
                .read_line(&mut line)
                .unwrap();
            go.send(()).unwrap();
            // The waiter must sleep in the kernel when the holder dies.
            std::thread::sleep(Duration::from_millis(1));
            let killed = Instant::now();
            holder.kill().unwrap();
            let woken = receiver.recv().unwrap();
            holder.wait().unwrap();
            woken.duration_since(killed).as_secs_f64()
        })
        .collect();
    drop(go);
    waiter.join().unwrap();
    let at = |share| quantile(latencies.iter().copied(), share).unwrap() * 1e6;
    let (half, most) = (at(0.5), at(0.99));
    row(
        &format!("death of a holder to its waiter, {rounds} kills"),
        format!("p50 {half:.0} us, p99 {most:.0} us"),
    );
}

/// Values that the process `own` makes: more than a client keeps open of what it has closed.
const OWNED: usize = 256;

/// Makes arrays, says their handles, and waits to be killed.
fn own() {
    let arena = Arena::new(MIB);
    let all: Vec<_> = (0..OWNED)
        .map(|_| SharedArray::<f64, Ix1>::zeros(&arena, 16).unwrap())
        .collect();
    for array in &all {
        println!("{}", array.handle().unwrap());
    }
    std::io::stdout().flush().unwrap();
    loop {
        std::thread::park();
    }
}

/// Opening and closing the values of another process.
fn opening() {
    let mut owner = again("own", "").spawn().unwrap();
    let lines = BufReader::new(owner.stdout.take().unwrap()).lines();
    let handles: Vec<Handle> = lines
        .take(OWNED)
        .map(|line| line.unwrap().parse().unwrap())
        .collect();
    let open = |handle: &Handle| drop(SharedArray::<f64, Ix1>::open(handle).unwrap());
    let mut next = handles.iter().cycle();
    let asked = time(21, 1000, || open(next.next().unwrap()));
    let again = time(21, 10_000, || open(&handles[0]));
    row(
        "open and close an array of another process",
        format!("{:.1} us", asked * 1e6),
    );
    row(
        "the same, of one that was closed just now",
        format!("{:.2} us", again * 1e6),
    );
    owner.kill().unwrap();
    owner.wait().unwrap();
}

fn calls() {
    let pool = Pool::new(1).unwrap();
    let array = SharedArray::<u64, Ix1>::zeros(&Arena::new(MIB), 8).unwrap();
    let mut bare = echo_process();
    let pipes = time(21, 500, || bare.round_trip());
    let us = |seconds: f64| {
        let (us, ratio) = (seconds * 1e6, seconds / pipes);
        format!("{us:.1} us, {ratio:.2} of the pipes")
    };
    row("a byte to another process and back, by pipes", us(pipes));
    let apply = time(21, 2000, || {
        assert_eq!(pool.apply(nothing, (7, ())).unwrap(), 7)
    });
    row("Pool::apply of an empty function, one worker", us(apply));
    let map = time(21, 2000, || {
        assert_eq!(pool.map(nothing, [7], &()).unwrap(), [7])
    });
    row("Pool::map of it over one item", us(map));
    let with_array = time(21, 2000, || {
        assert_eq!(pool.apply(touch, (array.clone(),)).unwrap(), 8)
    });
    row("Pool::apply with an array of 64 bytes", us(with_array));
    let with_part = time(21, 2000, || {
        let parts = array.partition(Axis(0), 1).unwrap();
        assert_eq!(pool.map(touch_part, &parts, &()).unwrap(), [8])
    });
    let divided = time(21, 2000, || drop(array.partition(Axis(0), 1).unwrap()));
    row(
        "divide that array, and Pool::map over its part",
        us(with_part),
    );
    row("  of which to divide it", us(divided));
    let many = time(21, 1, || {
        assert_eq!(pool.map(nothing, 0..10_000, &()).unwrap().len(), 10_000)
    });
    row("Pool::map over 10,000 items, each", us(many / 10_000.0));
    let alone = pool.with_task_options(TaskOptions::new().chunk(1));
    let one_by_one = time(21, 1, || {
        assert_eq!(alone.map(nothing, 0..10_000, &()).unwrap().len(), 10_000)
    });
    row("the same, one at a time", us(one_by_one / 10_000.0));
    let asleep = median((0..200).map(|_| after_a_pause(&pool))).unwrap();
    row(
        "Pool::map after a pause, when the worker sleeps",
        us(asleep),
    );
}

/// Seconds of a call to a worker that has gone to sleep.
fn after_a_pause(pool: &Pool) -> f64 {
    std::thread::sleep(Duration::from_millis(1));
    let started = Instant::now();
    pool.map(nothing, [7], &()).unwrap();
    started.elapsed().as_secs_f64()
}

struct Echo {
    child: Child,
    input: ChildStdin,
    output: std::process::ChildStdout,
}

/// cat(1), which writes what it reads.
fn echo_process() -> Echo {
    let mut child = Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    Echo {
        child,
        input,
        output,
    }
}

impl Echo {
    fn round_trip(&mut self) {
        let mut byte = [1];
        self.input.write_all(&byte).unwrap();
        std::io::Read::read_exact(&mut self.output, &mut byte).unwrap();
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends 256 MiB again and again to the address given.
fn send() {
    let mut connection = numpush::connect(&std::env::args().nth(1).unwrap()).unwrap();
    let data = vec![1_u8; 256 * MIB];
    let array = Array::new(u8::SCALAR, &[data.len()], numpush::Buffer::borrowed(&data)).unwrap();
    let message = Message::from(array);
    while connection.send(&message).is_ok() {}
}

/// Receives messages of 256 MiB over tcp and reads a byte of every page, and returns the seconds of each, the first two, which
/// warm the pages, left out.
fn receive(listener: &mut numpush::Listener, rounds: usize) -> Vec<f64> {
    let mut sender = again("send", &listener.address()).spawn().unwrap();
    let mut connection = listener.accept().unwrap();
    let seconds = (0..rounds + 2)
        .map(|_| {
            let started = Instant::now();
            let received = connection.recv().unwrap();
            let bytes = received.message.as_array().unwrap().data();
            let sum: usize = bytes
                .iter()
                .step_by(4096)
                .map(|&byte| usize::from(byte))
                .sum();
            assert_eq!(sum, bytes.len() / 4096);
            started.elapsed().as_secs_f64()
        })
        .skip(2)
        .collect();
    drop(connection);
    sender.wait().unwrap();
    seconds
}

fn into_an_arena() {
    let listen = || numpush::listen("tcp://127.0.0.1:0?max=1000000000").unwrap();
    let mut heap = listen();
    let mut arena = numpush::Options::new()
        .allocator(Arena::new(GIB))
        .listen("tcp://127.0.0.1:0?max=1000000000")
        .unwrap();
    let (mut on_heap, mut in_arena) = (Vec::new(), Vec::new());
    // In turns, so that what else the machine does falls on both.
    for _ in 0..4 {
        on_heap.extend(receive(&mut heap, 6));
        in_arena.extend(receive(&mut arena, 6));
    }
    let speed = |seconds: Vec<f64>| 256.0 * MIB as f64 / median(seconds).unwrap() / 1e9;
    let (heap, arena) = (speed(on_heap), speed(in_arena));
    row(
        "256 MiB over tcp to the warm heap",
        format!("{heap:.2} GB/s"),
    );
    row(
        "256 MiB over tcp to a warm arena",
        format!("{arena:.2} GB/s, {:.2} of the heap", arena / heap),
    );
}

/// Zeros of 1 GiB whose every page is touched, beside the kernel's own: a fresh memfd, fallocate(2) and mmap(2).
fn zeros() {
    const ROUNDS: usize = 7;
    let touch = |bytes: &mut [u8]| {
        let pages = bytes.chunks_mut(4096);
        pages.for_each(|page| page[0] = std::hint::black_box(page[0]));
    };
    let kernel = |populate: bool| {
        let started = Instant::now();
        let mut memory = Memfd::new(GIB).unwrap();
        if populate {
            let mut memory = memory.lend().unwrap();
            memory.populate(0..GIB).unwrap();
            touch(&mut memory.write(0..GIB).unwrap());
        } else {
            touch(memory.as_mut_slice());
        }
        started.elapsed().as_secs_f64()
    };
    let ours = |populate: bool| {
        let pages = PageOptions::new().populate(populate);
        let options = ArenaOptions::new().budget(2 * GIB).keep(0).pages(pages);
        let arena = Arena::with_options(options);
        let started = Instant::now();
        let array = SharedArray::<u8, Ix1>::zeros(&arena, GIB).unwrap();
        touch(array.write().unwrap().as_slice_mut().unwrap());
        started.elapsed().as_secs_f64()
    };
    for (name, populate) in [("touched", false), ("populated and touched", true)] {
        // In turns, so that what else the machine does falls on both.
        let (mut of_kernel, mut of_ours) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            of_kernel.push(kernel(populate));
            of_ours.push(ours(populate));
        }
        let least = |seconds: Vec<f64>| seconds.into_iter().fold(f64::INFINITY, f64::min);
        let (kernel, ours) = (least(of_kernel), least(of_ours));
        row(
            &format!("1 GiB of zeros, {name}: fallocate and mmap"),
            format!("{:.0} ms", kernel * 1e3),
        );
        row(
            &format!("1 GiB of zeros, {name}: SharedArray::zeros"),
            format!("{:.0} ms, {:.2} of it", ours * 1e3, ours / kernel),
        );
    }
}

fn scaling() {
    let array = SharedArray::<f64, Ix1>::zeros(&Arena::new(2 * GIB), GIB / 8).unwrap();
    array.write().unwrap().fill(1.0);
    let mut alone = vec![1.0_f64; GIB / 8];
    let in_place = time(5, 1, || {
        alone.iter_mut().for_each(|value| *value *= 1.0000001)
    });
    drop(alone);
    let seconds = |workers: usize| {
        let pool = Pool::new(workers).unwrap();
        let run = || {
            drop(
                pool.map(
                    scale,
                    &array.partition(Axis(0), workers).unwrap(),
                    &1.0000001,
                )
                .unwrap(),
            )
        };
        // Workers map the array at their first task.
        run();
        time(7, 1, run)
    };
    let (one, two) = (seconds(1), seconds(2));
    let threads = bandwidth_of_two();
    let speed = |seconds: f64| format!("{:.2} GB/s", 2.0 * GIB as f64 / seconds / 1e9);
    row(
        "scale 1 GiB in a private vector, one thread",
        speed(in_place),
    );
    row(
        "the same, two threads: the ceiling of this memory",
        speed(threads),
    );
    row(
        "Pool scales a shared array of 1 GiB, one worker",
        speed(one),
    );
    row(
        "Pool scales a shared array of 1 GiB, two workers",
        format!("{}, {:.2} times one", speed(two), one / two),
    );
}

/// The stencil of the example `heat`, in blocks of shared memory and in threads with plain memory.
fn stencil() {
    for (size, steps) in [(400, 1000), (1000, 200), (4000, 20)] {
        let both = heat::compare(size, steps, 2).unwrap();
        assert!(both.same);
        let ratio = both.threads.as_secs_f64() / both.processes.as_secs_f64();
        let step = both.processes.as_secs_f64() / steps as f64 * 1e6;
        row(
            &format!("heat, {size} x {size}, a step of two workers"),
            format!("{step:.0} us, {ratio:.2} of the speed of two threads"),
        );
    }
}

/// Seconds of two threads that scale 1 GiB of private memory.
fn bandwidth_of_two() -> f64 {
    let mut memory = vec![1.0_f64; GIB / 8];
    time(5, 1, || {
        let (left, right) = memory.split_at_mut(GIB / 16);
        std::thread::scope(|scope| {
            for half in [left, right] {
                scope.spawn(|| half.iter_mut().for_each(|value| *value *= 1.0000001));
            }
        });
    })
}
