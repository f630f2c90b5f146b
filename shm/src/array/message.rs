//! Messages that become shared arrays, and shared arrays that become messages. Neither copies.

use std::sync::Arc;

use bytemuck::Pod;
use ndarray::{ArrayRef, Dimension};
use numpush_message::{Array, Body, Buffer, Element, Message};
use numpush_shm_core::{MemoryRange, Owned};

use crate::arena::{Allocation, Arena, Reservation, freeze};
use crate::array::description::ArrayDescription;
use crate::array::layout::fill;
use crate::error::{ConvertError, Error};
use crate::object::{Describe, LockSet, Object, Released, check_alignment, make_locks};
use crate::snapshot::sealed_copy;

/// Shares the array of a message that was received into an arena, as `describe` understands it and at a multiple of
/// `alignment`. Returns the message if that fails.
pub(super) fn from_message<M: Describe>(
    mut message: Message<'static>,
    alignment: usize,
    describe: impl FnOnce(ArrayDescription) -> Result<M, Error>,
) -> Result<Object<M>, ConvertError<Message<'static>>> {
    let Body::Array(array) = message.body else {
        return Err(ConvertError::new(message, Error::Body { wanted: "array" }));
    };
    match prepare(&array, alignment, describe) {
        Ok((description, locks, nothing)) => {
            let (claim, home) = nothing.unwrap_or_else(|| take(array.into_data()));
            Ok(Object::new(description, vec![claim], locks, vec![home]))
        }
        Err(error) => {
            message.body = Body::Array(array);
            Err(ConvertError::new(message, error))
        }
    }
}

/// A shared run of bytes, and where it goes back to.
type Run = (MemoryRange<Owned>, Arc<Reservation>);

/// Everything that may fail: the description, the lock, and the bytes of an array that has none.
fn prepare<M>(
    array: &Array<'static>,
    alignment: usize,
    describe: impl FnOnce(ArrayDescription) -> Result<M, Error>,
) -> Result<(M, LockSet, Option<Run>), Error> {
    let sent = ArrayDescription::new(array.dtype(), array.shape(), array.strides());
    let description = describe(sent)?;
    let nothing = if array.data().is_empty() {
        // No bytes lie nowhere; a lock needs something to guard all the same.
        let Allocation { claimed, home } = Arena::shared().reserve(0)?;
        Some((claimed, home))
    } else {
        Allocation::check(array.data(), 1)?;
        // An allocation is aligned for all elements.
        let range = array.data().owner_range().unwrap_or_default();
        check_alignment(range.start, alignment)?;
        None
    };
    Ok((description, make_locks(1)?, nothing))
}

/// The bytes of `data`, out of the allocation that only it has.
fn take(data: Buffer<'static>) -> Run {
    let range = data.owner_range().unwrap_or_default();
    #[expect(clippy::expect_used, reason = "`prepare` has checked it")]
    let Allocation { claimed, home } = Allocation::of(data).expect("an allocation of its own");
    let (_, from) = claimed.split(range.start);
    (from.split(range.len()).0, home)
}

/// Copies `view`, in C order, into memory that the kernel protects against every writer.
pub(super) fn snapshot<T: Element + Pod, D: Dimension>(
    view: &ArrayRef<T, D>,
) -> Result<Message<'static>, Error> {
    let bytes = view.len() * size_of::<T>();
    let buffer = sealed_copy(bytes, |to| fill(to, view))?;
    Ok(Array::new(T::SCALAR, view.shape(), buffer)?.into())
}

/// Turns a value into a message that owns its bytes. Returns the value if somebody else has it.
pub(super) fn into_message<M: Describe<Sent = ArrayDescription>>(
    object: Object<M>,
) -> Result<Message<'static>, (Object<M>, Error)> {
    if object.spans().locked().len() > 1 {
        let what = "it has row locks";
        return Err((object, Error::InUse { what }));
    }
    let Released {
        description,
        mut claims,
        reservations,
    } = object.release()?;
    #[expect(
        clippy::expect_used,
        reason = "a value has at least one run of bytes, and this one at most one"
    )]
    let claim = claims.pop().expect("one run of bytes");
    #[expect(
        clippy::expect_used,
        reason = "the description was checked against the bytes when the value was made"
    )]
    let array = description
        .sent()
        .array(freeze(claim, reservations.into_iter().next()))
        .expect("a checked description");
    Ok(Message::from(array))
}
