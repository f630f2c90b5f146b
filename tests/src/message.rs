use numpush::model::{Element, Scalar};
use numpush::wire::{Encoder, Flags, Stamp};
use numpush::{Array, Message};

/// An array of `len` bytes, other ones for each `seed`.
pub fn bytes(len: usize, seed: u8) -> Message<'static> {
    let data: Vec<u8> = (0..251)
        .cycle()
        .take(len)
        .map(|byte: u8| byte.wrapping_add(seed))
        .collect();
    Message::from(Array::new(u8::SCALAR, &[len], data.into()).unwrap())
}

/// The record of a message with this number, for peers that write by hand.
pub fn record(message: &Message<'_>, id: u64) -> Vec<u8> {
    let mut encoder = Encoder::new(message, Flags::default()).unwrap();
    encoder.stamp(Stamp {
        id,
        ..Stamp::default()
    });
    encoder.copy_rest()
}

/// An array of two rows and three columns of every element type.
pub fn every_dtype() -> Vec<Message<'static>> {
    let plain = "|b1 |i1 |u1 <i2 >i2 <u2 <i4 <u4 <i8 >u8 <f2 <f4 >f4 <f8 <c8 >c16 |S5 <U3 >U2 <M8[ns] <m8[25s]";
    let array = |typestr: &str| {
        let scalar: Scalar = typestr.parse().unwrap();
        let data: Vec<u8> = [0, 1].into_iter().cycle().take(6 * scalar.size()).collect();
        Message::from(Array::new(scalar, &[2, 3], data.into()).unwrap())
    };
    plain.split(' ').map(array).collect()
}
