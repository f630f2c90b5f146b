//! MESSAGE: a frame after the handshake.

use std::fmt;

use crate::cipher::{Agreed, TAG};
use crate::fault::Fault;
use crate::frame::{FrameHead, LONGEST_HEAD};
use crate::seal::{Open, Opening, SEALED_LEAD, Seal, SealError, Sealing};

use super::{cut, numbered, rising};

const NAME: &[u8; 8] = b"\x07MESSAGE";
const MORE: u8 = 1;
const COMMAND: u8 = 2;

/// What the numbers of a direction are joined to.
pub(super) type Direction = &'static [u8; 16];
pub(super) const FROM_CLIENT: Direction = b"CurveZMQMESSAGEC";
pub(super) const FROM_SERVER: Direction = b"CurveZMQMESSAGES";

/// One direction of a connection.
struct Traffic {
    agreed: Agreed,
    direction: Direction,
    /// Number of the last box.
    last: u64,
}

/// Both directions of a connection.
pub(super) struct Both {
    opening: Option<Opening>,
    sealing: Option<Sealing>,
}

impl Both {
    /// Opens what comes and seals what goes with `agreed`: each direction, and the number of its last box.
    pub(super) fn new(agreed: &Agreed, opens: (Direction, u64), seals: (Direction, u64)) -> Self {
        let traffic = |(direction, last)| {
            Box::new(Traffic {
                agreed: agreed.clone(),
                direction,
                last,
            })
        };
        Self {
            opening: Some(traffic(opens)),
            sealing: Some(Sealing(traffic(seals))),
        }
    }

    pub(super) fn opening(&mut self) -> Option<Opening> {
        self.opening.take()
    }

    pub(super) fn sealing(&mut self) -> Option<Sealing> {
        self.sealing.take()
    }
}

impl Seal for Traffic {
    fn seal(
        &mut self,
        head: FrameHead,
        parts: &[&[u8]],
        to: &mut Vec<u8>,
    ) -> Result<(), SealError> {
        let number = self.last.checked_add(1).ok_or(SealError::UsedUp)?;
        let data = parts
            .iter()
            .fold(0_usize, |sum, part| sum.saturating_add(part.len()));
        let len = data.saturating_add(SEALED_LEAD);
        let room = len.saturating_add(LONGEST_HEAD);
        // A long frame that is alone takes no more than it needs. Short ones come in numbers.
        let found = match to.is_empty() {
            true => to.try_reserve_exact(room),
            false => to.try_reserve(room),
        };
        found.map_err(|source| SealError::NoMemory { len: data, source })?;
        self.last = number;
        // libzmq says what a frame is in the box alone, and looks nowhere else.
        FrameHead::message(len as u64, false).write(to);
        to.extend(NAME);
        to.extend(number.to_be_bytes());
        let flags = (if head.more { MORE } else { 0 }) | (if head.command { COMMAND } else { 0 });
        let at = to.len();
        to.extend([0; TAG]);
        to.push(flags);
        for part in parts {
            to.extend(*part);
        }
        let nonce = numbered(self.direction, number);
        self.agreed.seal_from(&nonce, at, to);
        Ok(())
    }
}

impl Open for Traffic {
    fn open(&mut self, lead: &[u8; 32], sealed: &mut [u8]) -> Result<FrameHead, Fault> {
        let mut lead = lead.as_slice();
        if cut(&mut lead)? != NAME {
            return Err(Fault::Violation("a frame came that is not sealed"));
        }
        let number = rising(&mut lead, self.last)?;
        let tag: &[u8; TAG] = cut(&mut lead)?;
        let nonce = numbered(self.direction, number);
        if !self.agreed.open(&nonce, sealed, tag) {
            return Err(Fault::Sealed("frame"));
        }
        self.last = number;
        let Some((&mut flags, data)) = sealed.split_first_mut() else {
            return Err(SHORT);
        };
        if flags & !(MORE | COMMAND) != 0 || flags == MORE | COMMAND {
            return Err(Fault::Violation(
                "a sealed frame has flags that have no meaning",
            ));
        }
        Ok(FrameHead {
            len: data.len() as u64,
            more: flags & MORE != 0,
            command: flags & COMMAND != 0,
        })
    }
}

const SHORT: Fault = Fault::Violation("a sealed frame is shorter than 33 bytes");

impl fmt::Debug for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.direction.escape_ascii();
        write!(f, "{text} after {}", self.last)
    }
}
