//! Names: of columns, record fields, attributes and metadata keys.

/// Longest name in bytes.
pub const MAX_NAME_LEN: usize = 1024;

/// Why text cannot be a name.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// More bytes than [`MAX_NAME_LEN`].
    #[error("name of {len} bytes is longer than the limit of {max}")]
    TooLong {
        /// Bytes of the name.
        len: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// A NUL byte, where a C string would end.
    #[error("name {name:?} has a NUL byte")]
    Nul {
        /// The name.
        name: String,
    },
}

/// Checks that every reader takes `name`.
pub(crate) fn check_name(name: &str) -> Result<(), NameError> {
    check_name_len(name.len())?;
    if name.as_bytes().contains(&0) {
        return Err(NameError::Nul {
            name: name.to_owned(),
        });
    }
    Ok(())
}

/// Checks that every reader takes a name of `len` bytes.
pub(crate) fn check_name_len(len: usize) -> Result<(), NameError> {
    if len > MAX_NAME_LEN {
        let max = MAX_NAME_LEN;
        return Err(NameError::TooLong { len, max });
    }
    Ok(())
}

/// Checks that every reader takes all of `names`.
pub(crate) fn check_names<'n>(
    names: impl IntoIterator<Item = &'n String>,
) -> Result<(), NameError> {
    names.into_iter().try_for_each(|name| check_name(name))
}
