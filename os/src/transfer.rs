use std::io;
use std::os::fd::AsFd;

use nix::fcntl::SpliceFFlags;

use crate::broken_pipe::without_sigpipe;
use crate::failpoint::point;

/// Sends up to `count` bytes of `file`, from `offset` on, to a socket inside the kernel; sendfile(2).
///
/// Returns the number of bytes sent, which may be smaller: sendfile stops at 0x7fff_f000 bytes whatever `count` is, and when
/// the socket's buffer is full. Zero means that the file ends at `offset`.
///
/// # Errors
/// What sendfile(2) reports; [`io::ErrorKind::WouldBlock`] if the socket does not block, or its send timeout passed. The call
/// never raises SIGPIPE.
pub fn send_file(
    socket: impl AsFd,
    file: impl AsFd,
    offset: u64,
    count: usize,
) -> io::Result<usize> {
    let mut offset =
        i64::try_from(offset).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    loop {
        let mut send = || nix::sys::sendfile::sendfile(&socket, &file, Some(&mut offset), count);
        let sent = point("sendfile").and_then(|()| without_sigpipe(&mut send));
        match sent {
            Err(nix::errno::Errno::EINTR) => {}
            result => return Ok(result?),
        }
    }
}

/// Moves up to `count` bytes between two descriptors, one of which is a pipe, from `offset` of `from` if it is a file;
/// splice(2).
///
/// # Errors
/// What splice(2) reports.
pub fn splice(
    from: impl AsFd,
    offset: Option<u64>,
    to: impl AsFd,
    count: usize,
) -> io::Result<usize> {
    let mut offset = offset.map(u64::cast_signed);
    loop {
        let offset = offset.as_mut();
        let moved = point("splice").and_then(|()| {
            nix::fcntl::splice(&from, offset, &to, None, count, SpliceFFlags::SPLICE_F_MOVE)
        });
        match moved {
            Err(nix::errno::Errno::EINTR) => {}
            result => return Ok(result?),
        }
    }
}
