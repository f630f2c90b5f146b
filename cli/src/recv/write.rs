//! One message to one output.

use std::path::Path;

use numpush::Message;

use super::names::numbered;
use crate::failure::Failure;
use crate::format::{self, CsvOptions, Format};
use crate::output::Output;

/// Writes a message as asked, or as a .np file beside the output: no received message is thrown away.
pub(super) fn write(
    mut output: Output,
    format: Format,
    csv: CsvOptions,
    message: &Message<'static>,
) -> Result<Option<String>, Failure> {
    let path = output.path().to_owned();
    output.begin();
    let failure = match format::write(&path, format, csv, message, &mut output) {
        Ok(()) => return output.commit().map(|()| None),
        Err(failure) => failure,
    };
    drop(output);
    if format == Format::Np {
        return Err(failure);
    }
    beside(&path, message, &failure.chain()).map_err(|_| failure)
}

/// Writes a message as a .np file beside `path`, and returns why and where.
pub(super) fn beside(
    path: &Path,
    message: &Message<'static>,
    why: &str,
) -> Result<Option<String>, Failure> {
    let mut other = path.with_extension("np");
    let mut count = 1;
    while other.exists() {
        count += 1;
        other = numbered(&path.with_extension("np"), count);
    }
    let mut output = Output::create(&other)?;
    output.begin();
    format::write(
        &other,
        Format::Np,
        CsvOptions::default(),
        message,
        &mut output,
    )?;
    output.commit()?;
    Ok(Some(format!("{why}: it is in {} instead", other.display())))
}
