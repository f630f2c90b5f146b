use std::io;
use std::ops::Range;

/// Why memory with a name could not be made, opened or used.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum NamedError {
    /// Memory cannot have the name, or no memory has it.
    #[error("{name:?} cannot name shared memory: {why}")]
    Name {
        /// The name.
        name: String,
        /// What is the matter with it.
        why: &'static str,
    },
    /// The kernel refused.
    #[error("{operation}")]
    Io {
        /// What was to be done.
        operation: &'static str,
        /// What the kernel reported.
        source: io::Error,
    },
    /// The memory is too short.
    #[error("bytes {} to {} are not within {len}", .range.start, .range.end)]
    Range {
        /// The bytes that were asked for.
        range: Range<usize>,
        /// Bytes of the memory.
        len: usize,
    },
}

impl NamedError {
    /// What `operation` on the memory called `name` failed with.
    pub(super) fn of(source: io::Error, name: &str, operation: &'static str) -> Self {
        let why = match source.kind() {
            io::ErrorKind::AlreadyExists => "the name is taken",
            io::ErrorKind::NotFound => "no memory has that name",
            io::ErrorKind::InvalidInput => "a name has no slash, and memory has at least one byte",
            _ => return Self::Io { operation, source },
        };
        let name = name.to_owned();
        Self::Name { name, why }
    }
}
