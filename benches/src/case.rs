use std::fmt::Write as _;

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
    /// libzmq, through pyzmq
    Pyzmq,
    /// Threads of one process
    Inproc,
    Tcp,
    TcpChecksums,
    /// From a sealed segment
    TcpSegment,
    /// From a sealed segment, by sendfile
    TcpSendfile,
    /// Plain memory
    Unix,
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
    /// An array of so many bytes.
    Array(usize),
    /// The dataframe.
    Frame,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Many messages one way; the receiver touches every page.
    Throughput,
    /// One message to and fro; the receiver touches the first and the last byte.
    RoundTrip,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) route: Route,
    pub(crate) payload: Payload,
    pub(crate) kind: Kind,
    pub(crate) count: usize,
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
            Self::Pyzmq => "bare libzmq (pyzmq)",
            Self::Inproc => "inproc",
            Self::Tcp => "tcp",
            Self::TcpChecksums => "tcp, checksums",
            Self::TcpSegment => "tcp, from a segment",
            Self::TcpSendfile => "tcp, segment by sendfile",
            Self::Unix => "unix",
            Self::UnixSegment => "unix, from a segment",
            Self::File => "file, a folder",
            Self::FileMap => "file, mapped",
            Self::ZmqTcp => "zmq+tcp",
            Self::ZmqIpc => "zmq+ipc",
        }
    }

    /// The route that [`name`](Self::name) names.
    pub(crate) fn named(name: &str) -> Option<Self> {
        THROUGHPUT.into_iter().find(|route| route.name() == name)
    }

    /// The measurement without us that shows what the machine can do this way.
    pub(crate) fn baseline(self, kind: Kind, payload: Payload) -> Option<Self> {
        let small = matches!(payload, Payload::Array(bytes) if bytes < 64 << 10);
        Some(match (self, kind) {
            (Self::Unix | Self::UnixSegment, _) if small => Self::BareUnix,
            (Self::Tcp | Self::TcpChecksums | Self::TcpSegment | Self::TcpSendfile, _) => {
                Self::BareTcp
            }
            (Self::Unix | Self::UnixSegment, Kind::RoundTrip) => Self::BareUnix,
            (Self::Unix | Self::File | Self::FileMap, Kind::Throughput) => Self::MemcpyWarm,
            (Self::ZmqTcp | Self::ZmqIpc, Kind::Throughput) => Self::BareZmqFrames,
            _ => return None,
        })
    }

    pub(crate) fn is_baseline(self) -> bool {
        self.name().starts_with("bare") || self.name().starts_with("memcpy")
    }
}

impl Case {
    pub(crate) fn name(&self) -> String {
        let mut name = self.route.name().to_owned();
        let _ = match self.payload {
            Payload::Array(bytes) => write!(name, ", {}", size(bytes)),
            Payload::Frame => write!(name, ", frame"),
        };
        if self.kind == Kind::RoundTrip {
            name.push_str(", round trip");
        }
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

const THROUGHPUT: [Route; 20] = [
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
    Route::Inproc,
    Route::File,
    Route::FileMap,
    Route::BareZmq,
    Route::BareZmqFrames,
    Route::ZmqTcp,
    Route::ZmqIpc,
    Route::Pyzmq,
];

const ROUND_TRIP: [Route; 6] = [
    Route::BareTcp,
    Route::Tcp,
    Route::BareUnix,
    Route::Unix,
    Route::UnixSegment,
    Route::Inproc,
];

/// Every case, sizes rising.
pub(crate) fn all(quick: bool) -> Vec<Case> {
    let sizes: &[usize] = if quick {
        &[64, 1 << 20, 64 << 20]
    } else {
        &[64, 4 << 10, 64 << 10, 1 << 20, 16 << 20, 256 << 20]
    };
    let budget: usize = if quick { 128 << 20 } else { 1 << 30 };
    let most = if quick { 2_000 } else { 20_000 };
    let mut cases = Vec::new();
    for &bytes in sizes {
        for route in THROUGHPUT {
            let count = (budget / bytes).clamp(if quick { 2 } else { 4 }, most);
            // A file a message, and a link that polls: fewer of them say as much.
            let count = if route == Route::File {
                count.min(most / 10)
            } else {
                count
            };
            if matches!(
                route,
                Route::TcpSendfile | Route::BareSendfile | Route::BareSplice
            ) && bytes < 1 << 20
            {
                continue;
            }
            cases.push(Case {
                route,
                payload: Payload::Array(bytes),
                kind: Kind::Throughput,
                count,
            });
        }
    }
    for route in ROUND_TRIP {
        let count = if quick { 2_000 } else { 10_000 };
        cases.push(Case {
            route,
            payload: Payload::Array(64),
            kind: Kind::RoundTrip,
            count,
        });
    }
    let largest = sizes.last().copied().unwrap_or(1 << 20);
    for bytes in [1 << 20, largest] {
        let route = Route::UnixSegment;
        let count = if quick { 1_000 } else { 3_000 };
        cases.push(Case {
            route,
            payload: Payload::Array(bytes),
            kind: Kind::RoundTrip,
            count,
        });
    }
    let ours = THROUGHPUT.into_iter().filter(|route| {
        !route.is_baseline() && !matches!(route, Route::FileMap | Route::TcpSendfile)
    });
    cases.extend(ours.map(|route| Case {
        route,
        payload: Payload::Frame,
        kind: Kind::Throughput,
        count: 10,
    }));
    cases
}
