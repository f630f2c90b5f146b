use bytemuck::{CheckedBitPattern, NoUninit};
use half::f16;
use num_complex::Complex;

use crate::model::dtype::{Scalar, ScalarKind};

/// A Rust type whose values are elements of an array.
///
/// Implemented for `bool`, the integers of 8 to 64 bits, `f16`, `f32`, `f64` and the complex numbers of the latter two.
pub trait Element: NoUninit + CheckedBitPattern + Send + Sync {
    /// Its element type, in this machine's byte order.
    const SCALAR: Scalar;
}

macro_rules! elements {
    ($($type:ty => $kind:ident),* $(,)?) => {
        $(impl Element for $type {
            const SCALAR: Scalar = Scalar::native(ScalarKind::$kind, size_of::<$type>());
        })*
    };
}

elements! {
    bool => Bool,
    i8 => Int, i16 => Int, i32 => Int, i64 => Int,
    u8 => Uint, u16 => Uint, u32 => Uint, u64 => Uint,
    f16 => Float, f32 => Float, f64 => Float,
    Complex<f32> => Complex, Complex<f64> => Complex,
}
