//! Keys of CURVE.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::cipher::{KEY, public_of};
use crate::z85::{Z85Error, z85_decode, z85_encode};

/// Why a text is not a key.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It is not Z85.
    #[error(transparent)]
    Z85(#[from] Z85Error),
    /// It has another length.
    #[error("a key has 40 characters, and this text {0}")]
    Length(usize),
}

/// What a peer is known by, and what may be told to everybody. Its text is 40 characters of Z85.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; KEY]);

impl PublicKey {
    /// The key that is `bytes`.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Ok(Self(*read(text)?))
    }
}

/// What proves that a peer is who it says. Wiped when its last clone is dropped; what lay on the stack while it was made or used is
/// not.
///
/// ```
/// use numpush_zmtp::SecretKey;
///
/// let ours = SecretKey::generate()?;
/// println!("our public key is {}", ours.public());
/// // Its text is read back. Whoever has it can pretend to be us.
/// let again: SecretKey = ours.to_z85().parse()?;
/// assert_eq!(again.public(), ours.public());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct SecretKey {
    /// In one place: what is moved stays behind where it was, and is not wiped there.
    bytes: Arc<Zeroizing<[u8; KEY]>>,
    public: PublicKey,
}

impl SecretKey {
    /// The key that is `bytes`.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self {
            public: PublicKey(public_of(&bytes)),
            bytes: Arc::new(Zeroizing::new(bytes)),
        }
    }

    /// A new key, of random bytes of the kernel.
    ///
    /// # Errors
    /// If the kernel has none.
    pub fn generate() -> Result<Self, NoRandom> {
        Ok(Self::new(*random()?))
    }

    /// The public key that belongs to it.
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// Its text.
    pub fn to_z85(&self) -> Zeroizing<String> {
        Zeroizing::new(text(&self.bytes))
    }

    pub(crate) fn bytes(&self) -> &[u8; KEY] {
        &self.bytes
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey of {}", self.public)
    }
}

impl FromStr for SecretKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Ok(Self::new(*read(text)?))
    }
}

/// The kernel has no random bytes to give: a sandbox forbids the call. Where its generator is not seeded yet, early in a boot, the call
/// waits.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the kernel gives no random bytes: {0}")]
pub struct NoRandom(#[from] getrandom::Error);

/// The random bytes that the handshake of one connection uses up: its keys, and what is used once with other keys.
///
/// Never make the same for two connections: who sees both can read them.
#[cfg_attr(
    not(feature = "seed"),
    expect(unreachable_pub, reason = "it is public for tests alone")
)]
pub struct Seed(Box<Zeroizing<[u8; 144]>>);

impl Seed {
    /// New ones, from the kernel. A process and its copies made by fork(2) never get the same.
    pub(crate) fn generate() -> Result<Self, NoRandom> {
        Ok(Self(Box::new(random()?)))
    }

    /// These bytes, so that a test runs twice alike.
    #[cfg(any(test, feature = "seed"))]
    #[cfg_attr(
        not(feature = "seed"),
        expect(unreachable_pub, reason = "it is public for tests alone")
    )]
    pub fn of(bytes: [u8; 144]) -> Self {
        Self(Box::new(Zeroizing::new(bytes)))
    }

    /// The secret key of this connection.
    pub(crate) fn key(&self) -> SecretKey {
        SecretKey::new(self.part(0))
    }

    /// A number that is used once.
    pub(crate) fn once(&self) -> [u8; 16] {
        self.part(32)
    }

    /// What a client brings back to show that it has heard us.
    pub(crate) fn cookie(&self) -> [u8; 96] {
        self.part(48)
    }

    fn part<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut bytes = self.0.iter().skip(at).copied();
        std::array::from_fn(|_| bytes.next().unwrap_or(0))
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed")
    }
}

fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, NoRandom> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(&mut *bytes)?;
    Ok(bytes)
}

fn text(key: &[u8; KEY]) -> String {
    // 32 is a multiple of four, so that every key has a text.
    z85_encode(key).unwrap_or_default()
}

fn read(text: &str) -> Result<Zeroizing<[u8; KEY]>, KeyError> {
    let wrong = KeyError::Length(text.chars().count());
    if text.chars().count() != 40 {
        return Err(wrong);
    }
    let bytes = Zeroizing::new(z85_decode(text)?);
    let key = bytes.first_chunk().ok_or(wrong)?;
    Ok(Zeroizing::new(*key))
}

#[cfg(test)]
mod tests {
    use super::*;

    // The keys of the manual page zmq_curve(7).
    const PAIRS: [(&str, &str); 2] = [
        (
            "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs",
            "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID",
        ),
        (
            "JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6",
            "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7",
        ),
    ];

    #[test]
    fn keys_are_those_of_libzmq() {
        for (secret, public) in PAIRS {
            let key: SecretKey = secret.parse().unwrap();
            assert_eq!(key.public().to_string(), public);
            assert_eq!(Ok(key.public()), public.parse());
            assert_eq!(*key.to_z85(), secret);
        }
    }

    #[test]
    fn what_is_no_key_is_named() {
        let read = |text: &str| text.parse::<PublicKey>();
        assert_eq!(read("HelloWorld"), Err(KeyError::Length(10)));
        assert_eq!(read(""), Err(KeyError::Length(0)));
        let wrong = "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]y'7";
        let place = Z85Error::Character {
            at: 38,
            byte: b'\'',
        };
        assert_eq!(read(wrong), Err(KeyError::Z85(place)));
    }

    #[test]
    fn secrets_do_not_show_and_do_not_repeat() {
        let key: SecretKey = PAIRS[0].0.parse().unwrap();
        let shown = format!("{key:?} {:?}", Seed::generate().unwrap());
        assert!(!shown.contains(PAIRS[0].0), "{shown}");
        assert_eq!(shown, format!("SecretKey of {} Seed", PAIRS[0].1));
        let other = SecretKey::generate().unwrap();
        assert_ne!(other.public(), SecretKey::generate().unwrap().public());
    }
}
