//! A sealed frame that comes, and is too long to be read ahead.

use numpush_message::{Limits, PREAMBLE_LEN};
use numpush_zmtp::{Fault, FrameHead, Inbound, SEALED_LEAD};

/// Most bytes that are held of a frame of which nobody knows what it is: those of a preamble and the longest header.
const MOST_HELD: u64 = (PREAMBLE_LEN + Limits::HEADER) as u64;

/// A piece that is gathered: what a peer claims takes no memory before it comes.
const STEP: usize = 16 << 10;

/// A sealed frame that comes. What it is is known when all of it has come, and its tag holds.
pub(super) struct Sealed {
    /// Its data go to where they stay. What else it is is gathered.
    pub(super) stays: bool,
    /// What goes before the data. Its last byte is the first one of the box.
    lead: [u8; SEALED_LEAD],
    filled: usize,
    /// Bytes of its body.
    len: u64,
}

impl Sealed {
    pub(super) fn new(stays: bool, len: u64) -> Self {
        Self {
            stays,
            lead: [0; SEALED_LEAD],
            filled: 0,
            len,
        }
    }

    /// Fails for a frame of so many bytes that nobody would hold. To pass it by it would have to be opened, and so held.
    pub(super) fn hold(len: u64) -> Result<(), Fault> {
        if len <= MOST_HELD + SEALED_LEAD as u64 {
            return Ok(());
        }
        Err(Fault::OverLimit {
            what: "a sealed frame that has no place of its own",
            value: len,
            limit: MOST_HELD,
        })
    }

    /// Takes what has come of what goes before the data. True if that is all of it.
    fn take_lead(&mut self, inbound: &mut Inbound) -> bool {
        let missing = self.lead.get_mut(self.filled..).unwrap_or(&mut []);
        self.filled += inbound.take(missing);
        self.lands()
    }

    /// True if what comes next are data.
    pub(super) fn lands(&self) -> bool {
        self.filled == SEALED_LEAD
    }

    /// Takes what has come of the data to `to`, where they stay, and returns the number of bytes.
    pub(super) fn land(&mut self, inbound: &mut Inbound, to: &mut [u8]) -> usize {
        if !self.take_lead(inbound) {
            return 0;
        }
        inbound.take(to)
    }

    /// True if data of it were taken.
    pub(super) fn has_data(&self, inbound: &Inbound) -> bool {
        inbound.body_left() + (self.filled as u64) < self.len
    }

    /// Takes a piece of what has come of the data, at most `most` bytes, behind the first byte of the box. Returns their number.
    pub(super) fn gather(
        &mut self,
        inbound: &mut Inbound,
        gathered: &mut Vec<u8>,
        most: usize,
    ) -> usize {
        if !self.take_lead(inbound) {
            return 0;
        }
        if gathered.is_empty() {
            gathered.extend(self.lead.last());
        }
        let before = gathered.len();
        let step = usize::try_from(inbound.body_left()).unwrap_or(usize::MAX);
        gathered.resize(before + step.min(STEP).min(most), 0);
        let count = inbound.take(gathered.get_mut(before..).unwrap_or(&mut []));
        gathered.truncate(before + count);
        count
    }

    /// Opens it where it lies: the data, and a byte before them whose place the first byte of the box takes for a moment.
    pub(super) fn open(
        &self,
        inbound: &mut Inbound,
        sealed: &mut [u8],
    ) -> Result<FrameHead, Fault> {
        let [nonce @ .., first] = &self.lead;
        let kept = sealed
            .first_mut()
            .map(|byte| std::mem::replace(byte, *first));
        let head = inbound.open_parts(nonce, sealed);
        if let (Some(byte), Some(kept)) = (sealed.first_mut(), kept) {
            *byte = kept;
        }
        head
    }

    /// Bytes that may be read where they do not stay, if `left` bytes of the frame have not come.
    pub(super) fn ahead(&self, left: usize) -> usize {
        match self.stays && !self.lands() {
            true => left.min(SEALED_LEAD - self.filled),
            false => left,
        }
    }
}
