use std::path::Path;

use numpush::{Message, Options};

use crate::args::Send;
use crate::failure::Failure;
use crate::format;
use crate::interrupt;
use crate::progress::Progress;

pub(crate) fn run(args: &Send) -> Result<(), Failure> {
    let [files @ .., endpoint] = args.files_and_endpoint.as_slice() else {
        return Err(Failure::Usage("send wants files and an endpoint".into()));
    };
    check_endpoint(endpoint)?;
    let timeout = interrupt::seconds(args.timeout)?;
    let attributes = parse_attributes(&args.attributes)?;
    // All files are read before anything is sent: a file that cannot be read must not leave half a transfer behind.
    let mut messages = Vec::new();
    for file in files {
        for message in format::read(Path::new(file), args.format)? {
            messages.push((file.as_str(), with_attributes(message, &attributes)));
        }
    }
    let options = Options::default();
    let mut connection = if args.listen {
        let mut listener = numpush::listen_with(endpoint, &options)?;
        interrupt::accept(&mut listener, timeout)?
    } else {
        numpush::connect_with(endpoint, &options, numpush::Heap::new())?
    };
    connection.set_timeouts(timeout, timeout);
    let total = messages.iter().map(|(_, message)| message.payload_len()).sum();
    let progress = Progress::new("sent", args.json, Some(total));
    for (name, message) in &messages {
        interrupt::check()?;
        let transfer = connection.send(message)?;
        progress.moved(name, message, &transfer);
    }
    connection.close()?;
    progress.finish();
    Ok(())
}

/// The endpoint stands last; a user who forgot it gave a file there.
fn check_endpoint(endpoint: &str) -> Result<(), Failure> {
    match endpoint.parse::<numpush::Endpoint>() {
        Err(error) if Path::new(endpoint).exists() => Err(Failure::Usage(format!(
            "the last argument, {endpoint}, is a file, and the endpoint belongs there: {error}"
        ))),
        Err(error) => Err(Failure::Numpush(error.into())),
        Ok(_) => Ok(()),
    }
}

fn parse_attributes(pairs: &[String]) -> Result<Vec<(String, String)>, Failure> {
    let parse = |pair: &String| {
        let (name, value) = pair
            .split_once('=')
            .ok_or_else(|| Failure::Usage(format!("--attribute {pair}: expected NAME=VALUE")))?;
        Ok((name.to_owned(), value.to_owned()))
    };
    pairs.iter().map(parse).collect()
}

fn with_attributes(message: Message<'static>, attributes: &[(String, String)]) -> Message<'static> {
    attributes.iter().fold(message, |message, (name, value)| message.with_attribute(name, value))
}
