use std::time::Duration;

use numpush_message::Hello;

/// How one side of a session behaves.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct Config {
    /// What we tell the peer first: limits, credit, what we take.
    pub hello: Hello,
    /// Payload bytes of ours that may be on their way before [`Outbound::begin`](crate::Outbound::begin) is blocked, whatever
    /// credit the peer grants. One message always goes.
    pub window: u64,
    /// When an arrived message counts as acknowledged.
    pub acknowledge: Acknowledge,
    /// Longest time without a byte in the middle of a record, and longest time for a header.
    pub patience: Duration,
    /// Slowest rate at which a payload may come on average, in bytes a second.
    pub slowest: u64,
}

impl Config {
    /// Slowest average rate of a payload unless another is set: 64 KiB/s.
    const SLOWEST: u64 = 64 << 10;

    /// A configuration with this hello, a window of 256 MiB, and 30 s of patience.
    pub fn new(hello: Hello) -> Self {
        Self {
            hello,
            window: 256 << 20,
            acknowledge: Acknowledge::OnReturn,
            patience: Duration::from_secs(30),
            slowest: Self::SLOWEST,
        }
    }

    /// Sets the payload bytes that may be on their way.
    #[must_use]
    pub fn window(self, window: u64) -> Self {
        Self { window, ..self }
    }

    /// Sets when messages are acknowledged.
    #[must_use]
    pub fn acknowledge(self, acknowledge: Acknowledge) -> Self {
        Self {
            acknowledge,
            ..self
        }
    }

    /// Sets the longest time without a byte in the middle of a record.
    #[must_use]
    pub fn patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }
}

/// When a received message is acknowledged. The sender's flush and close wait for that.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Acknowledge {
    /// When recv returns it: the sender knows that this process has it.
    #[default]
    OnReturn,
    /// At the next call of recv, flush or close: the sender knows that this process is done with it. A connection that is
    /// dropped instead leaves the message unacknowledged.
    OnNextCall,
    /// When the program confirms it. An acknowledgement covers all messages before it, so one that is not confirmed holds
    /// back the acknowledgement of those after it.
    OnConfirm,
}
