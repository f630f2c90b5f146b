use std::fs::File;
use std::io::Read;
use std::path::Path;

use numpush::Message;
use numpush::model::{Body, Column, ColumnType};
use numpush::wire::{ColumnHeader, Header, HeaderBody, Limits};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};

use crate::args::Inspect;
use crate::failure::Failure;
use crate::format::{Layout, fault, open};
use crate::interrupt;

#[expect(clippy::print_stdout, reason = "what the user asked for")]
pub(crate) fn run(args: &Inspect) -> Result<(), Failure> {
    let endpoint = args.what.parse::<numpush::Endpoint>();
    let facts = match endpoint {
        _ if Path::new(&args.what).exists() => of_file(Path::new(&args.what))?,
        Ok(endpoint)
            if endpoint.scheme() == numpush::transfer::Scheme::File
                && Path::new(endpoint.address()).is_file() =>
        {
            of_file(Path::new(endpoint.address()))?
        }
        Ok(_) => {
            let mut listener = numpush::listen(&args.what)?;
            let mut connection = interrupt::accept(&mut listener, None)?;
            let received = interrupt::recv(&mut connection, None)?;
            of_message(&received.message)
        }
        Err(_) => {
            open(Path::new(&args.what))?;
            return Ok(());
        }
    };
    if args.json {
        println!("{facts:#}");
    } else {
        print_lines(&facts, 0);
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "what the user asked for")]
fn print_lines(facts: &Value, indent: usize) {
    let Some(facts) = facts.as_object() else {
        return;
    };
    for (name, value) in facts {
        match value {
            Value::Array(items) if items.iter().any(Value::is_object) => {
                println!("{:indent$}{name}:", "");
                for item in items {
                    let words = item.as_object().into_iter().flatten();
                    let words: Vec<String> = words
                        .map(|(key, value)| format!("{key} {}", plain(value)))
                        .collect();
                    println!("{:indent$}  {}", "", words.join(", "));
                }
            }
            Value::Object(_) => {
                println!("{:indent$}{name}:", "");
                print_lines(value, indent + 2);
            }
            value => println!("{:indent$}{name}: {}", "", plain(value)),
        }
    }
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn of_file(path: &Path) -> Result<Value, Failure> {
    let mut file = open(path)?;
    let size = file
        .metadata()
        .map_err(Failure::file(path, "cannot read"))?
        .len();
    let mut first = [0; 6];
    let known = file
        .read(&mut first)
        .map_err(Failure::file(path, "cannot read"))?;
    let facts = match &first[..known] {
        [0x93, b'N', b'P', b'M', ..] => of_record(path, open(path)?)?,
        [0x93, b'N', b'U', b'M', b'P', b'Y'] => of_npy(path, &mut open(path)?)?,
        [b'P', b'K', ..] => of_npz(path)?,
        [b'P', b'A', b'R', b'1', ..] => of_parquet(path)?,
        b"ARROW1" => of_arrow(path)?,
        _ => return fault(path, "is no message, npy, npz, Parquet or Arrow file"),
    };
    let mut facts = facts;
    if let Some(facts) = facts.as_object_mut() {
        facts.insert("file_bytes".into(), size.into());
    }
    Ok(facts)
}

/// Reads no more than the header.
fn of_record(path: &Path, mut file: File) -> Result<Value, Failure> {
    let mut bytes = Vec::new();
    let limits = Limits::default().with_payload(u64::MAX);
    loop {
        match Header::parse(&bytes, &limits) {
            Ok((preamble, header)) => {
                let mut facts = of_body(&header.body);
                let head = 32 + u64::from(preamble.header_len);
                let mut at = head.next_multiple_of(64);
                let mut buffers = Vec::new();
                for &len in &header.buffer_lens {
                    buffers.push(json!({ "offset": at, "bytes": len }));
                    at += len.next_multiple_of(64);
                }
                if let Some(facts) = facts.as_object_mut() {
                    facts.insert("format".into(), "numpush message, version 1".into());
                    facts.insert("checksums".into(), preamble.flags.checksums.into());
                    facts.insert("header_bytes".into(), preamble.header_len.into());
                    facts.insert("payload_bytes".into(), preamble.payload_len.into());
                    facts.insert("attributes".into(), json!(header.attributes));
                    facts.insert("buffers".into(), buffers.into());
                }
                return Ok(facts);
            }
            Err(numpush::wire::DecodeError::Truncated { missing }) => {
                let before = bytes.len();
                let more = file.by_ref().take(missing).read_to_end(&mut bytes);
                more.map_err(Failure::file(path, "cannot read"))?;
                if bytes.len() == before {
                    return fault(path, format!("ends {missing} bytes before its header does"));
                }
            }
            Err(error) => return Err(Failure::Numpush(error.into())),
        }
    }
}

fn of_message(message: &Message<'_>) -> Value {
    let body = match &message.body {
        Body::Array(array) => of_body(&HeaderBody::Array {
            dtype: array.dtype().clone(),
            shape: array.shape().into(),
            strides: array.strides().map(Into::into),
        }),
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

fn of_body(body: &HeaderBody) -> Value {
    match body {
        HeaderBody::Array {
            dtype,
            shape,
            strides,
        } => {
            let order = if strides.is_some() { "strided" } else { "C" };
            json!({ "kind": "array", "dtype": dtype.to_string(), "shape": shape, "order": order, "strides": strides })
        }
        HeaderBody::Frame {
            rows,
            columns,
            metadata,
        } => {
            let keys: Vec<&String> = metadata.keys().collect();
            let columns: Vec<Value> = columns.iter().map(of_column_header).collect();
            json!({ "kind": "frame", "rows": rows, "columns": columns, "metadata_keys": keys })
        }
        _ => json!({ "kind": "bytes" }),
    }
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

fn of_npy(path: &Path, from: &mut impl Read) -> Result<Value, Failure> {
    let layout = Layout::read(path, from)?;
    let order = if layout.fortran { "Fortran" } else { "C" };
    let bytes = layout.shape.iter().product::<usize>() * layout.dtype.size();
    Ok(
        json!({ "format": "npy", "kind": "array", "dtype": layout.dtype.to_string(), "shape": layout.shape,
               "order": order, "payload_bytes": bytes }),
    )
}

fn of_npz(path: &Path) -> Result<Value, Failure> {
    let mut archive =
        zip::ZipArchive::new(open(path)?).map_err(Failure::file(path, "is no npz file"))?;
    let mut arrays = Vec::new();
    for index in 0..archive.len() {
        let mut member = archive
            .by_index(index)
            .map_err(Failure::file(path, "cannot read"))?;
        let name = member
            .name()
            .map_err(Failure::file(path, "has a member without a name"))?
            .into_owned();
        let mut facts = of_npy(path, &mut member)?;
        if let Some(facts) = facts.as_object_mut() {
            facts.remove("format");
            facts.insert("name".into(), name.into());
        }
        arrays.push(facts);
    }
    Ok(json!({ "format": "npz", "arrays": arrays }))
}

fn of_parquet(path: &Path) -> Result<Value, Failure> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(open(path)?)
        .map_err(Failure::file(path, "cannot read"))?;
    let rows = builder.metadata().file_metadata().num_rows();
    Ok(
        json!({ "format": "parquet", "kind": "frame", "rows": rows, "columns": fields(builder.schema()) }),
    )
}

fn of_arrow(path: &Path) -> Result<Value, Failure> {
    let reader = arrow_ipc::reader::FileReader::try_new(open(path)?, None)
        .map_err(Failure::file(path, "cannot read"))?;
    Ok(
        json!({ "format": "arrow", "kind": "frame", "batches": reader.num_batches(), "columns": fields(&reader.schema()) }),
    )
}

fn fields(schema: &arrow_schema::Schema) -> Vec<Value> {
    let describe = |field: &arrow_schema::FieldRef| json!({ "name": field.name(), "type": field.data_type().to_string() });
    schema.fields().iter().map(describe).collect()
}
