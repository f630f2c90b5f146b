//! The buffers that an encoder writes.

use crate::model::{Body, Buffer, Message};

/// The buffers of the message, or of the encoder alone.
pub(super) enum Held<'m> {
    /// The only one, as most messages have it.
    One(&'m Buffer<'m>),
    OneOwned(Buffer<'m>),
    Borrowed(Vec<&'m Buffer<'m>>),
    Owned(Vec<Buffer<'m>>),
}

impl<'m> Held<'m> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::One(_) | Self::OneOwned(_) => 1,
            Self::Borrowed(buffers) => buffers.len(),
            Self::Owned(buffers) => buffers.len(),
        }
    }

    /// Buffer `index`, which there is.
    pub(super) fn at(&self, index: usize) -> &Buffer<'m> {
        match self {
            Self::One(buffer) => buffer,
            Self::OneOwned(buffer) => buffer,
            Self::Borrowed(buffers) => buffers[index],
            Self::Owned(buffers) => &buffers[index],
        }
    }

    pub(super) fn of(message: &'m Message<'m>) -> Self {
        match &message.body {
            Body::Bytes(bytes) => Self::One(bytes),
            Body::Array(array) => Self::One(array.data()),
            Body::Frame(frame) => Self::Borrowed(frame.buffer_list()),
        }
    }

    /// Bytes of each buffer.
    pub(super) fn lens(&self) -> impl Iterator<Item = usize> {
        let (one, borrowed, owned): (Option<&Buffer<'m>>, &[&Buffer<'m>], &[Buffer<'m>]) =
            match self {
                Self::One(buffer) => (Some(buffer), &[], &[]),
                Self::OneOwned(buffer) => (Some(buffer), &[], &[]),
                Self::Borrowed(buffers) => (None, buffers, &[]),
                Self::Owned(buffers) => (None, &[], buffers),
            };
        let many = borrowed.iter().copied().chain(owned);
        one.into_iter().chain(many).map(|buffer| buffer.len())
    }

    /// The buffers that `own` makes of these, of which it gets the places.
    pub(super) fn into_owned(
        self,
        mut own: impl FnMut(usize, Buffer<'m>) -> Buffer<'static>,
    ) -> Held<'static> {
        match self {
            Self::One(buffer) => Held::OneOwned(own(0, buffer.clone())),
            Self::OneOwned(buffer) => Held::OneOwned(own(0, buffer)),
            Self::Borrowed(buffers) => {
                let buffers = buffers.into_iter().cloned().enumerate();
                Held::Owned(buffers.map(|(index, buffer)| own(index, buffer)).collect())
            }
            Self::Owned(buffers) => {
                let buffers = buffers.into_iter().enumerate();
                Held::Owned(buffers.map(|(index, buffer)| own(index, buffer)).collect())
            }
        }
    }
}
