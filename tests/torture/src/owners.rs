//! Owners of arrays that are killed, while others have the arrays open.

use std::io::Write;
use std::os::unix::process::parent_id;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ndarray::Ix1;
use nix::sys::signal::Signal;
use numpush::shm::{Arena, Error, Handle, LockError, LockOptions, SharedArray};

use crate::herd::{Victim, doomed, pause};
use crate::outcome::{Inventory, Outcome};
use crate::random::{Random, seed};
use crate::victim::lies;

type Array = SharedArray<u64, Ix1>;

/// Elements of an array.
const LEN: usize = 1 << 12;
/// Bytes of a handle as a victim says it, with spaces at its end.
const WORD: usize = 80;
const PATIENCE: Duration = Duration::from_secs(30);

/// Makes an array, says its handle, and writes it until it is killed. Other arrays come and go beside it.
pub(crate) fn victim() -> ExitCode {
    let (parent, mut random) = (parent_id(), Random::new(seed()));
    let mut write = || {
        let arena = Arena::new(8 << 20);
        let array = Array::zeros(&arena, LEN)?;
        let word = format!("{:WORD$}", array.handle()?.to_string());
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(word.as_bytes()).and_then(|()| out.flush());
        drop(out);
        let whole = if lies() { LEN / 2 } else { LEN };
        for number in 1.. {
            match array.write() {
                Ok(mut held) => held
                    .iter_mut()
                    .take(whole)
                    .for_each(|value| *value = number),
                // The parent that reads never writes, and this is the only writer.
                Err(error) => return Err(error.into()),
            }
            if parent_id() != parent {
                return Ok(());
            }
            // The reader gets its turn, and those that start get the processor.
            std::thread::sleep(Duration::from_micros(random.below(50)));
            if number % 16 == 0 {
                Array::zeros(&arena, LEN)?.handle()?;
            }
        }
        Ok::<(), Error>(())
    };
    match write() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Kills owners. What the parent has open of them stays whole, or is reported as torn and can be repaired; what it opens
/// afterwards is an error at once; and nothing of the dead stays here.
pub(crate) fn torture(
    kills: u64,
    victims: usize,
    mut random: Random,
    plant: bool,
) -> Result<Outcome, Error> {
    let mut outcome = Outcome::default();
    // The first round makes what a client has anyway.
    round(
        &mut Vec::new(),
        victims,
        &mut random,
        plant,
        1,
        &mut outcome,
    )?;
    let inventory = Inventory::take();
    let mut living = Vec::new();
    while outcome.kills < kills && outcome.found_nothing() {
        let most = kills - outcome.kills;
        round(&mut living, victims, &mut random, plant, most, &mut outcome)?;
    }
    for (victim, _, array) in living {
        victim.signal(Signal::SIGKILL, true);
        let _ = victim.end();
        drop(array);
    }
    inventory.settle(&Arena::new(1 << 20), &mut outcome);
    Ok(outcome)
}

type Owner = (Victim, Handle, Array);

fn round(
    living: &mut Vec<Owner>,
    victims: usize,
    random: &mut Random,
    plant: bool,
    most: u64,
    outcome: &mut Outcome,
) -> Result<(), Error> {
    let failed = |source| Error::Io {
        operation: "start a victim",
        source,
    };
    let new: Result<Vec<Victim>, Error> = (living.len()..victims)
        .map(|_| Victim::start("owners", plant).map_err(failed))
        .collect();
    for mut victim in new? {
        let word = victim.hear(WORD);
        let handle: Handle = String::from_utf8_lossy(&word).trim().parse()?;
        let array = Array::open(&handle)?;
        living.push((victim, handle, array));
    }
    let (mut processes, mut values) = (Vec::new(), Vec::new());
    for (victim, handle, array) in living.drain(..) {
        values.push((victim.pid(), handle, array));
        processes.push(victim);
    }
    let done = AtomicBool::new(false);
    let found = Mutex::new(Outcome::default());
    let dying = std::thread::scope(|scope| {
        // Reads while they die.
        scope.spawn(|| {
            let mut seen = Outcome::default();
            while !done.load(Ordering::Relaxed) {
                values
                    .iter()
                    .for_each(|(_, _, array)| look(array, &mut seen));
            }
            if let Ok(mut found) = found.lock() {
                found.add(seen);
            }
        });
        let dying = doomed(&mut processes, random, most);
        pause(random);
        dying
            .iter()
            .for_each(|victim| victim.signal(Signal::SIGKILL, true));
        pause(random);
        done.store(true, Ordering::Relaxed);
        dying
    });
    outcome.add(found.into_inner().unwrap_or_default());
    for victim in dying {
        outcome.kills += 1;
        let pid = victim.pid();
        let (_, status) = victim.end();
        if let Some(code) = status.and_then(|status| status.code()) {
            outcome.fault = Some(format!("a victim ended with code {code}"));
        }
        if let Some(at) = values.iter().position(|value| value.0 == pid) {
            let (_, handle, array) = values.swap_remove(at);
            after_death(&handle, array, outcome);
        }
    }
    for victim in processes {
        if let Some(at) = values.iter().position(|value| value.0 == victim.pid()) {
            let (_, handle, array) = values.swap_remove(at);
            living.push((victim, handle, array));
        }
    }
    Ok(())
}

/// Reads an array, which is whole or reported as torn.
fn look(array: &Array, outcome: &mut Outcome) {
    outcome.reads += 1;
    match array.read_with(LockOptions::new().timeout(PATIENCE)) {
        Ok(held) => outcome.torn += u64::from(held.iter().any(|&value| value != held[0])),
        Err(LockError::Poisoned(_)) => {}
        Err(LockError::Timeout { .. }) => outcome.stuck += 1,
        Err(error) => outcome.fault = Some(error.to_string()),
    }
}

/// What is open of a dead owner can be repaired and used; its handle is stale.
fn after_death(handle: &Handle, array: Array, outcome: &mut Outcome) {
    let options = LockOptions::new().timeout(PATIENCE);
    match array.write_with(options.accept_poison(true)) {
        Ok(mut held) => {
            let is_torn = held.iter().any(|&value| value != held[0]);
            if held.poison().next().is_some() {
                outcome.poisoned += 1;
                outcome.dirty += u64::from(is_torn);
            } else {
                outcome.torn += u64::from(is_torn);
            }
            held.fill(7);
            held.clear_poison();
        }
        Err(LockError::Timeout { .. }) => outcome.stuck += 1,
        Err(error) => outcome.fault = Some(error.to_string()),
    }
    match array.read_with(options) {
        Ok(held) => outcome.lost += u64::from(held.iter().any(|&value| value != 7)),
        Err(_) => outcome.stuck += 1,
    }
    drop(array);
    if !matches!(Array::open(handle), Err(Error::Stale { .. })) {
        outcome.fault = Some("a value of a dead owner was opened".into());
    }
}
