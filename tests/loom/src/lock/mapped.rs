//! Nothing is unmapped here.

use std::ops::Deref;

#[derive(Debug)]
pub(crate) struct Mapped<T: ?Sized + 'static>(pub(crate) &'static T);

impl<T: ?Sized> Mapped<T> {
    pub(crate) fn address(self) -> usize {
        std::ptr::from_ref(self.0).addr()
    }
}

impl<T> Mapped<[T]> {
    pub(crate) fn item(self, index: usize) -> Mapped<T> {
        Mapped(&self.0[index])
    }
}

impl<T: ?Sized> Deref for Mapped<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0
    }
}

impl<T: ?Sized> Clone for Mapped<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: ?Sized> Copy for Mapped<T> {}
