//! Facts about messages.

use numpush::Message;
use numpush::model::{Body, Column, ColumnType, Dtype};
use numpush::wire::{ColumnHeader, HeaderBody};
use serde_json::{Value, json};

/// What a message holds.
pub(super) fn of_message(message: &Message<'_>) -> Value {
    let body = match &message.body {
        Body::Array(array) => array_facts(array.dtype(), array.shape(), array.strides()),
        Body::Frame(frame) => {
            let columns: Vec<Value> = frame.columns().iter().map(of_column).collect();
            json!({ "kind": "frame", "rows": frame.rows(), "columns": columns })
        }
        _ => json!({ "kind": "bytes" }),
    };
    let mut facts = body;
    if let Some(facts) = facts.as_object_mut() {
        facts.insert("payload_bytes".into(), message.payload_len().into());
        facts.insert("attributes".into(), json!(message.attributes));
    }
    facts
}

/// What the header of a message says.
pub(super) fn of_header(body: &HeaderBody) -> Value {
    match body {
        HeaderBody::Array(array) => array_facts(array.dtype(), array.shape(), array.strides()),
        HeaderBody::Frame(frame) => {
            let keys: Vec<&String> = frame.metadata().keys().collect();
            let columns: Vec<Value> = frame.columns().iter().map(of_column_header).collect();
            json!({ "kind": "frame", "rows": frame.rows(), "columns": columns, "metadata_keys": keys })
        }
        _ => json!({ "kind": "bytes" }),
    }
}

fn array_facts(dtype: &Dtype, shape: &[usize], strides: Option<&[isize]>) -> Value {
    let order = if strides.is_some() { "strided" } else { "C" };
    json!({ "kind": "array", "dtype": dtype.to_string(), "shape": shape, "order": order, "strides": strides })
}

fn of_column(column: &Column<'_>) -> Value {
    let data = column.data();
    let values = data.dictionary().map(|dictionary| dictionary.values());
    column_facts(
        column.name(),
        data.column_type(),
        data.null_count(),
        values.map(|values| (values.len(), values.column_type())),
    )
}

fn of_column_header(column: &ColumnHeader) -> Value {
    let values = &column.values;
    let dictionary = values.dictionary.as_ref();
    column_facts(
        &column.name,
        &values.column_type,
        values.null_count,
        dictionary.map(|dictionary| (dictionary.values.len, &dictionary.values.column_type)),
    )
}

fn column_facts(
    name: &str,
    column_type: &ColumnType,
    nulls: usize,
    dictionary: Option<(usize, &ColumnType)>,
) -> Value {
    let mut facts = json!({ "name": name, "type": column_type.to_string(), "nulls": nulls });
    if let (Some(facts), Some((len, values))) = (facts.as_object_mut(), dictionary) {
        facts.insert("dictionary".into(), format!("{len} of {values}").into());
    }
    facts
}
