//! `numpush top`: what processes of this user share, as it changes.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use numpush::shm::list_owners;

use crate::args::Top;
use crate::failure::Failure;
use crate::output::out;
use crate::terminal::{self, Keys};
use crate::{interrupt, shm};

/// How often it looks for keys and signals.
const LOOK: Duration = Duration::from_millis(50);

pub(crate) fn run(args: &Top) -> Result<(), Failure> {
    let pause = Duration::try_from_secs_f64(args.interval).map_err(|_| {
        Failure::Usage(format!(
            "--interval {}: expected a number of seconds from 0 on",
            args.interval
        ))
    })?;
    let is_terminal = std::io::stdout().is_terminal();
    let keys = Keys::new().filter(|_| is_terminal);
    let mut shown = 0;
    loop {
        // Home and clear: ECMA-48, CUP and ED.
        let clear = if is_terminal { "\x1b[H\x1b[2J" } else { "" };
        out!("{clear}{}", page(terminal::size().filter(|_| is_terminal))?)?;
        shown += 1;
        if args.number > 0 && shown >= args.number {
            return Ok(());
        }
        let until = Instant::now() + pause;
        loop {
            // Ctrl-C is one way to leave it.
            if interrupt::check().is_err() || key(keys.as_ref(), until) == Some(b'q') {
                return Ok(());
            }
            if Instant::now() >= until {
                break;
            }
        }
    }
}

/// Waits for a key, for a short time.
fn key(keys: Option<&Keys>, until: Instant) -> Option<u8> {
    let wait = LOOK.min(until.saturating_duration_since(Instant::now()));
    if let Some(keys) = keys {
        return keys.wait(wait.subsec_nanos().into());
    }
    std::thread::sleep(wait);
    None
}

/// What is shared now, cut to the size of a terminal.
fn page(size: Option<(usize, usize)>) -> Result<String, Failure> {
    let owners = list_owners()?;
    let bytes = owners
        .iter()
        .flat_map(|owner| &owner.values)
        .map(|value| value.bytes)
        .sum();
    let values: usize = owners.iter().map(|owner| owner.values.len()).sum();
    let total = format!(
        "{} processes share {values} values, {}\n",
        owners.len(),
        shm::size(bytes)
    );
    let list = shm::list(&owners, size.map(|(width, _)| width));
    let Some((width, rows)) = size else {
        return Ok(total + &list);
    };
    let mut text = String::new();
    for line in std::iter::once(total.trim_end())
        .chain(list.lines())
        .take(rows.max(2) - 1)
    {
        text.extend(line.chars().take(width));
        text.push('\n');
    }
    Ok(text)
}
