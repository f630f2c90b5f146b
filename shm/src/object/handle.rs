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
    pub(super) owner: OwnerName,
    pub(super) number: u64,
}

#[cfg(any(test, fuzzing))]
impl Handle {
    pub(crate) fn number(&self) -> u64 {
        self.number
    }
}

/// The name of an owner's socket: `numpush-shm.PID.NONCE`. No other name is ever connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct OwnerName {
    /// The owner's process number in its own pid namespace.
    pub(super) pid: u32,
    /// Tells two lives of one process number apart. Not a secret.
    pub(super) nonce: u64,
}

/// What the names of owners begin with.
const PREFIX: &str = "numpush-shm.";

impl fmt::Display for OwnerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}.{:016x}", self.pid, self.nonce)
    }
}

impl OwnerName {
    /// The name that `text` is, if an owner could have it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (pid, nonce) = text.strip_prefix(PREFIX)?.split_once('.')?;
        let is_nonce = nonce.len() == 16 && nonce.bytes().all(is_lower_hex);
        Self::of(
            decimal(pid)?.try_into().ok()?,
            u64::from_str_radix(nonce, 16).ok().filter(|_| is_nonce)?,
        )
    }

    fn of(pid: u32, nonce: u64) -> Option<Self> {
        (pid != 0).then_some(Self { pid, nonce })
    }
}

/// The number that `text` is, written the way that we write it: a sign or zeros in front are other text for the same number.
fn decimal(text: &str) -> Option<u64> {
    let is_ours = text.bytes().all(|byte| byte.is_ascii_digit())
        && (text.len() == 1 || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_ours)
}

fn is_lower_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

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
            Some(Self {
                owner: OwnerName::parse(owner)?,
                number: decimal(number)?,
            })
        };
        parse().ok_or_else(|| Error::Handle {
            text: text.chars().take(200).collect(),
        })
    }
}

/// Text in a format that people read, as JSON; three numbers in one that they do not, as msgpack.
impl Serialize for Handle {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.collect_str(self);
        }
        let OwnerName { pid, nonce } = self.owner;
        (pid, nonce, self.number).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Handle {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            return text.parse().map_err(D::Error::custom);
        }
        let (pid, nonce, number) = Deserialize::deserialize(deserializer)?;
        let owner = OwnerName::of(pid, nonce);
        let owner = owner.ok_or_else(|| D::Error::custom("a handle of process 0"))?;
        Ok(Self { owner, number })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_survive_as_text() {
        let handle = Handle {
            owner: OwnerName {
                pid: 12,
                nonce: 0xab,
            },
            number: 7,
        };
        let text = "shm:numpush-shm.12.00000000000000ab/7";
        assert_eq!(handle.to_string(), text);
        assert_eq!(handle.to_string().parse::<Handle>().unwrap(), handle);
    }

    #[test]
    fn handles_survive_as_numbers() {
        let owner = OwnerName {
            pid: 12,
            nonce: u64::MAX,
        };
        let handle = Handle { owner, number: 7 };
        let bytes = rmp_serde::to_vec(&handle).unwrap();
        assert_eq!(bytes.len(), 1 + 1 + 9 + 1);
        assert_eq!(rmp_serde::from_slice::<Handle>(&bytes).unwrap(), handle);
        let nobody = rmp_serde::to_vec(&(0, 1, 2)).unwrap();
        assert!(rmp_serde::from_slice::<Handle>(&nobody).is_err());
        let other = rmp_serde::to_vec("shm:numpush-shm.12.00000000000000ab/7").unwrap();
        assert!(rmp_serde::from_slice::<Handle>(&other).is_err());
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
            "shm:org.freedesktop.systemd1/1",
            "shm:numpush-shm.12.ab/7",
            "shm:numpush-shm.0.00000000000000ab/7",
            "shm:numpush-shm.+12.00000000000000ab/7",
            "shm:numpush-shm.12.00000000000000AB/7",
            "shm:numpush-shm.12.00000000000000ab/+7",
            "shm:numpush-shm.12.00000000000000ab/07",
            "shm:numpush-shm.012.00000000000000ab/7",
            "shm:numpush-shm.12.+0000000000000ab/7",
            "shm:numpush-shm.4294967296.00000000000000ab/7",
            "shm:numpush-shm.12.00000000000000ab/18446744073709551616",
        ] {
            assert!(
                matches!(text.parse::<Handle>(), Err(Error::Handle { .. })),
                "{text:?}"
            );
        }
    }
}
