//! Lists that are short in most messages.

use std::fmt;
use std::ops::{Deref, DerefMut};

/// As many items lie in place.
const PLACES: usize = 4;

/// Items of a list. Up to four of them need no allocation.
#[derive(Clone)]
pub(crate) enum Few<T> {
    /// The first `len` of these.
    Here { len: usize, items: [T; PLACES] },
    /// More.
    Heap(Vec<T>),
}

impl<T: Copy + Default> Few<T> {
    /// An empty list that will have `len` items.
    pub(crate) fn with_capacity(len: usize) -> Self {
        if len > PLACES {
            return Self::Heap(Vec::with_capacity(len));
        }
        Self::Here {
            len: 0,
            items: [T::default(); PLACES],
        }
    }

    pub(crate) fn push(&mut self, item: T) {
        match self {
            Self::Here { len, items } => {
                if let Some(place) = items.get_mut(*len) {
                    *place = item;
                    *len += 1;
                    return;
                }
                let mut heap = Vec::with_capacity(2 * PLACES);
                heap.extend_from_slice(items);
                heap.push(item);
                *self = Self::Heap(heap);
            }
            Self::Heap(heap) => heap.push(item),
        }
    }
}

impl<T: Copy + Default> From<&[T]> for Few<T> {
    fn from(items: &[T]) -> Self {
        items.iter().copied().collect()
    }
}

impl<T: Copy + Default> FromIterator<T> for Few<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let items = items.into_iter();
        let mut list = Self::with_capacity(items.size_hint().0);
        items.for_each(|item| list.push(item));
        list
    }
}

impl<T> Deref for Few<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::Here { len, items } => items.get(..*len).unwrap_or(items),
            Self::Heap(heap) => heap,
        }
    }
}

impl<T> DerefMut for Few<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match self {
            Self::Here { len, items } => &mut items[..*len],
            Self::Heap(heap) => heap,
        }
    }
}

impl<T: PartialEq> PartialEq for Few<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: fmt::Debug> fmt::Debug for Few<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_what_was_pushed() {
        for len in 0..=12_usize {
            let all: Vec<usize> = (0..len).collect();
            for capacity in [0, 3, 5, 20] {
                let mut list = Few::with_capacity(capacity);
                all.iter().for_each(|&item| list.push(item));
                assert_eq!(*list, *all);
                assert_eq!(list, Few::from(&all[..]));
                assert_eq!(format!("{list:?}"), format!("{all:?}"));
            }
        }
    }
}
