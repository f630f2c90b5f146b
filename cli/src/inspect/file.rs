//! Facts about files.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use numpush::wire::{DecodeError, Header, Limits};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};

use super::message::of_header;
use crate::failure::Failure;
use crate::format::{Input, Layout, checked};

/// What a file holds, and what is wrong with it. A file that was cut has both.
pub(super) fn of_file(path: &Path) -> Result<(Value, Option<Failure>), Failure> {
    let mut file = Input::open(path)?.into_file(path)?;
    let failed = || Failure::file(path, "cannot read");
    let size = file.metadata().map_err(failed())?.len();
    let mut first = Vec::new();
    file.by_ref()
        .take(6)
        .read_to_end(&mut first)
        .map_err(failed())?;
    file.seek(SeekFrom::Start(0)).map_err(failed())?;
    let (mut facts, fault) = match first.as_slice() {
        [0x93, b'N', b'P', b'M', ..] => of_records(path, file, size)?,
        [0x93, b'N', b'U', b'M', b'P', b'Y'] => of_npy(path, &mut file, Some(size))?,
        [b'P', b'K', ..] => (of_npz(path, file)?, None),
        [b'P', b'A', b'R', b'1', ..] => (of_parquet(path, file)?, None),
        b"ARROW1" => (of_arrow(path, file)?, None),
        _ => {
            return Err(Failure::data(
                path,
                "is no message, npy, npz, Parquet or Arrow file",
            ));
        }
    };
    if let Some(facts) = facts.as_object_mut() {
        facts.insert("file_bytes".into(), size.into());
    }
    Ok((facts, fault))
}

/// All messages of a file; no more than their headers is read.
fn of_records(path: &Path, mut file: File, size: u64) -> Result<(Value, Option<Failure>), Failure> {
    let mut all = Vec::new();
    let mut at = 0;
    let mut fault = None;
    while at < size && fault.is_none() {
        file.seek(SeekFrom::Start(at))
            .map_err(Failure::file(path, "cannot read"))?;
        let (facts, len) = of_record(path, &mut file)?;
        at = at.saturating_add(len);
        all.push(facts);
        if at > size {
            let text = format!("has {size} bytes, and its headers say {at}");
            fault = Some(Failure::data(path, text));
        }
    }
    let one = all.len() == 1;
    let facts = match all.pop() {
        Some(facts) if one => facts,
        last => {
            all.extend(last);
            json!({ "format": FORMAT, "messages": all })
        }
    };
    Ok((facts, fault))
}

const FORMAT: &str = "numpush message, version 1";

/// A message and the length of its record.
fn of_record(path: &Path, file: &mut File) -> Result<(Value, u64), Failure> {
    let mut bytes = Vec::new();
    let limits = Limits::default().with_payload(u64::MAX);
    loop {
        match Header::parse(&bytes, &limits) {
            Ok((preamble, contents)) => {
                let mut facts = of_header(&contents.body);
                let offsets = contents.buffer_offsets(&preamble);
                let buffers: Vec<Value> = offsets
                    .zip(contents.buffer_lens())
                    .map(|(at, len)| json!({ "offset": at, "bytes": len }))
                    .collect();
                if let Some(facts) = facts.as_object_mut() {
                    facts.insert("format".into(), FORMAT.into());
                    facts.insert("checksums".into(), preamble.flags.checksums.into());
                    facts.insert("header_bytes".into(), preamble.header_len.into());
                    facts.insert("payload_bytes".into(), preamble.payload_len.into());
                    facts.insert("attributes".into(), json!(contents.attributes));
                    facts.insert("buffers".into(), buffers.into());
                }
                return Ok((facts, preamble.record_len()));
            }
            Err(DecodeError::Truncated { missing }) => {
                let before = bytes.len();
                file.by_ref()
                    .take(missing)
                    .read_to_end(&mut bytes)
                    .map_err(Failure::file(path, "cannot read"))?;
                if bytes.len() == before {
                    let fault = format!("ends {missing} bytes before its header does");
                    return Err(Failure::data(path, fault));
                }
            }
            Err(error) => return Err(Failure::file(path, "is not a message")(error)),
        }
    }
}

fn of_npy(
    path: &Path,
    from: &mut impl Read,
    len: Option<u64>,
) -> Result<(Value, Option<Failure>), Failure> {
    let layout = Layout::read(path, from)?;
    let fault = checked(path, &layout, len).err();
    let order = if layout.fortran { "Fortran" } else { "C" };
    let facts = json!({
        "format": "npy",
        "kind": "array",
        "dtype": layout.dtype.to_string(),
        "shape": layout.shape,
        "order": order,
        "payload_bytes": layout.data_len(),
    });
    Ok((facts, fault))
}

fn of_npz(path: &Path, file: File) -> Result<Value, Failure> {
    let mut archive = zip::ZipArchive::new(file).map_err(Failure::file(path, "is no npz file"))?;
    let mut arrays = Vec::new();
    for index in 0..archive.len() {
        let mut member = archive
            .by_index(index)
            .map_err(Failure::file(path, "cannot read"))?;
        let name = member
            .name()
            .map_err(Failure::file(path, "has a member without a name"))?
            .into_owned();
        let len = Some(member.size());
        let (mut facts, fault) = of_npy(&path.join(&name), &mut member, len)?;
        fault.map_or(Ok(()), Err)?;
        if let Some(facts) = facts.as_object_mut() {
            facts.remove("format");
            facts.insert("name".into(), name.into());
        }
        arrays.push(facts);
    }
    Ok(json!({ "format": "npz", "arrays": arrays }))
}

fn of_parquet(path: &Path, file: File) -> Result<Value, Failure> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(file)
        .map_err(Failure::file(path, "cannot read"))?;
    let rows = builder.metadata().file_metadata().num_rows();
    Ok(
        json!({ "format": "parquet", "kind": "frame", "rows": rows, "columns": fields(builder.schema()) }),
    )
}

fn of_arrow(path: &Path, file: File) -> Result<Value, Failure> {
    let reader = arrow_ipc::reader::FileReader::try_new(file, None)
        .map_err(Failure::file(path, "cannot read"))?;
    Ok(
        json!({ "format": "arrow", "kind": "frame", "batches": reader.num_batches(), "columns": fields(&reader.schema()) }),
    )
}

fn fields(schema: &arrow_schema::Schema) -> Vec<Value> {
    let describe = |field: &arrow_schema::FieldRef| json!({ "name": field.name(), "type": field.data_type().to_string() });
    schema.fields().iter().map(describe).collect()
}
