//! Where the next bytes of a peer are read to.

use numpush_message::{AllocError, BufferAllocator, Decoder, PREAMBLE_LEN};
use numpush_zmtp::{Inbound, LONGEST_HEAD};

use crate::zmq::arrival::{Arrival, Stage, head_len};

/// Shorter bodies are taken out of the read-ahead, many with one call.
const LANDS_FROM: u64 = 4 << 10;

/// A sealed frame with less data may be one that is opened where it is read ahead.
const SHORT: u64 = 16 << 10;

impl Arrival {
    /// Where the next bytes of the frame at hand stay, if they may be read there: all that came before them was taken.
    pub(in crate::zmq) fn lands(
        &mut self,
        inbound: &Inbound,
    ) -> Result<Option<&mut [u8]>, AllocError> {
        let is_large = match &self.stage {
            Stage::Buffers => self.is_large(),
            Stage::Raw(frames) => frames.is_large(),
            Stage::Head | Stage::Skip(_) => return Ok(None),
        };
        let may = match &self.sealed {
            Some(sealed) => sealed.stays && sealed.lands(),
            None => inbound.body_left() >= LANDS_FROM || is_large,
        };
        if !may || !inbound.lands() {
            return Ok(None);
        }
        let most = match self.rooms.covered() {
            // There will never be room: [`Self::take`] finds that too, and goes on without.
            Err(refused) if refused.is_permanent() => return Ok(None),
            covered => covered?,
        };
        Ok(Some(self.spare(most)?).filter(|spare| !spare.is_empty()))
    }

    /// Asks for the memory in which the frame at hand stays, unless it has some.
    pub(super) fn find_room(
        &mut self,
        allocator: &mut dyn BufferAllocator,
    ) -> Result<(), AllocError> {
        match &mut self.stage {
            Stage::Raw(frames) => frames.find_room(allocator, &mut self.transfer.copied),
            _ => self.landing.find_room(allocator),
        }
    }

    /// Where the next bytes of the frame at hand stay, at most `most`, once it has memory.
    pub(super) fn spare(&mut self, most: usize) -> Result<&mut [u8], AllocError> {
        let spare = match &mut self.stage {
            Stage::Raw(frames) => frames.spare()?,
            _ => self.landing.spare()?,
        };
        let most = most.min(spare.len());
        Ok(spare.get_mut(..most).unwrap_or(&mut []))
    }

    /// `count` bytes have come to the front of [`Self::spare`], or to where [`Self::lands`] said.
    pub(in crate::zmq) fn landed(&mut self, count: usize) {
        match &mut self.stage {
            Stage::Raw(frames) => frames.filled(count),
            _ => self.landing.filled(count),
        }
        self.rooms.came(count);
    }

    /// Bytes that may be read where they do not stay, if `left` bytes of the frame at hand have not come.
    pub(in crate::zmq) fn ahead(&self, left: u64) -> usize {
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        if let Some(sealed) = &self.sealed {
            return sealed.ahead(left);
        }
        match &self.stage {
            Stage::Head if left == 0 => self.lead,
            Stage::Head => match self.gathered.get(16..24).and_then(<[u8]>::first_chunk) {
                // The rest of the preamble says how large the payload is.
                Some(len) if u64::from_le_bytes(*len) > Decoder::SMALL as u64 => {
                    left.saturating_add(LONGEST_HEAD)
                }
                Some(_) => usize::MAX,
                None => left.min(PREAMBLE_LEN),
            },
            Stage::Buffers if left == 0 => match self.landing.len_of(self.buffers) {
                // A short one is opened where it is read ahead.
                Some(len) if self.is_large() && (!self.seals || len >= SHORT) => {
                    head_len(len) + self.overhead()
                }
                _ => usize::MAX,
            },
            Stage::Buffers | Stage::Raw(_) | Stage::Skip(_) => usize::MAX,
        }
    }
}
