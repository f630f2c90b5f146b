//! What is measured, how often, and beside what.

use std::fmt::Write as _;

use crate::payload::FRAME_LEN;

/// How a payload travels in one measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// memcpy into warm pages
    MemcpyWarm,
    /// memcpy into fresh pages
    MemcpyFresh,
    /// A loop of write(2) and read(2) over TCP
    BareTcp,
    /// sendfile(2) of sealed memory over TCP
    BareSendfile,
    /// splice(2) of sealed memory through a pipe over TCP
    BareSplice,
    /// The same over a unix socket
    BareUnix,
    /// The `zeromq` crate with the payload as its only frame
    BareZmq,
    /// The `zeromq` crate with our frames: a small one and the payload
    BareZmqFrames,
    /// Files that are written and read
    BareFile,
    /// A channel between two threads
    BareChannel,
    /// libzmq, in C
    Libzmq,
    /// libzmq, in Python
    Pyzmq,
    /// Threads of one process
    Inproc,
    Tcp,
    /// With a spin before each wait
    TcpSpin,
    TcpChecksums,
    /// From a sealed segment
    TcpSegment,
    /// From a sealed segment, by sendfile
    TcpSendfile,
    /// Plain memory
    Unix,
    /// With a spin before each wait
    UnixSpin,
    /// From a sealed segment
    UnixSegment,
    /// Through a folder
    File,
    /// A file that cannot change, mapped by the receiver
    FileMap,
    ZmqTcp,
    ZmqIpc,
}

/// What travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Payload {
    /// An array of this many bytes.
    Array(usize),
    /// The dataframe.
    Frame,
}

/// Which processors both ends run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Processors {
    /// Whichever the scheduler takes.
    Any,
    /// The same one: no wake-up crosses processors.
    One,
    /// One each.
    Two,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Many messages one way; the receiver touches every page.
    Throughput,
    /// Many messages one way, [`BATCH`] of them in a call. A bare socket writes and reads as many in each of its system calls.
    Batches,
    /// Both ends send a message to each other, then receive it, many times; the receivers touch every page. The rate is of
    /// both directions together.
    BothWays,
    /// One message to and fro; the receiver touches the first and the last byte.
    RoundTrip,
}

/// Messages in one call.
pub(crate) const BATCH: usize = 64;

impl Kind {
    /// How many directions count.
    pub(crate) fn directions(self) -> f64 {
        if self == Self::BothWays { 2.0 } else { 1.0 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) route: Route,
    pub(crate) payload: Payload,
    pub(crate) kind: Kind,
    pub(crate) count: usize,
    pub(crate) processors: Processors,
}

impl Payload {
    /// Bytes of it.
    pub(crate) fn len(self) -> usize {
        match self {
            Self::Array(len) => len,
            Self::Frame => FRAME_LEN,
        }
    }
}

impl Route {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::MemcpyWarm => "memcpy, warm pages",
            Self::MemcpyFresh => "memcpy, fresh pages",
            Self::BareTcp => "bare TCP socket",
            Self::BareSendfile => "bare TCP, sendfile",
            Self::BareSplice => "bare TCP, splice",
            Self::BareUnix => "bare unix socket",
            Self::BareZmq => "bare zeromq, one frame",
            Self::BareZmqFrames => "bare zeromq, our frames",
            Self::BareFile => "bare file, written and read",
            Self::BareChannel => "bare channel of threads",
            Self::Libzmq => "bare libzmq, C",
            Self::Pyzmq => "bare libzmq, pyzmq",
            Self::Inproc => "inproc",
            Self::Tcp => "tcp",
            Self::TcpSpin => "tcp, spin",
            Self::TcpChecksums => "tcp, checksums",
            Self::TcpSegment => "tcp, from a segment",
            Self::TcpSendfile => "tcp, segment by sendfile",
            Self::Unix => "unix",
            Self::UnixSpin => "unix, spin",
            Self::UnixSegment => "unix, from a segment",
            Self::File => "file, a folder",
            Self::FileMap => "file, mapped",
            Self::ZmqTcp => "zmq+tcp",
            Self::ZmqIpc => "zmq+ipc",
        }
    }

    /// The route that [`name`](Self::name) names.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let mut all = FULL.into_iter().chain([Self::TcpSpin, Self::UnixSpin]);
        all.find(|route| route.name() == name)
    }

    /// What it is compared with, as far as the run has it: what the machine can do this way without numpush, first of all. Empty for
    /// what is a baseline itself.
    pub(crate) fn baselines(self, kind: Kind, payload: Payload) -> &'static [Self] {
        // A copy of a few bytes takes no time to compare with; and below 64 KiB a unix socket carries the bytes themselves.
        let is_small = payload.len() < 64 << 10;
        match (self, kind) {
            (Self::Tcp, Kind::BothWays) => &[Self::Tcp],
            (Self::Unix, Kind::BothWays) => &[Self::Unix],
            (Self::UnixSegment, Kind::BothWays) => &[Self::UnixSegment],
            (
                Self::Tcp
                | Self::TcpSpin
                | Self::TcpChecksums
                | Self::TcpSegment
                | Self::TcpSendfile,
                _,
            ) => &[Self::BareTcp],
            (Self::Unix | Self::UnixSpin | Self::UnixSegment, Kind::RoundTrip) => &[Self::BareUnix],
            (Self::Unix | Self::UnixSpin | Self::UnixSegment, _) if is_small => &[Self::BareUnix],
            (Self::Inproc, Kind::RoundTrip) => &[Self::BareChannel],
            (Self::Inproc, _) if is_small => &[Self::BareChannel],
            (Self::FileMap, _) if is_small => &[Self::BareFile],
            (Self::Unix | Self::UnixSpin | Self::UnixSegment | Self::FileMap | Self::Inproc, _) => {
                &[Self::MemcpyWarm]
            }
            (Self::File, _) => &[Self::BareFile],
            // Beside our own protocol, and whoever else speaks this one.
            (Self::ZmqTcp, _) => &[Self::Tcp, Self::Libzmq, Self::Pyzmq, Self::BareZmqFrames],
            (Self::ZmqIpc, _) => &[Self::Unix, Self::BareZmqFrames],
            _ => &[],
        }
    }

    /// Moves pages of sealed memory, for which small payloads are too small.
    fn moves_pages(self) -> bool {
        matches!(
            self,
            Self::TcpSendfile | Self::BareSendfile | Self::BareSplice
        )
    }
}

