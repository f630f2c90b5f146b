use std::io;

/// The release of the kernel, such as `6.18.2-amd64`; [uname(2)](https://man7.org/linux/man-pages/man2/uname.2.html).
///
/// # Errors
/// What uname(2) reports.
pub fn kernel_release() -> io::Result<String> {
    let name = nix::sys::utsname::uname()?;
    Ok(name.release().to_string_lossy().into_owned())
}

/// The version of the GNU C library that the program runs with, such as `2.36`; `None` with another C library.
pub fn gnu_c_library() -> Option<String> {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: it takes nothing, and returns a pointer into the library.
        let version = unsafe { libc::gnu_get_libc_version() };
        // SAFETY: the text ends with a zero byte, and lives as long as the program.
        let version = unsafe { std::ffi::CStr::from_ptr(version) };
        Some(version.to_string_lossy().into_owned())
    }
    #[cfg(not(target_env = "gnu"))]
    None
}
