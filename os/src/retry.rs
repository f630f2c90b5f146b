use std::io;

/// Makes a call again for as long as a signal interrupts it.
///
/// # Errors
/// What the call reports otherwise.
pub fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
