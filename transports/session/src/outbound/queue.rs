//! What is to be written before anything else: control records, and the rest of a message that was left half written.

use std::collections::VecDeque;

use numpush_message::{Encoder, PREAMBLE_LEN};

/// What comes next.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "a driver must write each of them")]
pub enum Front<'q, D> {
    /// Bytes of control records.
    Control(&'q [u8]),
    /// A record whose first byte carries a descriptor.
    Descriptor(&'q D, &'q [u8; PREAMBLE_LEN]),
    /// The rest of a message.
    Record(&'q mut Encoder<'static>),
}

/// Control records of so many bytes go before another message does.
const MOST_CONTROL: usize = 64 << 10;

/// While so many bytes of control records wait, those that can be put off are.
const LONG: usize = 4 << 10;

#[derive(Debug)]
#[expect(
    clippy::vec_box,
    reason = "they come in boxes and are moved twice: an encoder is large"
)]
pub(super) struct Queue<D> {
    items: VecDeque<Item<D>>,
    /// Bytes of control records among them.
    control: usize,
    /// Messages that are written, or never will be.
    pub(super) spent: Vec<Box<Encoder<'static>>>,
}

#[derive(Debug)]
enum Item<D> {
    /// Bytes, and how many of them are written.
    Control(Vec<u8>, usize),
    Descriptor(D, [u8; PREAMBLE_LEN]),
    Record(Box<Encoder<'static>>),
}

impl<D> Queue<D> {
    pub(super) fn new() -> Self {
        Self {
            items: VecDeque::new(),
            control: 0,
            spent: Vec::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// True if more waits than the front.
    pub(super) fn has_more(&self) -> bool {
        self.items.len() > 1
    }

    /// True if so many control records wait that those which can be put off should be: the peer, who makes us queue them,
    /// does not read.
    pub(super) fn is_long(&self) -> bool {
        self.control > LONG
    }

    /// True if a record is half written, so that nothing else may be written before its rest.
    pub(super) fn is_midway(&self) -> bool {
        match self.items.front() {
            Some(Item::Control(_, written)) => *written != 0,
            Some(Item::Descriptor(..)) | None => false,
            Some(Item::Record(encoder)) => encoder.is_begun(),
        }
    }

    /// Messages that wait.
    pub(super) fn messages(&self) -> u64 {
        let messages = self.items.iter();
        messages
            .filter(|item| matches!(item, Item::Record(_)))
            .count() as u64
    }

    /// True if a message waits, or so much else that the peer must read first.
    pub(super) fn is_backed_up(&self) -> bool {
        self.control > MOST_CONTROL || self.messages() > 0
    }

    /// Takes the last item back if it is a message of which no byte is written.
    pub(super) fn take_back(&mut self) -> Option<Box<Encoder<'static>>> {
        match self.items.pop_back()? {
            Item::Record(encoder) if !encoder.is_begun() => Some(encoder),
            item => {
                self.items.push_back(item);
                None
            }
        }
    }

    /// Bytes that wait.
    pub(super) fn len(&self) -> u64 {
        let len = |item: &Item<D>| match item {
            Item::Control(bytes, written) => (bytes.len() - written) as u64,
            Item::Descriptor(_, bytes) => bytes.len() as u64,
            Item::Record(encoder) => encoder.rest_len(),
        };
        self.items.iter().map(len).sum()
    }

    pub(super) fn push_control(&mut self, record: &[u8]) {
        self.control += record.len();
        // Bytes that are written leave with the item, so an item that is never quite written must not grow for ever.
        if let Some(Item::Control(bytes, written)) = self.items.back_mut()
            && (*written == 0 || bytes.len() < LONG)
        {
            bytes.extend_from_slice(record);
            return;
        }
        self.items.push_back(Item::Control(Vec::from(record), 0));
    }

    pub(super) fn push_descriptor(&mut self, descriptor: D, record: [u8; PREAMBLE_LEN]) {
        self.control += record.len();
        self.items.push_back(Item::Descriptor(descriptor, record));
    }

    pub(super) fn push_record(&mut self, encoder: Encoder<'static>) {
        self.items.push_back(Item::Record(Box::new(encoder)));
    }

    /// The rest of a record that is half written goes before all else.
    pub(super) fn push_rest(&mut self, encoder: Encoder<'static>) {
        self.items.push_front(Item::Record(Box::new(encoder)));
    }

    pub(super) fn front(&mut self) -> Option<Front<'_, D>> {
        Some(match self.items.front_mut()? {
            Item::Control(bytes, written) => Front::Control(bytes.get(*written..).unwrap_or(&[])),
            Item::Descriptor(descriptor, bytes) => Front::Descriptor(descriptor, bytes),
            Item::Record(encoder) => Front::Record(encoder),
        })
    }

    /// `count` bytes of the front are written.
    pub(super) fn written(&mut self, count: usize) {
        match self.items.front_mut() {
            Some(Item::Control(bytes, written)) => {
                let count = count.min(bytes.len() - *written);
                self.control -= count;
                *written += count;
                if *written >= bytes.len() {
                    self.items.pop_front();
                }
            }
            // The descriptor went with the first byte; the rest goes as any control record.
            Some(Item::Descriptor(_, bytes)) if count > 0 => {
                self.control -= count.min(bytes.len());
                let rest = (count < bytes.len()).then(|| Item::Control(Vec::from(*bytes), count));
                self.items.pop_front();
                if let Some(rest) = rest {
                    self.items.push_front(rest);
                }
            }
            Some(Item::Record(encoder)) => {
                encoder.advance(count);
                if encoder.next().is_none()
                    && let Some(Item::Record(encoder)) = self.items.pop_front()
                {
                    self.spent.push(encoder);
                }
            }
            _ => {}
        }
    }

    /// Drops everything.
    pub(super) fn clear(&mut self) {
        let records = self.items.drain(..).filter_map(|item| match item {
            Item::Record(encoder) => Some(encoder),
            _ => None,
        });
        self.spent.extend(records);
        self.control = 0;
    }
}
