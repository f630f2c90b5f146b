//! One direction of a connection: bytes and descriptors on their way, and what goes wrong with them.

use std::collections::VecDeque;

use crate::random::Random;

/// The writer's end is dead: EPIPE, ECONNRESET.
#[derive(Debug)]
pub(crate) struct Broken;

/// What a read found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    Bytes(usize, Option<u32>),
    Nothing,
    End,
}

#[derive(Debug)]
pub(crate) struct Pipe {
    random: Random,
    bytes: VecDeque<u8>,
    /// Bytes of `bytes` that have come.
    arrived: usize,
    /// Descriptors: position of the first byte that carries one, and behind the last.
    descriptors: VecDeque<(u64, u64, u32)>,
    capacity: usize,
    pub(crate) written: u64,
    read: u64,
    is_ended: bool,
    is_broken: bool,
    /// The byte at this position arrives with these bits changed.
    pub(crate) flip: Option<(u64, u8)>,
    pub(crate) is_flipped: bool,
    /// Of what is written from this position on, so many bytes come in a second.
    pub(crate) slow: Option<(u64, usize)>,
    /// A fault of the simulated driver: the byte at this position is lost.
    pub(crate) lost: Option<u64>,
}

impl Pipe {
    pub(crate) fn new(mut random: Random) -> Self {
        Self {
            capacity: random.pick(&[1, 63, 64, 200, 1000, 5000, 100_000]),
            random,
            bytes: VecDeque::new(),
            arrived: 0,
            descriptors: VecDeque::new(),
            written: 0,
            read: 0,
            is_ended: false,
            is_broken: false,
            flip: None,
            is_flipped: false,
            slow: None,
            lost: None,
        }
    }

    /// Has room for many small messages.
    pub(crate) fn widen(&mut self) {
        self.capacity = self.capacity.max(5_000);
    }

    /// Takes as many bytes as there is room for; at random fewer. 0: there is no room.
    pub(crate) fn write(&mut self, bytes: &[u8], descriptor: Option<u32>) -> Result<usize, Broken> {
        if self.is_broken {
            return Err(Broken);
        }
        let room = self.capacity.saturating_sub(self.bytes.len());
        let most = bytes.len().min(room);
        let count = match self.random.of(0..=3) {
            0 if most > 0 => self.random.of(1..=most),
            _ => most,
        };
        if count > 0 {
            self.put(&bytes[..count], descriptor);
        }
        Ok(count)
    }

    /// Takes all of the bytes, unless nobody can read them.
    pub(crate) fn put(&mut self, bytes: &[u8], descriptor: Option<u32>) {
        if self.is_broken {
            return;
        }
        if let Some(descriptor) = descriptor {
            let end = self.written + bytes.len() as u64;
            self.descriptors.push_back((self.written, end, descriptor));
        }
        for &byte in bytes {
            let position = self.written;
            self.written += 1;
            let byte = match self.flip {
                Some((at, bits)) if at == position => {
                    self.is_flipped = true;
                    byte ^ bits
                }
                _ => byte,
            };
            if self.lost == Some(position) {
                continue;
            }
            self.bytes.push_back(byte);
        }
    }

    /// Lets `count` more bytes arrive. Returns true if any did.
    pub(crate) fn deliver(&mut self, count: usize) -> bool {
        let mut new = count.min(self.bytes.len() - self.arrived);
        if let Some((from, _)) = self.slow {
            let fast = from.saturating_sub(self.read + self.arrived as u64);
            new = new.min(usize::try_from(fast).unwrap());
        }
        self.arrived += new;
        new > 0
    }

    /// A second passes.
    pub(crate) fn trickle(&mut self) -> bool {
        let rate = self.slow.map_or(0, |(_, rate)| rate);
        let new = rate.min(self.bytes.len() - self.arrived);
        self.arrived += new;
        new > 0
    }

    /// Reads as recvmsg(2) of a unix socket does: a read that brings a descriptor ends no later than the write that sent it.
    pub(crate) fn read(&mut self, into: &mut [u8]) -> Read {
        let mut count = self.arrived.min(into.len());
        if count == 0 {
            let is_over = self.is_ended && self.bytes.is_empty();
            return if is_over { Read::End } else { Read::Nothing };
        }
        if self.random.once_in(3) {
            count = self.random.of(1..=count);
        }
        let mut descriptor = None;
        if let Some(&(begin, end, number)) = self.descriptors.front()
            && self.read + count as u64 > begin
        {
            count = count.min(usize::try_from(end - self.read).unwrap());
            descriptor = Some(number);
            self.descriptors.pop_front();
        }
        for (to, byte) in into.iter_mut().zip(self.bytes.drain(..count)) {
            *to = byte;
        }
        self.arrived -= count;
        self.read += count as u64;
        Read::Bytes(count, descriptor)
    }

    /// The writer ends it: what was written still arrives.
    pub(crate) fn end(&mut self) {
        self.is_ended = true;
    }

    /// The connection is gone: what has not arrived is lost, and writing fails.
    pub(crate) fn cut(&mut self) {
        self.bytes.truncate(self.arrived);
        self.is_ended = true;
        self.is_broken = true;
    }

    /// The reader is gone: writing fails, and nobody reads what is there.
    pub(crate) fn abandon(&mut self) {
        self.cut();
        self.bytes.clear();
        self.arrived = 0;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}
