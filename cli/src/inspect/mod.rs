//! `numpush inspect`: what a file, a shared value or a message holds.

mod file;
mod message;

use std::fmt::Write as _;
use std::path::Path;
use std::time::Instant;

use numpush::shm::SharedValue;
use serde_json::Value;

use crate::args::Inspect;
use crate::failure::Failure;
use crate::interrupt::{self, STEP};
use crate::output::{is_standard, out};
use crate::{endpoint, format};

use file::of_file;
use message::of_message;

pub(crate) fn run(args: &Inspect) -> Result<(), Failure> {
    let path = Path::new(&args.what);
    let (facts, fault) = if is_standard(path) || path.exists() {
        of_file(path)?
    } else if args.what.starts_with("shm:") {
        let shared = SharedValue::open(&args.what.parse()?)?;
        (shared.with_message(of_message)?, None)
    } else if !args.what.contains(':') {
        // Reports why it cannot be opened.
        format::Input::open(path)?;
        return Ok(());
    } else {
        let endpoint = endpoint::parse(&args.what, &args.options)?;
        if endpoint::is_one_file(&endpoint) && Path::new(endpoint.address()).exists() {
            of_file(Path::new(endpoint.address()))?
        } else {
            (of_endpoint(&endpoint.to_string(), args)?, None)
        }
    };
    if args.json {
        out!("{facts:#}\n")?;
    } else {
        out!("{}", lines(&facts, 0))?;
    }
    fault.map_or(Ok(()), Err)
}

/// Listens for one message.
fn of_endpoint(endpoint: &str, args: &Inspect) -> Result<Value, Failure> {
    let timeout = interrupt::seconds(args.options.timeout)?;
    let began = Instant::now();
    let in_time = || {
        interrupt::check()?;
        match timeout.filter(|&timeout| began.elapsed() >= timeout) {
            Some(after) => Err(Failure::Timeout {
                what: "nothing was received",
                after,
            }),
            None => Ok(()),
        }
    };
    let mut listener = numpush::listen(endpoint)?;
    let mut connection = loop {
        match listener.accept_for(STEP).map_err(Failure::from) {
            Err(failure) if failure.is_timeout() => in_time()?,
            result => break result?,
        }
    };
    connection.set_timeouts(None, Some(STEP));
    loop {
        match connection.recv().map_err(Failure::from) {
            Err(failure) if failure.is_timeout() => in_time()?,
            result => return Ok(of_message(&result?.message)),
        }
    }
}

fn lines(facts: &Value, indent: usize) -> String {
    let mut text = String::new();
    let Some(facts) = facts.as_object() else {
        return text;
    };
    for (name, value) in facts {
        // To write to a String does not fail.
        let _ = match value {
            Value::Array(items) if items.iter().any(Value::is_object) => {
                let _ = writeln!(text, "{:indent$}{name}:", "");
                items.iter().try_for_each(|item| {
                    let words = item.as_object().into_iter().flatten();
                    let words: Vec<String> = words
                        .map(|(key, value)| format!("{key} {}", plain(value)))
                        .collect();
                    writeln!(text, "{:indent$}  {}", "", words.join(", "))
                })
            }
            Value::Object(_) => {
                let _ = writeln!(text, "{:indent$}{name}:", "");
                text.push_str(&lines(value, indent + 2));
                Ok(())
            }
            value => writeln!(text, "{:indent$}{name}: {}", "", plain(value)),
        };
    }
    text
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}
