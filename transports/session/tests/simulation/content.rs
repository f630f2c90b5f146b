//! Messages that can be told apart, and made again from a few numbers.

use numpush_message::Message;

use crate::random::Random;

/// How a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Write,
    /// By reference into this segment.
    Refer(u32),
    /// As a message of a kind that the receiver does not know.
    Ancillary,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Content {
    seed: u64,
    len: usize,
    attribute: usize,
    pub(crate) way: Way,
}

impl Content {
    pub(crate) fn new(random: &mut Random) -> Self {
        let len = match random.of(0..=59) {
            0 => random.of(60_000..=90_000),
            1..=3 => random.of(4_000..=20_000),
            4..=20 => random.of(200..=2_000),
            21..=25 => 0,
            _ => random.of(1..=200),
        };
        let way = match random.of(0..=11) {
            0 => Way::Refer(u32::try_from(random.of(1..=3)).unwrap()),
            1 => Way::Ancillary,
            _ => Way::Write,
        };
        Self {
            seed: random.number(),
            len,
            attribute: if random.once_in(10) {
                random.of(1..=5_000)
            } else {
                0
            },
            way,
        }
    }

    pub(crate) fn message(&self) -> Message<'static> {
        let mut random = Random::new(self.seed);
        let step = random.number() | 1;
        let mut at = random.number();
        let bytes: Vec<u8> = std::iter::repeat_with(|| {
            at = at.wrapping_add(step);
            (at >> 56) as u8
        })
        .take(self.len)
        .collect();
        let message = Message::new(numpush_message::Buffer::from(bytes));
        if self.attribute == 0 {
            return message;
        }
        message.with_attribute("text", "x".repeat(self.attribute))
    }

    /// Where it lies in its segment, by reference.
    pub(crate) fn offset(&self) -> u64 {
        self.seed >> 1
    }

    /// Takes as many bytes on the wire, roughly; less is less.
    pub(crate) fn shorten(&mut self) {
        self.len = self.len.min(100);
        self.attribute = 0;
    }
}
