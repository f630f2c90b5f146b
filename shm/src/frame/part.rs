use std::ops::Range;
use std::sync::Arc;

use bytemuck::Pod;
use numpush_message::{ColumnType, Element};
use numpush_shm_core::{
    LockOptions, Locked, MemoryRange, PartRange, ReadHold, WriteHold, part_range,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::division::{Share, ShareOffer, divide};
use crate::error::Error;
use crate::frame::column::{BitmapMut, BoolColumnMut, ColumnMut};
use crate::frame::guard::{check, check_flags, elements_mut};
use crate::frame::meta::{ColumnMeta, DataMeta, Descriptor};
use crate::object::{self, Object};

/// Rows whose bits fill a cache line, so that two parts never touch one line of a bitmap.
const GRAIN: usize = 512;

/// A part of a frame: a run of its rows. It can be sent to another process.
#[derive(Debug)]
pub struct FramePart {
    share: Share,
}

/// A part of a frame while the part's lock is held.
#[derive(Debug)]
pub struct FramePartGuard<'a> {
    value: &'a Object,
    meta: &'a Descriptor,
    division: PartRange,
    // Dropped in this order: the part is whole before its worker leaves the frame.
    part: WriteHold,
    whole: ReadHold,
}

/// The bytes of a column's values, and those of its bitmap if it has one.
type ValuesAndValidity<'a> = (&'a mut [u8], Option<&'a mut [u8]>);

impl FramePart {
    pub(super) fn divide(
        value: &Arc<Object>,
        rows: usize,
        parts: usize,
    ) -> Result<Vec<Self>, Error> {
        if parts == 0 {
            return Err(Error::Division {
                axis: 0,
                parts,
                shape: vec![rows],
            });
        }
        let parts = parts.min(rows.div_ceil(GRAIN).max(1));
        let shares = divide(value, GRAIN, vec![0..value.len(); parts])?;
        Ok(shares.into_iter().map(|share| Self { share }).collect())
    }

    fn meta(&self) -> &Descriptor {
        match &self.share.value.meta {
            object::Descriptor::Frame(meta) => meta,
            _ => unreachable!("every way to make a part looks"),
        }
    }

    /// The rows of the part.
    pub fn rows(&self) -> Range<usize> {
        let PartRange {
            parts,
            number,
            grain,
        } = self.share.division;
        part_range(self.meta().rows, parts, number, grain)
    }

    /// Locks the part for writing.
    ///
    /// # Errors
    /// As [`Part::write`](crate::Part::write).
    pub fn write(&mut self) -> Result<FramePartGuard<'_>, Error> {
        self.guard(LockOptions::default())
    }

    /// As [`Self::write`], but also when another worker did not finish.
    ///
    /// # Errors
    /// As [`Self::write`], without poison.
    pub fn write_poisoned(&mut self) -> Result<FramePartGuard<'_>, Error> {
        self.guard(LockOptions {
            timeout: None,
            accept_poison: true,
        })
    }

    fn guard(&self, attempt: LockOptions) -> Result<FramePartGuard<'_>, Error> {
        let (whole, part) = self.share.lock(attempt)?;
        let division = self.share.division;
        Ok(FramePartGuard {
            value: &self.share.value,
            meta: self.meta(),
            division,
            part,
            whole,
        })
    }
}

