use std::fmt;
use std::str::FromStr;

use bytemuck::Pod;
use ndarray::Dimension;
use numpush_message::Element;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::array::{DoubleBufferedArray, SharedArray, SharedDynArray};
use crate::error::Error;
use crate::frame::SharedFrame;
use crate::graph::SharedGraph;
use crate::mutex::SharedMutex;

/// The name of a shared value: what another process needs to open it.
///
/// It is text, `shm:OWNER/NUMBER`, where OWNER is the abstract unix socket (unix(7)) of the process that made the
/// value. It names no file, and it keeps nothing alive: opened when the value or its owner is gone, it is
/// [stale](Error::Stale).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Handle {
    pub(crate) owner: String,
    pub(crate) number: u64,
}

/// Longest name of a unix socket, in the abstract namespace without its leading zero.
const MAX_OWNER: usize = 107;

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shm:{}/{}", self.owner, self.number)
    }
}

impl FromStr for Handle {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let parse = || {
            let (owner, number) = text.strip_prefix("shm:")?.rsplit_once('/')?;
            let plain = owner
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
            let fits = !owner.is_empty() && owner.len() <= MAX_OWNER && plain;
            fits.then_some(Self {
                owner: owner.to_owned(),
                number: number.parse().ok()?,
            })
        };
        parse().ok_or_else(|| Error::Handle {
            text: text.chars().take(200).collect(),
        })
    }
}

impl Serialize for Handle {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Handle {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

/// Lets values be sent as their handle, and opened where they arrive.
macro_rules! sent_as_handle {
    ($type:ty $(, $($generics:tt)+)?) => {
        impl $(<$($generics)+>)? Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.handle().map_err(serde::ser::Error::custom)?.serialize(serializer)
            }
        }

        impl<'de $(, $($generics)+)?> Deserialize<'de> for $type {
            fn deserialize<S: Deserializer<'de>>(deserializer: S) -> Result<Self, S::Error> {
                let handle = Handle::deserialize(deserializer)?;
                Self::open(&handle).map_err(S::Error::custom)
            }
        }
    };
}

sent_as_handle!(SharedArray<T, D>, T: Element + Pod, D: Dimension);
sent_as_handle!(DoubleBufferedArray<T, D>, T: Element + Pod, D: Dimension);
sent_as_handle!(SharedDynArray);
sent_as_handle!(SharedFrame);
sent_as_handle!(SharedGraph);
sent_as_handle!(SharedMutex);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_survive_as_text() {
        let handle = Handle {
            owner: "numpush-shm.12.ab".into(),
            number: 7,
        };
        assert_eq!(handle.to_string(), "shm:numpush-shm.12.ab/7");
        assert_eq!(handle.to_string().parse::<Handle>().unwrap(), handle);
    }

    #[test]
    fn other_text_is_refused() {
        for text in [
            "",
            "shm:",
            "shm:/7",
            "shm:a/",
            "shm:a/x",
            "shm:a b/1",
            "tcp://a/1",
            "shm:a\0/1",
            "shm:a/-1",
        ] {
            assert!(
                matches!(text.parse::<Handle>(), Err(Error::Handle { .. })),
                "{text:?}"
            );
        }
        assert!(
            format!("shm:{}/1", "a".repeat(108))
                .parse::<Handle>()
                .is_err()
        );
    }
}
