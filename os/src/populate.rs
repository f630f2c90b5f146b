use std::io;

use nix::unistd::{SysconfVar, sysconf};

/// The smallest page of any kernel. One byte in each of them is touched where the kernel cannot populate a mapping.
pub const PAGE: usize = 4096;

/// Bytes of a page of this machine; [sysconf(3)](https://man7.org/linux/man-pages/man3/sysconf.3.html).
pub fn page_size() -> usize {
    let size = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    size.and_then(|size| usize::try_from(size).ok())
        .unwrap_or(PAGE)
}

/// Calls madvise(2) with a wish to populate; true if the kernel did. Kernels before 5.14 do not know the wish.
///
/// # Errors
/// What madvise(2) reports, but for EINVAL. An interrupted call, or one that could not have a page at once, is made again.
pub fn is_supported(mut advise: impl FnMut() -> io::Result<()>) -> io::Result<bool> {
    loop {
        match advise() {
            Ok(()) => return Ok(true),
            Err(error) => match error.raw_os_error() {
                Some(libc::EINVAL) => return Ok(false),
                Some(libc::EINTR | libc::EAGAIN) => {}
                _ => return Err(error),
            },
        }
    }
}
