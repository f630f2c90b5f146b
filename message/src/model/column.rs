use std::collections::BTreeMap;

use crate::model::buffer::Buffer;
use crate::model::column_type::ColumnType;

/// A column of a frame: a name and its values in Arrow's layout.
#[derive(Clone, Debug, PartialEq)]
pub struct Column<'a> {
    /// Its name, unique in the frame.
    pub name: String,
    /// True if its schema allows nulls, whether there are any or not.
    pub nullable: bool,
    /// The field's metadata.
    pub metadata: BTreeMap<String, String>,
    /// Its values.
    pub data: ColumnData<'a>,
}

/// Values of one type in Arrow's layout.
///
/// The buffers are those the [Arrow columnar format](https://arrow.apache.org/docs/format/Columnar.html) lists for the
/// type, validity bitmap first; a column without nulls has an empty bitmap. Offsets begin at zero.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnData<'a> {
    /// The type of the values, or of the codes if there is a dictionary.
    pub format: ColumnType,
    /// Number of values.
    pub len: usize,
    /// How many of them are null.
    pub null_count: usize,
    /// Validity, then what the type needs.
    pub buffers: Vec<Buffer<'a>>,
    /// The values that the codes stand for.
    pub dictionary: Option<Box<Dictionary<'a>>>,
}

/// Values that the codes of a column stand for.
#[derive(Clone, Debug, PartialEq)]
pub struct Dictionary<'a> {
    /// True if the order of the values means something.
    pub ordered: bool,
    /// The values; code `i` stands for value `i`.
    pub values: ColumnData<'a>,
}

impl<'a> ColumnData<'a> {
    /// Every buffer of the values and their dictionary, in the order of the wire.
    pub(crate) fn each_buffer<'s>(&'s self, visit: &mut impl FnMut(&'s Buffer<'a>)) {
        self.buffers.iter().for_each(&mut *visit);
        if let Some(dictionary) = &self.dictionary {
            dictionary.values.each_buffer(visit);
        }
    }

    pub(crate) fn into_owned_or_copy(self) -> ColumnData<'static> {
        let dictionary = self.dictionary.map(|dictionary| {
            let Dictionary { ordered, values } = *dictionary;
            Box::new(Dictionary {
                ordered,
                values: values.into_owned_or_copy(),
            })
        });
        let buffers = self
            .buffers
            .into_iter()
            .map(Buffer::into_owned_or_copy)
            .collect();
        ColumnData {
            format: self.format,
            len: self.len,
            null_count: self.null_count,
            buffers,
            dictionary,
        }
    }
}
