//! What the two sides tell each other of themselves.

use crate::fault::Fault;

/// A name and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Property<'a> {
    /// Letters, digits and `-_.+`. Upper and lower case are the same.
    pub name: &'a str,
    /// Any bytes.
    pub value: &'a [u8],
}

/// The properties of a handshake, which were checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Properties<'a>(&'a [u8]);

impl<'a> Properties<'a> {
    /// The properties that are `bytes`.
    ///
    /// # Errors
    /// For a name or a value that is cut, and a name of other characters.
    pub fn read(bytes: &'a [u8]) -> Result<Self, Fault> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let wrong = Fault::Violation("a property of the handshake is cut or misnamed");
            (_, rest) = split(rest).ok_or(wrong)?;
        }
        Ok(Self(bytes))
    }

    /// Their bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.0
    }

    /// The value of the first property with this name; `None` if there is none.
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        let is_named = |property: &Property<'a>| property.name.eq_ignore_ascii_case(name);
        self.iter().find(is_named).map(|property| property.value)
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = Property<'a>> + use<'a> {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (property, behind) = split(rest)?;
            rest = behind;
            Some(property)
        })
    }

    /// Appends a property to `bytes`.
    ///
    /// # Errors
    /// For a name that is empty, longer than 255 bytes or of other characters, and a value of 4 GiB.
    pub fn write(bytes: &mut Vec<u8>, property: Property<'_>) -> Result<(), Fault> {
        let wrong = Fault::Violation("a property has a name or a value that cannot be sent");
        let len = u8::try_from(property.name.len()).ok();
        let value_len = u32::try_from(property.value.len()).ok();
        let (Some(len), Some(value_len), true) = (len, value_len, is_name(property.name)) else {
            return Err(wrong);
        };
        bytes.push(len);
        bytes.extend(property.name.as_bytes());
        bytes.extend(value_len.to_be_bytes());
        bytes.extend(property.value);
        Ok(())
    }
}

fn is_name(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.+".contains(&byte);
    !name.is_empty() && name.bytes().all(is_part)
}

/// The property at the front, and what is behind it.
fn split(bytes: &[u8]) -> Option<(Property<'_>, &[u8])> {
    let (&len, rest) = bytes.split_first()?;
    let (name, rest) = rest.split_at_checked(len.into())?;
    let name = str::from_utf8(name).ok().filter(|name| is_name(name))?;
    let (len, rest) = rest.split_first_chunk()?;
    let len = usize::try_from(u32::from_be_bytes(*len)).ok()?;
    let (value, rest) = rest.split_at_checked(len)?;
    Some((Property { name, value }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_that_is_cut() {
        let mut bytes = Vec::new();
        let kind = Property {
            name: "Socket-Type",
            value: b"PUSH",
        };
        let identity = Property {
            name: "Identity",
            value: b"",
        };
        Properties::write(&mut bytes, kind).unwrap();
        let first = bytes.len();
        Properties::write(&mut bytes, identity).unwrap();
        let properties = Properties::read(&bytes).unwrap();
        assert_eq!(properties.iter().collect::<Vec<_>>(), [kind, identity]);
        assert_eq!(properties.get("socket-TYPE"), Some(&b"PUSH"[..]));
        assert_eq!(properties.get("Resource"), None);
        for cut in (1..bytes.len()).filter(|cut| *cut != first) {
            assert!(Properties::read(&bytes[..cut]).is_err(), "{cut}");
        }
    }

    #[test]
    fn names_that_nobody_may_have_are_refused() {
        let long = "a".repeat(256);
        for name in ["", "a b", "ä", long.as_str()] {
            let property = Property { name, value: b"" };
            assert!(
                Properties::write(&mut Vec::new(), property).is_err(),
                "{name}"
            );
        }
        assert!(Properties::read(b"\x00\x00\x00\x00\x00").is_err());
        assert!(Properties::read(b"\x01 \x00\x00\x00\x00").is_err());
    }
}
