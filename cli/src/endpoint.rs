//! Endpoints, with options of the command line as their parameters.

use std::time::Duration;

use numpush::transfer::Scheme;
use numpush::{Endpoint, Options};

use crate::args::Connect;
use crate::failure::Failure;

/// The endpoint, with the options as its parameters.
pub(crate) fn parse(text: &str, options: &Connect) -> Result<Endpoint, Failure> {
    let mut text = text.to_owned();
    let max = options.max.map(|max| format!("max={max}"));
    let checksums = options
        .checksums
        .as_ref()
        .map(|on| format!("checksums={on}"));
    for parameter in max.into_iter().chain(checksums) {
        text.push(if text.contains('?') { '&' } else { '?' });
        text.push_str(&parameter);
    }
    let endpoint = text.parse().map_err(numpush::Error::from)?;
    Ok(endpoint)
}

/// Options of a connection that waits for its peer for at most `timeout`.
pub(crate) fn connect_within(timeout: Option<Duration>) -> Options {
    let options = Options::new();
    match timeout {
        Some(timeout) if timeout < LONGEST_CONNECT => options.connect_timeout(timeout),
        _ => options,
    }
}

/// How long a connect waits for the other side to appear: the library's default. A shorter `--timeout` limits it.
const LONGEST_CONNECT: Duration = Duration::from_secs(5);

/// True for an endpoint that is one file of one message.
pub(crate) fn is_one_file(endpoint: &Endpoint) -> bool {
    let address = endpoint.address();
    let is_folder = address.ends_with('/') || std::path::Path::new(address).is_dir();
    endpoint.scheme() == Scheme::File && !is_folder
}

/// True for an endpoint at which nobody can know that a sender is done.
pub(crate) fn is_endless(endpoint: &Endpoint) -> bool {
    matches!(endpoint.scheme(), Scheme::ZmqTcp | Scheme::ZmqIpc)
}
