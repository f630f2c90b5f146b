use crate::endpoint::{EndpointError, Scheme};

/// Why a call of this crate failed.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The endpoint cannot be understood.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The endpoint's transport was left out when this crate was built.
    #[error("the transport of scheme {scheme} is not in this build")]
    Disabled {
        /// The scheme.
        scheme: Scheme,
    },
    /// A transport failed.
    #[error(transparent)]
    Transport(#[from] numpush_transports::Error),
    /// Bytes that are not a message.
    #[error(transparent)]
    Decode(#[from] numpush_message::DecodeError),
    /// A message that no reader would take.
    #[error(transparent)]
    Encode(#[from] numpush_message::EncodeError),
    /// An element type that is not supported.
    #[error(transparent)]
    Dtype(#[from] numpush_message::DtypeError),
    /// Shape, strides and data that do not make an array.
    #[error(transparent)]
    Array(#[from] numpush_message::ArrayError),
    /// A name that cannot be one.
    #[error(transparent)]
    Name(#[from] numpush_message::NameError),
    /// Values that do not make a column.
    #[error(transparent)]
    Column(#[from] numpush_message::ColumnError),
    /// Columns that do not make a frame.
    #[error(transparent)]
    Frame(#[from] numpush_message::FrameError),
    /// A view that cannot be shipped without a copy.
    #[error(transparent)]
    NotDense(#[from] numpush_message::NotDense),
    /// An array that holds other elements than asked for.
    #[cfg(feature = "ndarray")]
    #[error(transparent)]
    View(#[from] numpush_message::ViewError),
    /// A record batch that is no frame, or the other way round.
    #[cfg(feature = "arrow")]
    #[error(transparent)]
    Arrow(#[from] numpush_message::ArrowError),
    /// A segment could not be made.
    #[cfg(feature = "unix")]
    #[error(transparent)]
    Segment(#[from] numpush_transports::unix::SealedBufferError),
    /// Something shared could not be made, opened or locked.
    #[cfg(feature = "shm")]
    #[error(transparent)]
    Shared(#[from] numpush_shm::Error),
    /// Worker processes were not started.
    #[cfg(feature = "shm")]
    #[error(transparent)]
    Pool(#[from] numpush_shm::PoolError),
    /// A task has no result.
    #[cfg(feature = "shm")]
    #[error(transparent)]
    Task(#[from] numpush_shm::TaskError),
}
