//! The cryptography of CURVE: two keys agree on a third by X25519, and boxes are sealed by XSalsa20 and Poly1305, as NaCl does.
//!
//! No other file names the crates that do it.

use std::sync::Arc;

use salsabox::SecretBox;
use subtle::ConstantTimeEq;
use x25519_dalek::{X25519_BASEPOINT_BYTES, x25519};
use zeroize::Zeroizing;

/// Bytes of a key, public, secret or agreed.
pub(crate) const KEY: usize = 32;

/// Bytes that a box has beside what is in it.
pub(crate) const TAG: usize = 16;

/// What is used once with a key.
pub(crate) type Nonce = [u8; 24];

/// The public key that belongs to a secret one.
pub(crate) fn public_of(secret: &[u8; KEY]) -> [u8; KEY] {
    x25519(*secret, X25519_BASEPOINT_BYTES)
}

/// A key that two sides have agreed on. Wiped when its last clone is dropped.
#[derive(Clone)]
pub(crate) struct Agreed(Arc<Zeroizing<[u8; KEY]>>);

impl Agreed {
    /// What the owner of `secret` and the owner of `public` agree on. `None` for a public key of low order, with which anybody
    /// would agree on the same.
    pub(crate) fn new(secret: &[u8; KEY], public: &[u8; KEY]) -> Option<Self> {
        let shared = Zeroizing::new(x25519(*secret, *public));
        if equal(&*shared, &[0; KEY]) {
            return None;
        }
        Some(Self::from(Zeroizing::new(salsabox::hsalsa20(
            &shared, &[0; 16],
        ))))
    }

    fn from(key: Zeroizing<[u8; KEY]>) -> Self {
        Self(Arc::new(key))
    }

    /// Seals `bytes` where they are, and returns the tag that goes in front of them.
    pub(crate) fn seal(&self, nonce: &Nonce, bytes: &mut [u8]) -> [u8; TAG] {
        SecretBox::from_key(&self.0).encrypt_detached(nonce, bytes)
    }

    /// Opens `bytes` where they are. If `tag` is not theirs it returns false, and they stay as they were.
    #[must_use]
    pub(crate) fn open(&self, nonce: &Nonce, bytes: &mut [u8], tag: &[u8; TAG]) -> bool {
        SecretBox::from_key(&self.0)
            .decrypt_detached(nonce, bytes, tag)
            .is_ok()
    }

    /// Appends a box with `parts` to `to`: its tag, and them.
    pub(crate) fn seal_to(&self, nonce: &Nonce, parts: &[&[u8]], to: &mut Vec<u8>) {
        let at = to.len();
        to.extend([0; TAG]);
        for part in parts {
            to.extend(*part);
        }
        self.seal_from(nonce, at, to);
    }

    /// Seals what is behind the first `at` bytes: room for a tag, and what goes into the box.
    pub(crate) fn seal_from(&self, nonce: &Nonce, at: usize, bytes: &mut [u8]) {
        let (_, sealed) = bytes.split_at_mut(at.min(bytes.len()));
        if let Some((tag, bytes)) = sealed.split_first_chunk_mut() {
            *tag = self.seal(nonce, bytes);
        }
    }

    /// What is in a box; `None` if it was not sealed with this key and nonce.
    pub(crate) fn opened(&self, nonce: &Nonce, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (tag, bytes) = sealed.split_first_chunk()?;
        let mut bytes = Zeroizing::new(bytes.to_owned());
        self.open(nonce, &mut bytes, tag).then_some(bytes)
    }
}

