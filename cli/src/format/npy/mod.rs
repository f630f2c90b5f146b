//! NumPy's array file. Source: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.

mod layout;
mod literal;

use std::io::{Read, Write};
use std::path::Path;

use numpush::{Array, Buffer, Message};

use crate::failure::Failure;
use crate::format::input::allocate;

pub(crate) use layout::Layout;

/// Reads an array, of which `len` bytes are there if that is known.
pub(super) fn read(
    path: &Path,
    from: &mut impl Read,
    len: Option<u64>,
) -> Result<Message<'static>, Failure> {
    let layout = Layout::read(path, from)?;
    let data_len = checked(path, &layout, len)?;
    let data = allocate(path, from, data_len)?;
    build(path, layout, data)
}

/// The array in a file that is mapped.
pub(super) fn of_mapped(path: &Path, file: &Buffer<'static>) -> Result<Message<'static>, Failure> {
    let layout = Layout::read(path, &mut &file[..])?;
    let data_len = checked(path, &layout, Some(file.len() as u64))?;
    let data = file.slice(layout.start..layout.start + data_len);
    build(path, layout, data)
}

/// The length of the data, if a file of `len` bytes has them all.
pub(crate) fn checked(path: &Path, layout: &Layout, len: Option<u64>) -> Result<usize, Failure> {
    let data_len = layout
        .data_len()
        .ok_or_else(|| Failure::data(path, format!("shape {:?} is too large", layout.shape)))?;
    let needed = (layout.start as u64).saturating_add(data_len as u64);
    match len {
        Some(len) if len < needed => {
            let fault = format!("has {len} bytes, and its header says {needed}");
            Err(Failure::data(path, fault))
        }
        _ => Ok(data_len),
    }
}

fn build(path: &Path, layout: Layout, data: Buffer<'static>) -> Result<Message<'static>, Failure> {
    let array = if layout.fortran {
        let mut step = layout.dtype.size().cast_signed();
        let mut strides = Vec::new();
        for &axis in &layout.shape {
            strides.push(step);
            step = step.saturating_mul(axis.cast_signed());
        }
        Array::with_strides(layout.dtype, &layout.shape, &strides, data)
    } else {
        Array::new(layout.dtype, &layout.shape, data)
    };
    array
        .map(Message::from)
        .map_err(Failure::file(path, "cannot be sent"))
}

/// Writes the array of a message.
pub(super) fn write(
    path: &Path,
    message: &Message<'static>,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let Some(array) = message.as_array() else {
        let what = crate::transfer_report::describe(message);
        return Err(Failure::data(path, format!("{what} is not an array")));
    };
    let fortran = array
        .strides()
        .is_some_and(|strides| is_fortran(array.shape(), strides, array.dtype().size()));
    let array = if fortran {
        array.clone()
    } else {
        array.clone().into_c_order_or_copy()
    };
    layout::write(&array, fortran, out)
        .and_then(|()| out.write_all(array.data()))
        .map_err(Failure::file(path, "cannot write"))
}

fn is_fortran(shape: &[usize], strides: &[isize], item: usize) -> bool {
    let mut step = item.cast_signed();
    shape.iter().zip(strides).all(|(&len, &stride)| {
        let matches = len == 1 || stride == step;
        step *= len.cast_signed();
        matches
    })
}
