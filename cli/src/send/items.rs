//! What is sent: files and shared values, one at a time.

use std::path::Path;

use numpush::Message;
use numpush::shm::SharedValue;

use crate::args::Send;
use crate::failure::Failure;
use crate::format::{self, CsvOptions, Messages};
use crate::output::is_standard;

/// One thing to send.
pub(super) enum Item {
    Read(Message<'static>),
    Shared(SharedValue),
}

/// The things to send, in the order of the arguments. A file is read when its turn comes.
pub(super) struct Items<'a> {
    args: &'a Send,
    csv: CsvOptions,
    names: std::slice::Iter<'a, String>,
    attributes: Vec<(String, String)>,
    /// The file that is being read.
    current: Option<(&'a str, Messages)>,
}

/// An item's name, its attributes, and the item or why it cannot be sent.
pub(super) struct Next<'a> {
    pub(super) name: &'a str,
    pub(super) item: Result<Item, Failure>,
}

impl<'a> Items<'a> {
    pub(super) fn new(args: &'a Send, names: &'a [String]) -> Result<Self, Failure> {
        Ok(Self {
            args,
            csv: args.csv.options(args.text)?,
            names: names.iter(),
            attributes: parse_attributes(&args.attributes)?,
            current: None,
        })
    }

    /// Checks the beginning of each file, so that a fault is known before anything is sent.
    pub(super) fn check(&self) -> Result<(), Failure> {
        self.names
            .clone()
            .filter(|name| !name.starts_with("shm:"))
            .try_for_each(|name| format::check(Path::new(name), self.args.format))
    }

    /// Bytes of all files.
    pub(super) fn bytes(&self) -> u64 {
        self.names.clone().map(|name| size(name)).sum()
    }

    /// The message with its attributes: the name of its file, unless it has one, and those of the command line.
    pub(super) fn with_attributes<'m>(&self, name: &str, mut message: Message<'m>) -> Message<'m> {
        let path = Path::new(name);
        if !message.attributes.contains_key("name")
            && !is_standard(path)
            && !name.starts_with("shm:")
            && let Some(file) = path.file_name()
        {
            message = message.with_attribute("name", file.to_string_lossy());
        }
        self.attributes
            .iter()
            .fold(message, |message, (name, value)| {
                message.with_attribute(name, value)
            })
    }

    fn open(&mut self, name: &'a str) -> Result<Option<Item>, Failure> {
        if name.starts_with("shm:") {
            return Ok(Some(Item::Shared(SharedValue::open(&name.parse()?)?)));
        }
        let messages = format::read(Path::new(name), self.args.format, self.csv)?;
        self.current = Some((name, messages));
        Ok(None)
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Next<'a>;

    fn next(&mut self) -> Option<Next<'a>> {
        loop {
            if let Some((name, messages)) = &mut self.current {
                if let Some(message) = messages.next() {
                    let item = message.map(Item::Read);
                    return Some(Next { name, item });
                }
                self.current = None;
            }
            let name = self.names.next()?;
            match self.open(name) {
                Ok(None) => {}
                Ok(Some(item)) => {
                    return Some(Next {
                        name,
                        item: Ok(item),
                    });
                }
                Err(failure) => {
                    return Some(Next {
                        name,
                        item: Err(failure),
                    });
                }
            }
        }
    }
}

/// Bytes of a file; 0 for what is no file.
pub(super) fn size(name: &str) -> u64 {
    std::fs::metadata(name).map_or(0, |found| found.len())
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
