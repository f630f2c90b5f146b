//! Makers of named memory that are killed.

use std::fs;
use std::io::Write;
use std::os::unix::process::parent_id;
use std::process::ExitCode;
use std::time::Duration;

use nix::sys::signal::Signal;
use numpush::shm::{Arena, Error, NamedMemory, reap};

use crate::herd::{Victim, doomed, pause};
use crate::outcome::{Inventory, Outcome};
use crate::random::{Random, seed};

/// Bytes of each memory.
const LEN: usize = 10_000;
const FOLDER: &str = "/dev/shm";

/// Makes memory with names, and lets go of it, until it is killed.
pub(crate) fn victim() -> ExitCode {
    let parent = parent_id();
    let mut random = Random::new(seed());
    let mut kept = Vec::new();
    for number in 0_u64.. {
        let name = format!("torture-{parent}-{}-{number}", std::process::id());
        let Ok(memory) = NamedMemory::create(&name, LEN) else {
            return ExitCode::FAILURE;
        };
        for cell in memory.cells::<u64>().unwrap_or(&[]) {
            cell.set(number);
        }
        kept.push(memory);
        if kept.len() > 3 {
            kept.remove(0);
        }
        if parent_id() != parent {
            return ExitCode::SUCCESS;
        }
        // Else the victims that live leave nothing of the processor to those that start.
        std::thread::sleep(Duration::from_micros(random.below(200)));
        if number == 0 {
            let mut out = std::io::stdout().lock();
            let _ = out.write_all(b"+").and_then(|()| out.flush());
        }
    }
    ExitCode::SUCCESS
}

/// Kills makers, and looks whether every name there is has its whole memory, and whether the names of the dead, and only
/// those, can be removed.
pub(crate) fn torture(
    kills: u64,
    victims: usize,
    mut random: Random,
    plant: bool,
) -> Result<Outcome, Error> {
    let prefix = format!("np.torture-{}-", std::process::id());
    let failed = |source| Error::Io {
        operation: "start a victim",
        source,
    };
    let inventory = Inventory::take();
    let mut outcome = Outcome::default();
    let mut living = Vec::new();
    while outcome.kills < kills && outcome.found_nothing() {
        while living.len() < victims {
            living.push(Victim::start("names", plant).map_err(failed)?);
        }
        for victim in &mut living {
            victim.hear(1);
        }
        let dying = doomed(&mut living, &mut random, kills - outcome.kills);
        pause(&mut random);
        dying
            .iter()
            .for_each(|victim| victim.signal(Signal::SIGKILL, true));
        outcome.reads += count(&prefix, &mut outcome.torn);
        for victim in dying {
            outcome.kills += 1;
            let (_, status) = victim.end();
            if let Some(code) = status.and_then(|status| status.code()) {
                outcome.fault = Some(format!("a victim ended with code {code}"));
            }
        }
        if plant {
            continue;
        }
        for name in reap()? {
            outcome.writes += 1;
            let of_living =
                |victim: &Victim| name.starts_with(&format!("{prefix}{}-", victim.pid()));
            outcome.lost += u64::from(living.iter().any(of_living));
        }
    }
    for victim in living {
        victim.signal(Signal::SIGKILL, true);
        let _ = victim.end();
    }
    if !plant {
        reap()?;
    }
    inventory.settle(&Arena::new(1 << 20), &mut outcome);
    outcome.leaked_names = count(&prefix, &mut outcome.torn);
    // What a planted fault leaves goes too.
    reap()?;
    Ok(outcome)
}

/// The number of names of victims. One whose memory is not whole is torn.
fn count(prefix: &str, torn: &mut u64) -> u64 {
    let names = fs::read_dir(FOLDER).into_iter().flatten().flatten();
    let ours = names.filter(|name| name.file_name().to_string_lossy().starts_with(prefix));
    let mut number = 0;
    for name in ours {
        number += 1;
        // It may go just now.
        let is_short = name.metadata().is_ok_and(|data| data.len() < LEN as u64);
        *torn += u64::from(is_short);
    }
    number
}
