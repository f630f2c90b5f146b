//! `numpush keygen`: a pair of keys for CURVE of ZeroMQ.

use numpush::keys::{KeyFileError, SecretKey, read_secret, write};

use crate::args::Keygen;
use crate::failure::Failure;
use crate::interrupt::Busy;
use crate::output::out;

pub(crate) fn run(keygen: &Keygen) -> Result<(), Failure> {
    let key = if keygen.show {
        read_secret(&keygen.path)?
    } else {
        // A signal does not leave one file of two.
        let _busy = Busy::new();
        let key = SecretKey::generate().map_err(KeyFileError::from)?;
        write(&keygen.path, &key)?;
        key
    };
    out!("{}\n", key.public())
}