impl Case {
    /// The case of many messages one way.
    fn throughput(route: Route, payload: Payload, count: usize) -> Self {
        Self {
            route,
            payload,
            kind: Kind::Throughput,
            count,
            processors: Processors::Any,
        }
    }

    /// Messages before the clock starts: they fault in the pages that a program in its stride has warm, ours and those of the
    /// kernel. Small ones take few pages each, and the kernel takes new ones for long.
    pub(crate) fn warm(&self) -> usize {
        match (self.kind, self.payload.len()) {
            (Kind::Throughput | Kind::Batches, ..4096) => (self.count / 2).max(2),
            _ => 2,
        }
    }

    /// True if `other` is to be compared with this case. A round trip of a segment costs the same whatever its size, and
    /// is compared with 64 bytes.
    pub(crate) fn is_baseline_of(&self, other: &Self) -> bool {
        let same_payload = self.payload == other.payload || self.kind == Kind::RoundTrip;
        // Both ways at once is compared with one way alone.
        let kind = match other.kind {
            Kind::BothWays => Kind::Throughput,
            kind => kind,
        };
        let baselines = other.route.baselines(other.kind, other.payload);
        baselines.contains(&self.route)
            && (self.kind, self.processors) == (kind, other.processors)
            && same_payload
    }

    pub(crate) fn name(&self) -> String {
        let mut name = self.route.name().to_owned();
        let _ = match self.payload {
            Payload::Array(bytes) => write!(name, ", {}", size(bytes)),
            Payload::Frame => write!(name, ", frame"),
        };
        name.push_str(match self.kind {
            Kind::Throughput => "",
            Kind::Batches => ", batches",
            Kind::BothWays => ", both ways",
            Kind::RoundTrip => ", round trip",
        });
        name.push_str(match self.processors {
            Processors::Any => "",
            Processors::One => ", one processor",
            Processors::Two => ", two processors",
        });
        name
    }
}

/// Bytes in the largest binary unit that divides them.
pub(crate) fn size(bytes: usize) -> String {
    match bytes {
        bytes if bytes >= 1 << 20 => format!("{} MiB", bytes >> 20),
        bytes if bytes >= 1 << 10 => format!("{} KiB", bytes >> 10),
        bytes => format!("{bytes} B"),
    }
}

/// The short run's.
const QUICK: [Route; 15] = [
    Route::MemcpyWarm,
    Route::BareTcp,
    Route::Tcp,
    Route::TcpChecksums,
    Route::BareUnix,
    Route::Unix,
    Route::UnixSegment,
    Route::BareChannel,
    Route::Inproc,
    Route::BareFile,
    Route::File,
    Route::FileMap,
    Route::BareZmqFrames,
    Route::ZmqTcp,
    Route::ZmqIpc,
];

const FULL: [Route; 23] = [
    Route::MemcpyWarm,
    Route::MemcpyFresh,
    Route::BareTcp,
    Route::Tcp,
    Route::TcpChecksums,
    Route::TcpSegment,
    Route::TcpSendfile,
    Route::BareSendfile,
    Route::BareSplice,
    Route::BareUnix,
    Route::Unix,
    Route::UnixSegment,
    Route::BareChannel,
    Route::Inproc,
    Route::BareFile,
    Route::File,
    Route::FileMap,
    Route::BareZmq,
    Route::BareZmqFrames,
    Route::ZmqTcp,
    Route::ZmqIpc,
    Route::Libzmq,
    Route::Pyzmq,
];

