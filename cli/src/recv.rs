use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use numpush::shm::{Arena, SharedValue};
use numpush::{Connection, Message, Options};

use crate::args::Recv;
use crate::failure::Failure;
use crate::format::{self, Format};
use crate::interrupt;
use crate::progress::Progress;

pub(crate) fn run(args: &Recv) -> Result<(), Failure> {
    let timeout = interrupt::seconds(args.timeout)?;
    let format = args
        .output
        .as_deref()
        .map(|path| Format::of(path, args.format))
        .transpose()?;
    let progress = Progress::new("received", args.json, None);
    let mut inbox = Inbox {
        args,
        format,
        progress,
        count: 0,
        gathered: Vec::new(),
        shared: Vec::new(),
    };
    let options = if args.shm {
        Options::new().allocator(Arena::shared())
    } else {
        Options::new()
    };
    if args.connect {
        let mut connection = options.connect(&args.endpoint)?;
        if let Err(error) = inbox.drain(&mut connection, timeout) {
            return if is_end(&error) {
                inbox.end()
            } else {
                Err(error)
            };
        }
        return inbox.end();
    }
    let mut listener = options.listen(&args.endpoint)?;
    inbox
        .progress
        .say(&format!("listening at {}", listener.address()));
    if args.json {
        inbox
            .progress
            .warn(&format!("listening at {}", listener.address()));
    }
    while !inbox.is_full() {
        let failed = match interrupt::accept(&mut listener, timeout) {
            Ok(mut connection) => inbox.drain(&mut connection, timeout).err(),
            Err(error) => Some(error),
        };
        // One peer that fails or sends rubbish ends its connection, not ours.
        match failed {
            None => {}
            Some(Failure::Numpush(error)) if is_one_peers(&error) => {
                inbox.warn(&error);
            }
            Some(error) => return Err(error),
        }
    }
    inbox.end()
}

/// Errors that concern one connection and leave the others alone.
fn is_one_peers(error: &numpush::Error) -> bool {
    !matches!(
        error,
        numpush::Error::Timeout { .. }
            | numpush::Error::Endpoint(_)
            | numpush::Error::Unsupported { .. }
    )
}

fn is_end(error: &Failure) -> bool {
    matches!(error, Failure::Numpush(numpush::Error::Closed { .. }))
}

struct Inbox<'a> {
    args: &'a Recv,
    format: Option<Format>,
    progress: Progress,
    count: u64,
    /// Arrays that go into one npz.
    gathered: Vec<Message<'static>>,
    /// Values that other processes may open.
    shared: Vec<SharedValue>,
}

impl Inbox<'_> {
    fn is_full(&self) -> bool {
        self.args.number > 0 && self.count >= self.args.number
    }

    /// Takes messages until there are enough or the connection ends, which is an error.
    fn drain(
        &mut self,
        connection: &mut Connection,
        timeout: Option<Duration>,
    ) -> Result<(), Failure> {
        while !self.is_full() {
            let received = interrupt::recv(connection, timeout)?;
            self.count += 1;
            let name = received
                .message
                .attributes
                .get("name")
                .cloned()
                .unwrap_or_else(|| self.count.to_string());
            self.progress
                .moved(&name, &received.message, &received.transfer);
            self.keep(received.message)?;
        }
        Ok(())
    }

    fn keep(&mut self, message: Message<'static>) -> Result<(), Failure> {
        if self.args.shm {
            return self.share(message);
        }
        let (Some(output), Some(format)) = (&self.args.output, self.format) else {
            return Ok(());
        };
        if format == Format::Npz {
            self.gathered.push(message);
            return Ok(());
        }
        let path = if self.count > 1 {
            numbered(output, self.count)
        } else {
            output.clone()
        };
        format::write(&path, format, &[message])
    }

    /// Leaves a message where it landed, for others to open.
    #[expect(clippy::print_stdout, reason = "the handle is what the user asked for")]
    fn share(&mut self, message: Message<'static>) -> Result<(), Failure> {
        let shared = SharedValue::from_message(message)?;
        println!("{}", shared.handle()?);
        self.shared.push(shared);
        Ok(())
    }

    fn warn(&self, error: &numpush::Error) {
        // A peer that closes when it has sent its messages has done nothing wrong.
        if matches!(error, numpush::Error::Closed { .. }) {
            return;
        }
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text.push_str(&format!(": {cause}"));
            source = cause.source();
        }
        self.progress.warn(&text);
    }

    fn end(self) -> Result<(), Failure> {
        if let (Some(output), Some(Format::Npz)) = (&self.args.output, self.format) {
            format::write(output, Format::Npz, &self.gathered)?;
        }
        self.progress.finish();
        let (count, number) = (self.count, self.args.number);
        if count < number {
            let text = format!("the sender closed after {count} of {number} messages");
            return Err(Failure::Format {
                path: PathBuf::from(&self.args.endpoint),
                fault: text,
            });
        }
        if !self.shared.is_empty() {
            // The memory is this process's: it is there as long as the process is.
            interrupt::wait();
        }
        Ok(())
    }
}

/// `out.npy` as `out-2.npy`.
fn numbered(path: &Path, count: u64) -> PathBuf {
    if path == Path::new("-") {
        return path.to_owned();
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path
        .extension()
        .map(|ending| format!(".{}", ending.to_string_lossy()))
        .unwrap_or_default();
    path.with_file_name(format!("{stem}-{count}{extension}"))
}
