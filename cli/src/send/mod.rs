//! `numpush send`: sends files and shared values.

mod items;

use std::mem::ManuallyDrop;
use std::path::Path;
use std::time::{Duration, Instant};

use numpush::{Connection, Message};

use crate::args::Send;
use crate::endpoint;
use crate::failure::Failure;
use crate::interrupt::{self, Cancels, STEP};
use crate::progress::Progress;

use items::{Item, Items, Next};

pub(crate) fn run(args: &Send) -> Result<(), Failure> {
    let (files, endpoint) = split(args)?;
    let timeout = interrupt::seconds(args.connect.timeout)?;
    let endpoint = endpoint::parse(endpoint, &args.connect)?.to_string();
    let mut items = Items::new(args, files)?;
    if !args.keep_going {
        items.check()?;
    }
    let progress = Progress::new("sent", args.json, Some(items.bytes()));
    // The first file is read before anybody is asked to wait for it.
    let mut first = items.next();
    if !args.keep_going
        && let Some(Next { item: Err(_), .. }) = &first
        && let Some(Next {
            item: Err(failure), ..
        }) = first
    {
        return Err(failure);
    }
    // A sender that fails must not look like one that is done. A dropped connection closes in good order, so it is not dropped.
    let mut connection = ManuallyDrop::new(connect(args, &endpoint, timeout)?);
    connection.set_timeouts(timeout, timeout);
    let _cancels = Cancels::calls_of(&connection);
    let (mut sent, mut failed) = (0_u64, 0_u64);
    while let Some(Next { name, item }) = first.take().or_else(|| items.next()) {
        interrupt::check()?;
        let result = item.and_then(|item| send(&mut connection, &items, name, item, &progress));
        if result.is_err() {
            // It may be the signal's.
            interrupt::check()?;
        }
        match result {
            Ok(()) => sent += 1,
            Err(failure) if args.keep_going && is_items(&failure) => {
                progress.skip(items::size(name));
                progress.warn(&failure.chain());
                failed += 1;
            }
            Err(failure) => return Err(in_time(failure, timeout)),
        }
    }
    let closed = ManuallyDrop::into_inner(connection).close();
    if let Err(error) = closed {
        interrupt::check()?;
        return Err(in_time(error.into(), timeout));
    }
    progress.finish();
    if failed > 0 {
        let text = format!("{failed} of {} messages were not sent", sent + failed);
        return Err(Failure::Partial(text));
    }
    Ok(())
}

/// Files, and the endpoint that stands last.
fn split(args: &Send) -> Result<(&[String], &str), Failure> {
    let [files @ .., endpoint] = args.files_and_endpoint.as_slice() else {
        return Err(Failure::Usage("send: name files and an endpoint".into()));
    };
    match endpoint.parse::<numpush::Endpoint>() {
        Err(error) if Path::new(endpoint).exists() => Err(Failure::Usage(format!(
            "the last argument, {endpoint}, is a file, and the endpoint belongs there: {error}"
        ))),
        Err(error) => Err(Failure::Numpush(numpush::Error::from(error))),
        Ok(_) if files.is_empty() => Err(Failure::Usage(format!(
            "send: name at least one file before {endpoint}"
        ))),
        Ok(_) => Ok((files, endpoint)),
    }
}

fn connect(args: &Send, endpoint: &str, timeout: Option<Duration>) -> Result<Connection, Failure> {
    if !args.listen {
        return Ok(endpoint::connect_within(timeout).connect(endpoint)?);
    }
    let mut listener = numpush::listen(endpoint)?;
    let began = Instant::now();
    loop {
        interrupt::check()?;
        let accepted = listener.accept_for(STEP).map_err(Failure::from);
        while let Some(refused) = listener.take_refused() {
            warn(&refused.into());
        }
        match accepted {
            Err(failure) if failure.is_timeout() => {}
            // What one peer did ends nothing.
            Err(failure) if !failure.ends_the_listener() => warn(&failure),
            result => return result,
        }
        if let Some(after) = timeout.filter(|&timeout| began.elapsed() >= timeout) {
            let what = "nobody connected";
            return Err(Failure::Timeout { what, after });
        }
    }
}

#[expect(clippy::print_stderr, reason = "a warning belongs there")]
fn warn(failure: &Failure) {
    eprintln!("numpush: {}", failure.chain());
}

fn send(
    connection: &mut Connection,
    items: &Items<'_>,
    name: &str,
    item: Item,
    progress: &Progress,
) -> Result<(), Failure> {
    let mut send = |message: &Message<'_>| -> Result<(), Failure> {
        let following = progress.follow(connection.meter(), message.payload_len());
        let transfer = connection.send(message)?;
        drop(following);
        progress.moved(&progress.report(name, message, &transfer), transfer.bytes)
    };
    match item {
        Item::Read(message) => send(&items.with_attributes(name, message)),
        // Under the read lock others may read; a writer waits until the peer has everything.
        Item::Shared(shared) => {
            shared.with_message(|message| send(&items.with_attributes(name, message.clone())))?
        }
    }
}

/// True if the next message may be sent all the same.
fn is_items(failure: &Failure) -> bool {
    match failure.connection() {
        Some(error) => error.is_recoverable() && !failure.is_timeout(),
        None => !matches!(
            failure,
            Failure::Closed | Failure::Interrupted | Failure::Terminated
        ),
    }
}

/// A timeout in the words and figures of the user.
fn in_time(failure: Failure, timeout: Option<Duration>) -> Failure {
    match timeout {
        Some(after) if failure.is_timeout() => Failure::Timeout {
            what: "the other side took nothing",
            after,
        },
        _ => failure,
    }
}
