use std::fmt;
use std::ops::Not;

use bytemuck::{Pod, Zeroable};
use numpush_message::{Element, Scalar};

/// A boolean of eight bits, as an element of arrays that other processes write.
///
/// Zero is false, and every other byte is true, as in NumPy and C. A `bool` of Rust is one of two bytes and nothing else,
/// and no lock keeps another process from writing a third. As an element type it is the same as `bool`: `|b1`.
///
/// ```
/// use ndarray::{Ix1, array};
/// use numpush_shm::{Arena, Bool8, SharedArray};
///
/// let mask = SharedArray::<Bool8, Ix1>::zeros(&Arena::shared(), 4)?;
/// mask.write()?[2] = true.into();
/// assert_eq!(mask.read()?.map(|bit| bit.get()), array![false, false, true, false]);
/// assert_eq!(mask.into_dyn().dtype().to_string(), "|b1");
/// # Ok::<(), numpush_shm::Error>(())
/// ```
#[derive(Clone, Copy, Default, Pod, Zeroable)]
#[repr(transparent)]
pub struct Bool8(u8);

impl Bool8 {
    /// The element as a `bool`.
    #[inline]
    pub fn get(self) -> bool {
        self.0 != 0
    }
}

impl Element for Bool8 {
    const SCALAR: Scalar = bool::SCALAR;
}

impl From<bool> for Bool8 {
    #[inline]
    fn from(value: bool) -> Self {
        Self(value.into())
    }
}

impl From<Bool8> for bool {
    #[inline]
    fn from(value: Bool8) -> Self {
        value.get()
    }
}

impl PartialEq for Bool8 {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl Eq for Bool8 {}

impl PartialEq<bool> for Bool8 {
    #[inline]
    fn eq(&self, other: &bool) -> bool {
        self.get() == *other
    }
}

impl Not for Bool8 {
    type Output = Self;

    #[inline]
    fn not(self) -> Self {
        (!self.get()).into()
    }
}

impl fmt::Debug for Bool8 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Ix1, array};

    use super::*;
    use crate::{Arena, SharedArray, SharedDynArray};

    #[test]
    fn a_byte_of_another_process_is_a_boolean() {
        let arena = Arena::new(1 << 20);
        let mask = SharedArray::<Bool8, Ix1>::zeros(&arena, 3).unwrap();
        // As a peer writes them: it knows the same bytes by another type.
        let bytes = SharedDynArray::open(&mask.handle().unwrap()).unwrap();
        let mut held = bytes.write().unwrap();
        held.assign(&array![0, 1, 2]);
        drop(held);
        let held = mask.read().unwrap();
        assert_eq!(
            *held,
            array![false, true, true].map(|&bit| Bool8::from(bit))
        );
        assert_eq!((held[2], !held[2]), (true.into(), false.into()));
        assert!(held[2] == true && bool::from(held[2]));
    }

    #[test]
    fn an_array_of_booleans_opens_as_nothing_else() {
        let mask = SharedArray::<Bool8, Ix1>::zeros(&Arena::new(1 << 20), 3).unwrap();
        assert!(SharedArray::<u8, Ix1>::open(&mask.handle().unwrap()).is_err());
    }
}