const ROUND_TRIP: [Route; 8] = [
    Route::BareTcp,
    Route::Tcp,
    Route::ZmqTcp,
    Route::BareUnix,
    Route::Unix,
    Route::UnixSegment,
    Route::BareChannel,
    Route::Inproc,
];

/// The short run: under a minute.
pub(crate) fn quick() -> Vec<Case> {
    let mut cases = throughput(&QUICK, &[64, 1 << 20, 64 << 20], 128 << 20, 5_000);
    cases.extend(batches(64_000));
    cases.extend(both_ways(64 << 20, 4));
    cases.extend(round_trips(1_000, 64 << 20));
    cases
}

/// Every route and more sizes: some minutes.
pub(crate) fn full() -> Vec<Case> {
    let sizes = [64, 4 << 10, 64 << 10, 1 << 20, 16 << 20, 256 << 20];
    let mut cases = throughput(&FULL, &sizes, 1 << 30, 100_000);
    cases.extend(batches(320_000));
    cases.extend(both_ways(256 << 20, 4));
    for case in round_trips(10_000, 256 << 20) {
        // Behind the bare sockets.
        if case.route == Route::BareChannel {
            cases.push(Case {
                route: Route::Libzmq,
                ..case
            });
        }
        cases.push(case);
    }
    cases
}

/// Arrays of each size over each route, as many as have `budget` bytes and at most `most`; then the dataframe.
fn throughput(routes: &[Route], sizes: &[usize], budget: usize, most: usize) -> Vec<Case> {
    let count = |route: Route, payload: Payload| {
        let count = (budget / payload.len()).clamp(2, most);
        // A file for each message is slow enough that fewer of them show as much.
        if matches!(route, Route::File | Route::BareFile) {
            count.min(most / 10)
        } else {
            count
        }
    };
    let arrays = sizes.iter().map(|&bytes| Payload::Array(bytes));
    let mut cases = Vec::new();
    for payload in arrays.chain([Payload::Frame]) {
        for &route in routes {
            let fits = match route {
                Route::BareChannel => payload.len() < 64 << 10,
                // Their peers know no frame.
                Route::Libzmq | Route::Pyzmq => payload != Payload::Frame,
                _ => !route.moves_pages() || payload.len() >= 1 << 20,
            };
            if fits {
                cases.push(Case::throughput(route, payload, count(route, payload)));
            }
        }
    }
    cases
}

/// Small arrays one way, many in a call.
fn batches(count: usize) -> impl Iterator<Item = Case> {
    let routes = [
        Route::BareTcp,
        Route::Tcp,
        Route::BareUnix,
        Route::Unix,
        Route::BareChannel,
        Route::Inproc,
    ];
    routes.into_iter().map(move |route| Case {
        kind: Kind::Batches,
        processors: Processors::Two,
        ..Case::throughput(route, Payload::Array(64), count)
    })
}

/// Arrays from both ends at once.
fn both_ways(bytes: usize, count: usize) -> impl Iterator<Item = Case> {
    let routes = [Route::Tcp, Route::Unix, Route::UnixSegment];
    routes.into_iter().map(move |route| Case {
        kind: Kind::BothWays,
        ..Case::throughput(route, Payload::Array(bytes), count)
    })
}

/// 64 bytes there and back, both ends on one processor and on two; then segments, whose size must not matter.
fn round_trips(count: usize, largest: usize) -> Vec<Case> {
    let case = |route, bytes, processors| Case {
        route,
        payload: Payload::Array(bytes),
        kind: Kind::RoundTrip,
        count,
        processors,
    };
    let mut cases = Vec::new();
    for processors in [Processors::One, Processors::Two] {
        cases.extend(ROUND_TRIP.map(|route| case(route, 64, processors)));
        if processors == Processors::Two {
            let spins = [Route::TcpSpin, Route::UnixSpin];
            cases.extend(spins.map(|route| case(route, 64, processors)));
        }
        let large = [1 << 20, largest];
        cases.extend(large.map(|bytes| case(Route::UnixSegment, bytes, processors)));
    }
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_ours_has_its_baseline_in_the_same_run() {
        let is_bare = |name: &str| name.starts_with("bare") || name.starts_with("memcpy");
        for cases in [quick(), full()] {
            let ours = |case: &&Case| !is_bare(case.route.name());
            for case in cases.iter().filter(ours) {
                let baselines = case.route.baselines(case.kind, case.payload);
                assert!(
                    cases.iter().any(|other| other.is_baseline_of(case)),
                    "{}: {baselines:?}",
                    case.name()
                );
            }
        }
    }

    #[test]
    fn names_are_unique_and_found_again() {
        let mut names: Vec<String> = full().iter().map(Case::name).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
        for route in FULL {
            assert_eq!(Route::named(route.name()), Some(route));
        }
    }
}
