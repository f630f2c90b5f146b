use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::Error;

/// The name of a shared value: what another process needs to open it.
///
/// It is text, `shm:OWNER/NUMBER`, where OWNER is the abstract unix socket (unix(7)) of the process that made the
/// value. It names no file, and it keeps nothing alive: when the value or its owner is gone, it is
/// [stale](Error::Stale).
///
/// ```
/// use ndarray::array;
/// use numpush_shm::{Arena, Error, Handle, SharedArray, SharedValue};
///
/// let shared = SharedArray::copy_of(&Arena::shared(), &array![1, 2, 3_i64])?;
/// let text = shared.handle()?.to_string(); // For example on the command line of another program.
/// let handle: Handle = text.parse()?;
/// assert!(matches!(SharedValue::open(&handle)?, SharedValue::Array(_)));
/// drop(shared);
/// assert!(matches!(SharedValue::open(&handle), Err(Error::Stale { .. })));
/// # Ok::<(), Error>(())
/// ```
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
