//! Arguments and results as bytes.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::object::{EnclosedParts, RawObject, values_written, with_values};

/// A value of serde as msgpack, and the shared values whose handles are in it.
#[derive(Clone, Debug, Default)]
pub(super) struct Encoded {
    pub(super) bytes: Vec<u8>,
    /// Kept until the other side has opened them.
    pub(super) values: Vec<Arc<RawObject>>,
    /// The parts of values that are among them.
    pub(super) parts: EnclosedParts,
}

impl Encoded {
    pub(super) fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, String> {
        let (bytes, values, parts) = values_written(|| rmp_serde::to_vec(value));
        let bytes = bytes.map_err(|error| error.to_string())?;
        Ok(Self {
            bytes,
            values,
            parts,
        })
    }

    pub(super) fn decode<T: DeserializeOwned>(self) -> Result<T, String> {
        let Self { bytes, values, .. } = self;
        with_values(values, || rmp_serde::from_slice(&bytes)).map_err(|error| error.to_string())
    }
}
