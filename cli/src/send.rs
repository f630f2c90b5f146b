use std::path::Path;

use numpush::shm::SharedValue;
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
    let mut parcels = Vec::new();
    for file in files {
        if file.starts_with("shm:") {
            parcels.push((
                file.as_str(),
                Parcel::Shared(SharedValue::open(&file.parse()?)?),
            ));
            continue;
        }
        for message in format::read(Path::new(file), args.format)? {
            parcels.push((
                file.as_str(),
                Parcel::Read(with_attributes(message, &attributes)),
            ));
        }
    }
    let options = Options::new();
    let mut connection = if args.listen {
        let mut listener = options.listen(endpoint)?;
        interrupt::accept(&mut listener, timeout)?
    } else {
        options.connect(endpoint)?
    };
    connection.set_timeouts(timeout, timeout);
    let total = parcels.iter().map(|(_, parcel)| parcel.len()).sum();
    let progress = Progress::new("sent", args.json, total);
    for (name, parcel) in &parcels {
        interrupt::check()?;
        let mut send = |message: &Message<'_>| -> Result<(), Failure> {
            let transfer = connection.send(message)?;
            progress.moved(name, message, &transfer);
            Ok(())
        };
        match parcel {
            Parcel::Read(message) => send(message)?,
            // Readers may go on; a writer waits until the peer has it all.
            Parcel::Shared(shared) => shared.with_message(|message| {
                let message = with_attributes(message.clone(), &attributes);
                send(&message)
            })??,
        }
    }
    connection.close()?;
    progress.finish();
    Ok(())
}

/// What is sent: a message read from a file, or a value that other processes have open.
enum Parcel {
    Read(Message<'static>),
    Shared(SharedValue),
}

impl Parcel {
    /// Bytes of its payload, if that is known before it is locked.
    fn len(&self) -> Option<u64> {
        match self {
            Self::Read(message) => Some(message.payload_len()),
            Self::Shared(_) => None,
        }
    }
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

fn with_attributes<'m>(message: Message<'m>, attributes: &[(String, String)]) -> Message<'m> {
    attributes.iter().fold(message, |message, (name, value)| {
        message.with_attribute(name, value)
    })
}
