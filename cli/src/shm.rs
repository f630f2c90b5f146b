//! `numpush shm`: what processes of this user share.

use numpush::shm::{Handle, LockReport, ObjectReport, OwnerReport, list_owners, reap};
use serde_json::json;

use crate::args::Shm;
use crate::failure::Failure;

#[expect(clippy::print_stdout, reason = "what the user asked for")]
pub(crate) fn run(command: &Shm) -> Result<(), Failure> {
    match command {
        Shm::Ls { json } => {
            let hosts = list_owners()?;
            if *json {
                println!("{:#}", json!(hosts));
            } else {
                print!("{}", list(&hosts));
            }
            Ok(())
        }
        Shm::Show { handle } => show(handle),
        Shm::Reap => {
            let reaped = reap()?;
            reaped
                .iter()
                .for_each(|name| println!("reaped /dev/shm/{name}"));
            if reaped.is_empty() {
                println!("nothing to reap: no name of ours in /dev/shm is without its process");
            }
            Ok(())
        }
    }
}

/// A line a value.
pub(crate) fn list(hosts: &[OwnerReport]) -> String {
    let mut lines = vec![
        [
            "PID", "HANDLE", "WHAT", "SIZE", "RESIDENT", "AGE", "OPEN IN", "LOCK", "WAITING",
            "COMMAND",
        ]
        .map(String::from),
    ];
    for host in hosts {
        lines.extend(host.values.iter().map(|value| line(host, value)));
        if !host.answers {
            let what = [
                "-",
                "does not answer (stopped?)",
                "-",
                "-",
                "-",
                "-",
                "-",
                "-",
            ]
            .map(String::from);
            let [handle, what, size, resident, age, open, lock, waiting] = what;
            let (pid, command) = (
                host.pid.to_string(),
                host.command.chars().take(60).collect(),
            );
            lines.push([
                pid, handle, what, size, resident, age, open, lock, waiting, command,
            ]);
        }
    }
    let widths: Vec<usize> = (0..lines[0].len())
        .map(|at| {
            lines
                .iter()
                .map(|line| line[at].chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for line in lines {
        let cells = line
            .iter()
            .zip(&widths)
            .map(|(cell, &width)| format!("{cell:<width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn line(host: &OwnerReport, value: &ObjectReport) -> [String; 10] {
    let waiting: Vec<String> = value
        .locks
        .iter()
        .flat_map(|lock| &lock.waiting)
        .map(ToString::to_string)
        .collect();
    [
        host.pid.to_string(),
        value.handle.clone(),
        value.what.clone(),
        size(value.bytes),
        size(value.resident),
        format!("{:.0?}", value.age),
        pids(&value.open_in),
        value
            .locks
            .iter()
            .map(lock)
            .find(|text| text != "free")
            .unwrap_or_else(|| "free".into()),
        if waiting.is_empty() {
            "-".into()
        } else {
            waiting.join(",")
        },
        host.command.chars().take(60).collect(),
    ]
}

fn pids(pids: &[u32]) -> String {
    if pids.is_empty() {
        return "-".into();
    }
    pids.iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(",")
}

fn lock(lock: &LockReport) -> String {
    let readers = |verb: &str| {
        let all: Vec<u32> = lock.readers.iter().map(|(pid, _)| *pid).collect();
        format!("{verb} by {}", pids(&all))
    };
    match (&lock.writer, &lock.poison) {
        (Some((pid, held)), _) if lock.partitioned => {
            format!("in parts by {pid} for {held:.1?}, {}", readers("worked on"))
        }
        (Some((pid, held)), None) => format!("written by {pid} for {held:.1?}"),
        (_, Some(_)) => "poisoned".into(),
        (None, None) if lock.readers.is_empty() => "free".into(),
        (None, None) => readers("read"),
    }
}

/// Bytes with a unit, to three digits.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
pub(crate) fn size(bytes: usize) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{bytes} B")
    } else {
        format!("{value:.1} {}", units[unit])
    }
}

#[expect(clippy::print_stdout, reason = "what the user asked for")]
fn show(handle: &str) -> Result<(), Failure> {
    let handle: Handle = handle
        .parse()
        .map_err(|error: numpush::shm::Error| Failure::Usage(error.to_string()))?;
    let text = handle.to_string();
    for host in list_owners()? {
        let Some(value) = host.values.iter().find(|value| value.handle == text) else {
            continue;
        };
        println!("{text}");
        println!(
            "  {}, {} in memory of {}",
            value.what,
            size(value.resident),
            size(value.bytes)
        );
        println!(
            "  made {:.0?} ago by process {}: {}",
            value.age, host.pid, host.command
        );
        println!("  open in processes {}", pids(&value.open_in));
        for (number, one) in value.locks.iter().enumerate() {
            println!(
                "  lock {number}: {}, {} holders died",
                lock(one),
                one.deaths
            );
            if let Some(poison) = &one.poison {
                println!("    {poison}");
            }
            one.readers
                .iter()
                .for_each(|(pid, held)| println!("    process {pid} is inside for {held:.1?}"));
            one.waiting
                .iter()
                .for_each(|pid| println!("    process {pid} waits"));
        }
        return Ok(());
    }
    // Says whether the owner or only the value is gone.
    numpush::shm::SharedValue::open(&handle)?;
    Err(Failure::Usage(format!(
        "{text} cannot be looked up: its owner is in another network namespace"
    )))
}
