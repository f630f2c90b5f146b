//! Bytes as text: four bytes are five characters that stand safely in files, command lines and source code ([32/Z85]).
//!
//! [32/Z85]: https://rfc.zeromq.org/spec/32/

/// Why a text is not Z85.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Z85Error {
    /// The number of characters is not a multiple of five.
    #[error("a text of {0} characters is not Z85: it needs a multiple of 5")]
    Length(usize),
    /// A character has no meaning.
    #[error("character {at} of the text, {byte:#04x}, is none of Z85")]
    Character {
        /// Which one, from 0.
        at: usize,
        /// It, or its first byte.
        byte: u8,
    },
    /// Five characters stand for more than four bytes can hold.
    #[error("the five characters from character {at} on stand for more than four bytes")]
    Group {
        /// The first of them, from 0.
        at: usize,
    },
}

const CHARACTERS: &[u8; 85] =
    b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";

/// The text of `bytes`; `None` if their number is not a multiple of four.
///
/// ```
/// use numpush_zmtp::{z85_decode, z85_encode};
///
/// let bytes = [0x86, 0x4f, 0xd2, 0x6f, 0xb5, 0x59, 0xf7, 0x5b];
/// assert_eq!(z85_encode(&bytes).as_deref(), Some("HelloWorld"));
/// assert_eq!(z85_decode("HelloWorld")?, bytes);
/// # Ok::<(), numpush_zmtp::Z85Error>(())
/// ```
pub fn z85_encode(bytes: &[u8]) -> Option<String> {
    let (groups, []) = bytes.as_chunks::<4>() else {
        return None;
    };
    let mut text = String::with_capacity(groups.len() * 5);
    for group in groups {
        let value = u32::from_be_bytes(*group);
        for power in [85_u32.pow(4), 85_u32.pow(3), 85_u32.pow(2), 85, 1] {
            text.push(character(value / power % 85));
        }
    }
    Some(text)
}

/// The bytes whose text is `text`.
///
/// # Errors
/// For a text of another length than a multiple of five, a character that Z85 does not have, and five characters of 2^32 or more.
pub fn z85_decode(text: &str) -> Result<Vec<u8>, Z85Error> {
    let (groups, []) = text.as_bytes().as_chunks::<5>() else {
        return Err(Z85Error::Length(text.len()));
    };
    let mut bytes = Vec::with_capacity(groups.len() * 4);
    for (index, group) in groups.iter().enumerate() {
        let first = index * 5;
        let mut value = 0_u64;
        for (at, byte) in (first..).zip(*group) {
            value = value * 85 + digit(byte).ok_or(Z85Error::Character { at, byte })?;
        }
        let value = u32::try_from(value).map_err(|_| Z85Error::Group { at: first })?;
        bytes.extend(value.to_be_bytes());
    }
    Ok(bytes)
}

// Both look through the whole table: the time that they take must not tell a secret key.

fn character(digit: u32) -> char {
    let table = (0_u32..).zip(CHARACTERS);
    let found = table.fold(0, |found, (index, byte)| {
        found | (byte * u8::from(index == digit))
    });
    char::from(found)
}

fn digit(character: u8) -> Option<u64> {
    let table = (1_u64..).zip(CHARACTERS);
    table
        .fold(0, |found, (number, byte)| {
            found | (number * u64::from(*byte == character))
        })
        .checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_the_specification_pass() {
        let hello = [0x86, 0x4f, 0xd2, 0x6f, 0xb5, 0x59, 0xf7, 0x5b];
        // A key of the manual page zmq_curve(7).
        let key = [
            0x8e, 0x0b, 0xdd, 0x69, 0x76, 0x28, 0xb9, 0x1d, 0x8f, 0x24, 0x55, 0x87, 0xee, 0x95,
            0xc5, 0xb0, 0x4d, 0x48, 0x96, 0x3f, 0x79, 0x25, 0x98, 0x77, 0xb4, 0x9c, 0xd9, 0x06,
            0x3a, 0xea, 0xd3, 0xb7,
        ];
        for (bytes, text) in [
            (&hello[..], "HelloWorld"),
            (&key, "JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6"),
            (&[], ""),
            (&[0; 4], "00000"),
            (&[255; 4], "%nSc0"),
        ] {
            assert_eq!(z85_encode(bytes).as_deref(), Some(text));
            assert_eq!(z85_decode(text).as_deref(), Ok(bytes));
        }
    }

    #[test]
    fn every_character_comes_back() {
        for (index, byte) in CHARACTERS.iter().enumerate() {
            assert_eq!(digit(*byte), Some(index as u64));
            assert_eq!(character(u32::try_from(index).unwrap()), char::from(*byte));
        }
        let known = (0..=255).filter(|byte| digit(*byte).is_some()).count();
        assert_eq!(known, 85);
    }

    #[test]
    fn what_is_not_z85_is_named_with_its_place() {
        assert_eq!(z85_encode(&[1, 2, 3]), None);
        assert_eq!(z85_decode("Hello1"), Err(Z85Error::Length(6)));
        assert_eq!(
            z85_decode("HelloW\"rld"),
            Err(Z85Error::Character { at: 6, byte: b'"' })
        );
        assert_eq!(z85_decode("aä123"), Err(Z85Error::Length("aä123".len())));
        // One more than 2^32 - 1, and the most that five characters say.
        for group in ["%nSc1", "#####"] {
            assert_eq!(
                z85_decode(&format!("Hello{group}")),
                Err(Z85Error::Group { at: 5 })
            );
        }
    }
}
