//! Whether a name stands twice among many.

use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

/// The first name that stands twice.
pub(crate) fn twice<'n>(names: impl ExactSizeIterator<Item = &'n str>) -> Option<&'n str> {
    let keyed = Keyed {
        key: RandomState::new().hash_one(0) % PRIME,
    };
    let mut seen = HashSet::with_capacity_and_hasher(names.len(), keyed);
    names.into_iter().find(|&name| !seen.insert(name))
}

/// 2^61 - 1, for which a remainder is two additions.
const PRIME: u64 = (1 << 61) - 1;

/// Hashes a name as a polynomial whose place nobody knows, modulo a prime: seven bytes are a coefficient.
///
/// Two names have one hash at as many places of 2^61 as they have coefficients, so whoever chooses the names cannot choose
/// collisions. The standard library's hash, which promises more, takes four times as long for names of ten bytes: a tenth
/// of what it costs to read a column.
struct Keyed {
    key: u64,
}

impl BuildHasher for Keyed {
    type Hasher = Polynomial;

    fn build_hasher(&self) -> Polynomial {
        Polynomial {
            key: self.key,
            value: 1,
        }
    }
}

struct Polynomial {
    key: u64,
    value: u64,
}

impl Polynomial {
    /// The value at the place, with one more coefficient to come.
    #[inline]
    fn times_key(&self) -> u64 {
        let product = u128::from(self.value) * u128::from(self.key);
        #[expect(clippy::cast_possible_truncation, reason = "both are below 2^62")]
        let sum = (product & u128::from(PRIME)) as u64 + (product >> 61) as u64;
        // Not always the least remainder, but always the same one.
        (sum & PRIME) + (sum >> 61)
    }

    #[inline]
    fn add(&mut self, coefficient: u64) {
        self.value = self.times_key() + coefficient;
    }
}

impl Hasher for Polynomial {
    fn write(&mut self, bytes: &[u8]) {
        let (whole, rest) = bytes.as_chunks::<7>();
        for &[a, b, c, d, e, f, g] in whole {
            self.add(u64::from_le_bytes([a, b, c, d, e, f, g, 0]));
        }
        // A one in front says how many there are.
        self.add(
            rest.iter()
                .fold(1, |word, &byte| word << 8 | u64::from(byte)),
        );
    }

    /// What a text writes behind itself, so that two texts are not one: here there is one.
    fn write_u8(&mut self, _: u8) {}

    fn finish(&self) -> u64 {
        // Names differ mostly in their last bytes, which a product spreads. The set looks at both ends of the hash, and the
        // upper one is mostly zero.
        let value = self.times_key();
        value ^ (value << 3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_name_that_stands_twice_is_found() {
        let names: Vec<String> = (0..500).map(|index| format!("{index:0>9}")).collect();
        assert_eq!(twice(names.iter().map(String::as_str)), None);
        let again = names.iter().chain(&names[77..78]).map(String::as_str);
        let again: Vec<&str> = again.collect();
        assert_eq!(twice(again.into_iter()), Some(&*names[77]));
        let short = [
            "",
            "\0",
            "\0\0",
            "a",
            "ab",
            "abcdefg",
            "abcdefg\0",
            "abcdef",
        ];
        assert_eq!(twice(short.into_iter()), None);
        assert_eq!(twice(["", "x", ""].into_iter()), Some(""));
    }

    #[test]
    fn hashes_of_like_names_are_spread() {
        for key in [2, 77, PRIME - 2] {
            let keyed = Keyed { key };
            let hashes: HashSet<u64> = (0..2_000)
                .map(|index| keyed.hash_one(format!("column_{index}").as_str()))
                .collect();
            assert_eq!(hashes.len(), 2_000, "{key}");
        }
    }
}
