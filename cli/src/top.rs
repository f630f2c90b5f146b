//! `numpush top`: what processes of this user share, as it changes.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use numpush::shm::list_owners;

use crate::args::Top;
use crate::failure::Failure;
use crate::{interrupt, shm};

#[expect(clippy::print_stdout, reason = "what the user asked for")]
pub(crate) fn run(args: &Top) -> Result<(), Failure> {
    let pause = Duration::try_from_secs_f64(args.interval).map_err(|_| {
        Failure::Usage(format!(
            "--interval {}: not a number of seconds",
            args.interval
        ))
    })?;
    let mut shown = 0;
    loop {
        let hosts = list_owners()?;
        let bytes = hosts
            .iter()
            .flat_map(|host| &host.values)
            .map(|value| value.bytes)
            .sum();
        let values: usize = hosts.iter().map(|host| host.values.len()).sum();
        if std::io::stdout().is_terminal() {
            // Home and clear: ECMA-48, CUP and ED.
            print!("\x1b[H\x1b[2J");
        }
        println!(
            "{} processes share {values} values, {}",
            hosts.len(),
            shm::size(bytes)
        );
        print!("{}", shm::list(&hosts));
        shown += 1;
        if args.number > 0 && shown >= args.number {
            return Ok(());
        }
        let until = Instant::now() + pause;
        while Instant::now() < until {
            // Ctrl-C is how it is left.
            if interrupt::check().is_err() {
                return Ok(());
            }
            std::thread::sleep(
                Duration::from_millis(50).min(until.saturating_duration_since(Instant::now())),
            );
        }
    }
}