impl FramePartGuard<'_> {
    /// The part's rows of a column of numbers, dates or times, to write. Row 0 is the part's first.
    ///
    /// # Errors
    /// [`Error::Column`] if there is none of that name, or if its values are not of `T`.
    pub fn column<T: Element + Pod>(&mut self, name: &str) -> Result<ColumnMut<'_, T>, Error> {
        let column = self.meta.column(name)?;
        check::<T>(column)?;
        let (values, validity) = self.bytes(column, false)?;
        Ok(ColumnMut {
            name: &column.name,
            values: elements_mut(values),
            validity,
        })
    }

    /// The part's rows of a column of truth values, to write. Row 0 is the part's first.
    ///
    /// # Errors
    /// [`Error::Column`] if there is none of that name, or if it is of another type.
    pub fn flags(&mut self, name: &str) -> Result<BoolColumnMut<'_>, Error> {
        let column = self.meta.column(name)?;
        check_flags(column)?;
        let PartRange {
            parts,
            number,
            grain,
        } = self.division;
        let len = part_range(self.meta.rows, parts, number, grain).len();
        let (values, validity) = self.bytes(column, true)?;
        Ok(BoolColumnMut {
            name: &column.name,
            len,
            values: BitmapMut(values),
            validity: validity.map(BitmapMut),
        })
    }

    /// The part's bytes of the values, which are bits or whole bytes, and of the validity.
    fn bytes(&mut self, column: &ColumnMeta, bits: bool) -> Result<ValuesAndValidity<'_>, Error> {
        let spans = self.value.guarded();
        // Eight rows a byte, in the same grains.
        let of_bits = PartRange {
            grain: self.division.grain / 8,
            ..self.division
        };
        let bitmap = |span: usize| (&spans[span], of_bits, spans[span].range().len());
        let (values, validity) = column.value_spans();
        let numbers = |span: usize| (&spans[span], self.division, self.meta.rows);
        let mut wanted: Vec<(&MemoryRange<Locked>, PartRange, usize)> = Vec::with_capacity(2);
        wanted.extend(values.map(|span| if bits { bitmap(span) } else { numbers(span) }));
        wanted.extend(validity.map(bitmap));
        let parts = MemoryRange::<Locked>::part_bytes_mut(&wanted, &self.whole, &mut self.part);
        let parts = parts.map_err(|_| Error::InUse {
            what: "the part is open under another lock",
        })?;
        let mut parts = parts.into_iter();
        let values = values.and_then(|_| parts.next()).unwrap_or_default();
        Ok((values, validity.and_then(|_| parts.next())))
    }
}

/// True if the buffers of `column` are as long as its type and `rows` want; `len` is that of a span.
pub(super) fn fits(column: &ColumnMeta, rows: usize, len: impl Fn(usize) -> Option<usize>) -> bool {
    column.data.len == rows && data_fits(&column.data, &len)
}

fn data_fits(data: &DataMeta, len: &impl Fn(usize) -> Option<usize>) -> bool {
    let Ok(format) = data.format() else {
        return false;
    };
    let of = |at: usize| match data.spans.get(at) {
        None => None,
        Some(None) => Some(0),
        Some(Some(span)) => len(*span),
    };
    let bits = data.len.div_ceil(8);
    let validity = of(0).is_none_or(|len| len == 0 || len == bits);
    let values = match (format.fixed_size(), &format) {
        (Some(size), _) => of(1) == data.len.checked_mul(size),
        (None, ColumnType::Bool) => of(1) == Some(bits),
        // Offsets and texts are looked up with every bound checked.
        _ => data.spans.iter().flatten().all(|&span| len(span).is_some()),
    };
    validity
        && values
        && data
            .dictionary
            .as_ref()
            .is_none_or(|dictionary| data_fits(&dictionary.values, len))
}

impl Serialize for FramePart {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.share
            .offer()
            .map_err(serde::ser::Error::custom)?
            .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for FramePart {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let offer = ShareOffer::deserialize(deserializer)?;
        let failed = serde::de::Error::custom::<Error>;
        let share = Share::open(offer).map_err(failed)?;
        let object::Descriptor::Frame(meta) = &share.value.meta else {
            return Err(failed(Error::Kind {
                found: share.value.meta.kind(),
                wanted: "a frame",
            }));
        };
        let spans = share.value.guarded();
        let len = |span: usize| {
            spans
                .get(span)
                .map(|span: &MemoryRange<Locked>| span.range().len())
        };
        if share.division.grain != GRAIN
            || !meta
                .columns
                .iter()
                .all(|column| fits(column, meta.rows, len))
        {
            return Err(failed(Error::Protocol {
                peer: "the owner".into(),
                what: "a part that does not fit",
            }));
        }
        Ok(Self { share })
    }
}
