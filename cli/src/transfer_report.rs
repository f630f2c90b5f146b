//! What is printed about a transfer.

use numpush::model::Body;
use numpush::{Message, Transfer};
use serde_json::{Value, json};

/// A transfer as a line of JSON.
pub(crate) fn to_json(
    direction: &str,
    name: &str,
    message: &Message<'_>,
    transfer: &Transfer,
) -> Value {
    json!({
        "direction": direction,
        "name": name,
        "message": describe(message),
        "bytes": transfer.bytes,
        "copied": transfer.copied,
        "system_calls": transfer.system_calls,
        "path": transfer.path.name(),
        "reason": transfer.reason.name(),
    })
}

/// A message in a few words.
pub(crate) fn describe(message: &Message<'_>) -> String {
    match &message.body {
        Body::Array(array) => format!("array {} {:?}", array.dtype(), array.shape()),
        Body::Frame(frame) => format!(
            "frame of {} rows, {} columns",
            frame.rows(),
            frame.columns().len()
        ),
        Body::Bytes(bytes) => format!("{} plain bytes", bytes.len()),
        _ => "a message of a newer kind".to_owned(),
    }
}
