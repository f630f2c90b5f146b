//! Sealed frames that are too long to be read ahead.

use numpush_message::{AllocError, BufferAllocator, DecodeError};
use numpush_zmtp::{Fault, Inbound, SEALED_LEAD};

use crate::zmq::arrival::{Arrival, LONGEST_GATHERED, Stage, Stop};
use crate::zmq::sealed::Sealed;

impl Arrival {
    /// A sealed frame begins, with a body of `len` bytes. A `stray` one belongs to a message that nobody wants.
    ///
    /// Fails if it is longer than what is held until it is known what it is: all but a frame that has a place of its own.
    pub(in crate::zmq) fn begin_sealed(&mut self, len: u64, is_stray: bool) -> Result<(), Fault> {
        let data = len.saturating_sub(SEALED_LEAD as u64);
        self.gathered.clear();
        if is_stray {
            // It is held, and that is all.
        } else if let Stage::Head = self.stage
            && data > LONGEST_GATHERED
        {
            // It is no header.
            self.refuse(self.foreign(), data);
        } else if let Stage::Raw(frames) = &mut self.stage {
            match frames.begin(data) {
                Ok(()) => self.rooms.claim_frame(frames.total(), data, 0),
                Err(fault) => self.skip(fault),
            }
        } else if let Stage::Buffers = self.stage {
            let expected = self.landing.len_of(self.buffers);
            if expected != Some(data) {
                self.skip(DecodeError::BufferLength {
                    index: self.buffers,
                    found: data,
                    expected: expected.unwrap_or(0),
                });
            }
            self.buffers += 1;
        }
        let stays = !is_stray && matches!(self.stage, Stage::Buffers | Stage::Raw(_));
        if !stays {
            Sealed::hold(data)?;
            self.rooms.claim_frame(data, data, 0);
        }
        self.sealed = Some(Sealed::new(stays, len));
        Ok(())
    }

    /// Takes what has come of it: a frame that has a place goes there, and anything else is gathered. At its end it is opened. True if
    /// that is done.
    pub(super) fn take_sealed(
        &mut self,
        inbound: &mut Inbound,
        allocator: &mut dyn BufferAllocator,
    ) -> Result<bool, Stop> {
        let Some(mut sealed) = self.sealed.take() else {
            return Ok(true);
        };
        if sealed.stays {
            match self.land_sealed(&mut sealed, inbound, allocator) {
                Err(refused) if refused.is_permanent() => {
                    // To pass by it is opened, and so held.
                    if sealed.has_data(inbound) {
                        return Err(
                            Fault::Violation("there is no room for all of a sealed frame").into(),
                        );
                    }
                    Sealed::hold(inbound.body_left())?;
                    self.skip(DecodeError::Alloc(refused));
                    sealed.stays = false;
                }
                Err(refused) => {
                    self.sealed = Some(sealed);
                    return Err(refused.into());
                }
                Ok(()) => {}
            }
        }
        if !sealed.stays {
            let gathered = self.gather_sealed(&mut sealed, inbound);
            if let Err(refused) = gathered {
                self.sealed = Some(sealed);
                return Err(refused.into());
            }
        }
        if inbound.body_left() > 0 {
            self.sealed = Some(sealed);
            return Ok(false);
        }
        if sealed.stays {
            self.open_landed(&sealed, inbound)?;
        } else {
            self.open_gathered(&sealed, inbound)?;
        }
        Ok(true)
    }

    fn land_sealed(
        &mut self,
        sealed: &mut Sealed,
        inbound: &mut Inbound,
        allocator: &mut dyn BufferAllocator,
    ) -> Result<(), AllocError> {
        loop {
            let most = self.rooms.covered()?;
            self.find_room(allocator)?;
            let count = sealed.land(inbound, self.spare(most)?);
            self.transfer.copied += count as u64;
            self.landed(count);
            if count == 0 || inbound.body_left() == 0 {
                return Ok(());
            }
        }
    }

    /// Takes what has come of a frame of which nobody knows what it is, as far as there is room for it.
    fn gather_sealed(
        &mut self,
        sealed: &mut Sealed,
        inbound: &mut Inbound,
    ) -> Result<(), AllocError> {
        loop {
            let most = self.rooms.covered()?;
            let count = sealed.gather(inbound, &mut self.gathered, most);
            self.rooms.came(count);
            if count == 0 || inbound.body_left() == 0 {
                return Ok(());
            }
        }
    }

    fn open_landed(&mut self, sealed: &Sealed, inbound: &mut Inbound) -> Result<(), Fault> {
        let body = match &mut self.stage {
            Stage::Raw(frames) => frames.sealed_mut(),
            _ => self.landing.last_mut(),
        };
        self.more = sealed.open(inbound, body.unwrap_or_default())?.more;
        if let Stage::Buffers = self.stage
            && let Err(fault) = self.count(self.buffers, self.more)
        {
            self.skip(fault);
        }
        Ok(())
    }

    fn open_gathered(&mut self, sealed: &Sealed, inbound: &mut Inbound) -> Result<(), Fault> {
        self.more = sealed.open(inbound, &mut self.gathered)?.more;
        // It is counted as what it is now.
        self.rooms.leave();
        self.gathered.drain(..self.gathered.len().min(1));
        if let Stage::Skip(_) = self.stage {
            self.gathered = Vec::new();
        } else if let Err(fault) = self.look(0) {
            self.refuse(fault, 0);
        }
        Ok(())
    }

    /// Takes what has come of a frame that nobody wants. At its end it says whether more of the message follow.
    pub(in crate::zmq) fn pass_sealed(
        &mut self,
        inbound: &mut Inbound,
    ) -> Result<Option<bool>, Fault> {
        let Some(mut sealed) = self.sealed.take() else {
            return Ok(Some(false));
        };
        let none = |_| Fault::Violation("there is no room to open what nobody asked for");
        self.gather_sealed(&mut sealed, inbound).map_err(none)?;
        if inbound.body_left() > 0 {
            self.sealed = Some(sealed);
            return Ok(None);
        }
        let head = sealed.open(inbound, &mut self.gathered)?;
        self.gathered = Vec::new();
        self.rooms.leave();
        Ok(Some(head.more))
    }

    /// True if more frames of the message at hand follow the one that was taken.
    pub(in crate::zmq) fn has_more(&self) -> bool {
        self.more
    }
}
