use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

/// Wakes a thread that waits for descriptors.
#[derive(Debug)]
pub(super) struct Waker {
    write: UnixStream,
    read: UnixStream,
}

impl Waker {
    pub(super) fn new() -> io::Result<Self> {
        let (write, read) = UnixStream::pair()?;
        Ok(Self { write, read })
    }

    /// Makes the descriptor ready for reading.
    pub(super) fn wake(&self) {
        // If it is full, it is ready.
        let _ = numpush_os::send(&self.write, &[io::IoSlice::new(&[0])], false);
    }

    /// Makes it ready no more.
    pub(super) fn clear(&self) {
        let _ = numpush_os::receive(&self.read, &mut [0; 64], false);
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.read.as_fd()
    }
}
