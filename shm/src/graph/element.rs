//! What the arrays of a graph have as elements.

use std::fmt;

use bytemuck::{Pod, cast_slice};
use numpush_message::{Element, Scalar};

use crate::elements::{elements, elements_mut};

/// A number of a node or of an edge in a [`SharedGraph`](crate::SharedGraph): `u32` or `u64`.
pub trait GraphIndex: Element + Pod + Ord + fmt::Debug + fmt::Display + sealed::Sealed {
    /// The number; one that is too large for an address space is of no node.
    fn to_usize(self) -> usize;

    /// The number as an index, if there is room for it.
    fn from_usize(number: usize) -> Option<Self>;
}

/// The weight of an edge in a [`SharedGraph`](crate::SharedGraph): `f64`, `f32`, or `()` for edges without weights.
pub trait GraphWeight: Copy + PartialEq + fmt::Debug + Send + Sync + sealed::Sealed {
    /// Its element type; `None` for no weights.
    const SCALAR: Option<Scalar>;

    /// Bytes of a weight.
    const SIZE: usize = size_of::<Self>();

    /// The weights that `bytes` are, of so many edges.
    #[doc(hidden)]
    fn of_bytes(bytes: &[u8], edges: usize) -> &[Self];

    /// As `of_bytes`, to write.
    #[doc(hidden)]
    fn of_bytes_mut(bytes: &mut [u8], edges: usize) -> &mut [Self];

    /// The bytes of weights.
    #[doc(hidden)]
    fn bytes_of(weights: &[Self]) -> &[u8];
}

mod sealed {
    #[expect(unnameable_types, reason = "nobody else implements the traits")]
    pub trait Sealed {}
    impl Sealed for u32 {}
    impl Sealed for u64 {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
    impl Sealed for () {}
}

macro_rules! index {
    ($($type:ty),*) => {
        $(impl GraphIndex for $type {
            #[inline]
            fn to_usize(self) -> usize {
                usize::try_from(self).unwrap_or(usize::MAX)
            }

            #[inline]
            fn from_usize(number: usize) -> Option<Self> {
                number.try_into().ok()
            }
        })*
    };
}

index!(u32, u64);

macro_rules! weight {
    ($($type:ty),*) => {
        $(impl GraphWeight for $type {
            const SCALAR: Option<Scalar> = Some(<$type as Element>::SCALAR);

            fn of_bytes(bytes: &[u8], _edges: usize) -> &[Self] {
                elements(bytes)
            }

            fn of_bytes_mut(bytes: &mut [u8], _edges: usize) -> &mut [Self] {
                elements_mut(bytes)
            }

            fn bytes_of(weights: &[Self]) -> &[u8] {
                cast_slice(weights)
            }
        })*
    };
}

weight!(f32, f64);

impl GraphWeight for () {
    const SCALAR: Option<Scalar> = None;

    fn of_bytes(_bytes: &[u8], edges: usize) -> &[Self] {
        Self::of_bytes_mut(&mut [], edges)
    }

    fn of_bytes_mut(_bytes: &mut [u8], edges: usize) -> &mut [Self] {
        // However many, they take no memory.
        vec![(); edges].leak()
    }

    fn bytes_of(_weights: &[Self]) -> &[u8] {
        &[]
    }
}
