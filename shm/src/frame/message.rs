//! Messages that become shared dataframes. Nothing is copied.

use std::collections::HashMap;
use std::sync::Arc;

use numpush_message::{Buffer, Message};
use numpush_shm_core::{MemoryRange, Owned};

use crate::arena::{Allocation, Arena, Reservation};
use crate::error::{ConvertError, Error};
use crate::frame::description::FrameDescription;
use crate::object::{LockSet, Object, check_alignment, make_locks};

/// Shares the dataframe of a message that was received into an arena. Returns the message if that fails.
pub(super) fn from_message(
    message: Message<'static>,
) -> Result<Object<FrameDescription>, ConvertError<Message<'static>>> {
    // Whoever else has the allocation is found by its users.
    let message = message.unpacked();
    match Landed::find(&message) {
        Ok(landed) => {
            drop(message);
            Ok(landed.share())
        }
        Err(error) => Err(ConvertError::new(message, error)),
    }
}

/// A shared run of bytes, and where it goes back to.
type Run = (MemoryRange<Owned>, Arc<Reservation>);

/// A frame that can be shared once its message is dropped: everything that may fail has been done.
struct Landed {
    description: FrameDescription,
    locks: LockSet,
    /// Address and length of each buffer that is not empty. They do not overlap.
    pieces: Vec<(usize, usize)>,
    /// One buffer of each allocation, to take the allocation out of.
    allocations: Vec<Buffer<'static>>,
    /// A lock guards bytes, if only none: those of a frame without any.
    nothing: Option<Run>,
}

impl Landed {
    fn find(message: &Message<'static>) -> Result<Self, Error> {
        let frame = message.as_frame().ok_or(Error::Body {
            wanted: "dataframe",
        })?;
        let mut pieces = Vec::new();
        let mut starts = Vec::new();
        let mut lost = false;
        let description = FrameDescription::new(frame, |buffer| {
            pieces.push((buffer.as_ptr().addr(), buffer.len()));
            starts.push(buffer.owner_range().unwrap_or_default().start);
            lost |= buffer.owner::<Allocation>().is_none();
            pieces.len() - 1
        });
        if lost {
            return Err(Error::NotShared);
        }
        // An allocation is aligned for all elements.
        description.check_alignment(|span, alignment| check_alignment(starts[span], alignment))?;
        // By its address: a buffer in each allocation, and how many buffers of the message have it.
        let mut allocations: HashMap<usize, (Buffer<'static>, usize)> = HashMap::new();
        for buffer in message.buffers() {
            if let Some(allocation) = buffer.owner::<Allocation>() {
                let address = std::ptr::from_ref(allocation).addr();
                let one = || (buffer.clone(), 0);
                allocations.entry(address).or_insert_with(one).1 += 1;
            }
        }
        for (buffer, users) in allocations.values() {
            Allocation::check(buffer, users + 1)?;
        }
        if overlap(pieces.clone()) {
            return Err(Error::InUse {
                what: "two columns share a buffer",
            });
        }
        let nothing = if pieces.is_empty() {
            let Allocation { claimed, home } = Arena::shared().reserve(0)?;
            Some((claimed, home))
        } else {
            None
        };
        Ok(Self {
            description,
            locks: make_locks(1)?,
            pieces,
            allocations: allocations.into_values().map(|(one, _)| one).collect(),
            nothing,
        })
    }

    /// The shared frame. The message is dropped: each allocation has one buffer.
    fn share(self) -> Object<FrameDescription> {
        let mut runs: Vec<Option<Run>> = self.pieces.iter().map(|_| None).collect();
        for buffer in self.allocations {
            #[expect(clippy::expect_used, reason = "`find` has counted its users")]
            let allocation = Allocation::of(buffer).expect("an allocation of its own");
            cut(allocation, &self.pieces, &mut runs);
        }
        // Each piece lies in the allocation that owns its buffer.
        let runs = runs.into_iter().flatten().chain(self.nothing);
        let (claims, homes) = runs.unzip();
        Object::new(self.description, claims, self.locks, homes)
    }
}

fn overlap(mut pieces: Vec<(usize, usize)>) -> bool {
    pieces.sort_unstable();
    pieces.windows(2).any(|pair| match pair {
        [(address, len), (next, _)] => address + len > *next,
        _ => false,
    })
}

/// Cuts those of `pieces` (address and length) out of `allocation` that lie in it.
fn cut(allocation: Allocation, pieces: &[(usize, usize)], runs: &mut [Option<Run>]) {
    let Allocation { claimed, home } = allocation;
    let start = claimed.as_ref().as_ptr().addr();
    let end = start + claimed.range().len();
    let mut inside: Vec<(usize, usize, usize)> = pieces
        .iter()
        .enumerate()
        .filter(|(_, (address, _))| (start..end).contains(address))
        .map(|(number, &(address, len))| (address - start, len, number))
        .collect();
    inside.sort_unstable();
    let (mut rest, mut at) = (claimed, 0);
    for (offset, len, number) in inside {
        let (_, from) = rest.split(offset - at);
        let (piece, after) = from.split(len);
        runs[number] = Some((piece, Arc::clone(&home)));
        (rest, at) = (after, offset + len);
    }
}
