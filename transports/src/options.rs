use std::time::Duration;

/// How a link behaves. The defaults suit most.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Largest payload of one message in bytes, sent or received.
    pub max_message: u64,
    /// Payload bytes that may be on their way to the peer before the sender has to wait. One message may always go.
    pub window: u64,
    /// Longest wait for the peer in send, flush and close.
    pub send_timeout: Option<Duration>,
    /// Longest wait for a message in recv.
    pub recv_timeout: Option<Duration>,
    /// How long connect keeps trying while nobody listens.
    pub connect_timeout: Duration,
    /// Whether payloads carry checksums.
    pub checksums: Checksums,
    /// Whether tcp sends memory behind a descriptor by sendfile(2).
    pub sendfile: Sendfile,
    /// Users that may connect to a unix socket besides our own.
    pub allowed_users: Vec<u32>,
    /// Bytes of segments a unix link may keep for plain memory on its way.
    pub segment_budget: u64,
}

/// Whether payloads carry checksums.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksums {
    /// On if the peer is another machine.
    #[default]
    Auto,
    /// On.
    On,
    /// Off, unless the peer asks for them.
    Off,
}

/// Whether tcp sends memory behind a descriptor by sendfile(2).
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sendfile {
    /// To other machines, and from files. Between processes of one machine a write is faster: see
    /// `docs/design/0001-paths.md` for the measurement.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_message: 1 << 30,
            window: 256 << 20,
            send_timeout: None,
            recv_timeout: None,
            connect_timeout: Duration::from_secs(5),
            checksums: Checksums::Auto,
            sendfile: Sendfile::Auto,
            allowed_users: Vec::new(),
            segment_budget: 1 << 30,
        }
    }
}
