//! Messages that become shared arrays, and shared arrays that become messages. Neither copies.

use numpush_message::{Body, Message};

use crate::arena::{Allocation, Arena, freeze};
use crate::array::description::ArrayDescription;
use crate::error::Error;
use crate::object::{Describe, Object, Released, make_locks};

/// Shares the array of a message that was received into an arena, as `describe` understands it.
pub(super) fn from_message<M: Describe>(
    message: Message<'static>,
    describe: impl FnOnce(ArrayDescription) -> Result<M, Error>,
) -> Result<Object<M>, Error> {
    let Body::Array(array) = message.body else {
        return Err(Error::Body { wanted: "array" });
    };
    let sent = ArrayDescription::new(array.dtype(), array.shape(), array.strides());
    let description = describe(sent)?;
    let locks = make_locks(1)?;
    let data = array.into_data();
    let (allocation, range) = if data.is_empty() {
        // No bytes lie nowhere; a lock needs something to guard all the same.
        (Arena::shared().reserve(0)?, 0..0)
    } else {
        let range = data.owner_range().unwrap_or_default();
        (Allocation::of(data)?, range)
    };
    let (_, claim) = allocation.claimed.split(range.start);
    let (claim, _) = claim.split(range.len());
    Ok(Object::new(
        description,
        vec![claim],
        locks,
        vec![allocation.home],
    ))
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