/// Whether two texts are the same, in a time that depends on their lengths only.
pub(crate) fn equal(one: &[u8], other: &[u8]) -> bool {
    one.ct_eq(other).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use poly1305::Poly1305;
    use poly1305::universal_hash::KeyInit;
    use salsa20::XSalsa20;
    use salsa20::cipher::{KeyIvInit, StreamCipher};

    /// The bytes that a text of hexadecimal digits stands for.
    fn hex<const N: usize>(text: &str) -> [u8; N] {
        let mut digits = text.chars().filter_map(|character| character.to_digit(16));
        let mut byte = || digits.next().unwrap() * 16 + digits.next().unwrap();
        std::array::from_fn(|_| u8::try_from(byte()).unwrap())
    }

    // The vectors of "Cryptography in NaCl" (Bernstein 2009), which NaCl's tests/box.c has; the public keys are in RFC 7748 too.
    const ALICE: &str = "77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a";
    const ALICE_PUBLIC: &str = "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a";
    const BOB: &str = "5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb";
    const BOB_PUBLIC: &str = "de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f";
    const NONCE: &str = "69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37";
    const PLAIN: &str = "be075fc53c81f2d5cf141316ebeb0c7b5228c52a4c62cbd44b66849b64244ffc\
        e5ecbaaf33bd751a1ac728d45e6c61296cdc3c01233561f41db66cce314adb31\
        0e3be8250c46f06dceea3a7fa1348057e2f6556ad6b1318a024a838f21af1fde\
        048977eb48f59ffd4924ca1c60902e52f0a089bc76897040e082f93776384864\
        5e0705";
    const SEALED: &str = "f3ffc7703f9400e52a7dfb4b3d3305d98e993b9f48681273c29650ba32fc76ce\
        48332ea7164d96a4476fb8c531a1186ac0dfc17c98dce87b4da7f011ec48c972\
        71d2c20f9b928fe2270d6fb863d51738b48eeee314a7cc8ab932164548e526ae\
        90224368517acfeabd6bb3732bc0e9da99832b61ca01b6de56244a9e88d5f9b3\
        7973f622a43d14a6599b1f654cb45a74e355a5";

    #[test]
    fn the_vectors_of_nacl_pass() {
        let (alice, bob) = (hex(ALICE), hex(BOB));
        assert_eq!(public_of(&alice), hex::<KEY>(ALICE_PUBLIC));
        assert_eq!(public_of(&bob), hex::<KEY>(BOB_PUBLIC));
        let (nonce, plain, sealed) = (hex(NONCE), hex::<131>(PLAIN), hex::<147>(SEALED));
        let there = Agreed::new(&alice, &hex(BOB_PUBLIC)).unwrap();
        let here = Agreed::new(&bob, &hex(ALICE_PUBLIC)).unwrap();
        let mut bytes = vec![1, 2, 3];
        there.seal_to(&nonce, &[&plain[..7], &plain[7..]], &mut bytes);
        assert_eq!(bytes[3..], sealed);
        assert_eq!(*here.opened(&nonce, &sealed).unwrap(), plain);
    }

    #[test]
    fn boxes_are_those_of_another_implementation() {
        let (key, nonce) = ([0x42; KEY], [0x24; 24]);
        let ours = Agreed::from(Zeroizing::new(key));
        for len in (0..700).chain([4095, 4096, 4097, 65_536, 1 << 20]) {
            let plain: Vec<u8> = (0..=255).cycle().step_by(73).take(len).collect();
            let mut theirs = plain.clone();
            let mut stream = XSalsa20::new(&key.into(), &nonce.into());
            let mut poly = [0; KEY];
            stream.apply_keystream(&mut poly);
            stream.apply_keystream(&mut theirs);
            let tag = Poly1305::new(&poly.into()).compute_unpadded(&theirs);

            let mut bytes = plain.clone();
            assert_eq!(ours.seal(&nonce, &mut bytes), *tag, "{len}");
            assert_eq!(bytes, theirs, "{len}");
            assert!(ours.open(&nonce, &mut bytes, &tag.into()), "{len}");
            assert_eq!(bytes, plain, "{len}");
        }
    }

    #[test]
    fn a_changed_box_stays_closed() {
        let ours = Agreed::from(Zeroizing::new([7; KEY]));
        let mut sealed = Vec::new();
        ours.seal_to(&[1; 24], &[b"at dawn"], &mut sealed);
        assert!(ours.opened(&[2; 24], &sealed).is_none());
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(ours.opened(&[1; 24], &changed).is_none(), "{bit}");
        }
        for len in 0..sealed.len() {
            assert!(ours.opened(&[1; 24], &sealed[..len]).is_none(), "{len}");
        }
        assert_eq!(*ours.opened(&[1; 24], &sealed).unwrap(), b"at dawn");
    }

    #[test]
    fn nobody_agrees_with_a_key_of_low_order() {
        // All points of small order, of the curve and of its twist, that 32 bytes can say (cr.yp.to/ecdh.html).
        for public in [
            "0000000000000000000000000000000000000000000000000000000000000000",
            "0100000000000000000000000000000000000000000000000000000000000000",
            "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
            "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        ] {
            let mut public = hex(public);
            assert!(Agreed::new(&hex(ALICE), &public).is_none(), "{public:?}");
            public[31] |= 0x80;
            assert!(Agreed::new(&hex(ALICE), &public).is_none(), "{public:?}");
        }
    }
}
