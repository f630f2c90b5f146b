use std::fmt::Write as _;

/// How a payload travels in one measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Way {
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
pub(crate) enum Load {
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
    pub(crate) way: Way,
    pub(crate) load: Load,
    pub(crate) kind: Kind,
    pub(crate) count: usize,
}

impl Way {
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

    /// The measurement without us that shows what the machine can do this way.
    pub(crate) fn floor(self, kind: Kind, load: Load) -> Option<Self> {
        let small = matches!(load, Load::Array(bytes) if bytes < 64 << 10);
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

    pub(crate) fn is_floor(self) -> bool {
        self.name().starts_with("bare") || self.name().starts_with("memcpy")
    }
}

impl Case {
    pub(crate) fn name(&self) -> String {
        let mut name = self.way.name().to_owned();
        let _ = match self.load {
            Load::Array(bytes) => write!(name, ", {}", size(bytes)),
            Load::Frame => write!(name, ", flights"),
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

const THROUGHPUT: [Way; 20] = [
    Way::MemcpyWarm,
    Way::MemcpyFresh,
    Way::BareTcp,
    Way::Tcp,
    Way::TcpChecksums,
    Way::TcpSegment,
    Way::TcpSendfile,
    Way::BareSendfile,
    Way::BareSplice,
    Way::BareUnix,
    Way::Unix,
    Way::UnixSegment,
    Way::Inproc,
    Way::File,
    Way::FileMap,
    Way::BareZmq,
    Way::BareZmqFrames,
    Way::ZmqTcp,
    Way::ZmqIpc,
    Way::Pyzmq,
];

const ROUND_TRIP: [Way; 6] = [
    Way::BareTcp,
    Way::Tcp,
    Way::BareUnix,
    Way::Unix,
    Way::UnixSegment,
    Way::Inproc,
];

/// Every case, sizes rising.
pub(crate) fn all(quick: bool, frame: bool) -> Vec<Case> {
    let sizes: &[usize] = if quick {
        &[64, 1 << 20, 64 << 20]
    } else {
        &[64, 4 << 10, 64 << 10, 1 << 20, 16 << 20, 256 << 20]
    };
    let budget: usize = if quick { 128 << 20 } else { 1 << 30 };
    let most = if quick { 2_000 } else { 20_000 };
    let mut cases = Vec::new();
    for &bytes in sizes {
        for way in THROUGHPUT {
            let count = (budget / bytes).clamp(if quick { 2 } else { 4 }, most);
            // A file a message, and a link that polls: fewer of them say as much.
            let count = if way == Way::File {
                count.min(most / 10)
            } else {
                count
            };
            if matches!(way, Way::TcpSendfile | Way::BareSendfile | Way::BareSplice)
                && bytes < 1 << 20
            {
                continue;
            }
            cases.push(Case {
                way,
                load: Load::Array(bytes),
                kind: Kind::Throughput,
                count,
            });
        }
    }
    for way in ROUND_TRIP {
        let count = if quick { 2_000 } else { 10_000 };
        cases.push(Case {
            way,
            load: Load::Array(64),
            kind: Kind::RoundTrip,
            count,
        });
    }
    let largest = sizes.last().copied().unwrap_or(1 << 20);
    for bytes in [1 << 20, largest] {
        let way = Way::UnixSegment;
        let count = if quick { 1_000 } else { 3_000 };
        cases.push(Case {
            way,
            load: Load::Array(bytes),
            kind: Kind::RoundTrip,
            count,
        });
    }
    if frame {
        let ours = THROUGHPUT
            .into_iter()
            .filter(|way| !way.is_floor() && !matches!(way, Way::FileMap | Way::TcpSendfile));
        cases.extend(ours.map(|way| Case {
            way,
            load: Load::Frame,
            kind: Kind::Throughput,
            count: 10,
        }));
    }
    cases
}
