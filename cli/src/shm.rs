//! `numpush shm`: what processes of this user share.

use std::time::Duration;

use numpush::shm::{Handle, LockReport, ObjectReport, OwnerReport, list_owners, reap};
use serde_json::json;

use crate::args::Shm;
use crate::failure::Failure;
use crate::output::out;

pub(crate) fn run(command: &Shm) -> Result<(), Failure> {
    match command {
        Shm::Ls { json: true } => out!("{:#}\n", json!(list_owners()?)),
        Shm::Ls { json: false } => out!("{}", list(&list_owners()?, None)),
        Shm::Show { handle } => show(handle),
        Shm::Reap => {
            let reaped = reap()?;
            if reaped.is_empty() {
                return out!(
                    "nothing to reap: no name of ours in /dev/shm is without its process\n"
                );
            }
            reaped
                .iter()
                .try_for_each(|name| out!("reaped /dev/shm/{name}\n"))
        }
    }
}

const TITLES: [&str; 10] = [
    "PID", "HANDLE", "WHAT", "SIZE", "RESIDENT", "AGE", "OPEN IN", "LOCK", "WAITING", "COMMAND",
];

/// Columns that a narrow terminal does without, the least important first.
const DISPENSABLE: [usize; 6] = [9, 5, 4, 8, 6, 3];

/// A line for each value, in at most `width` columns of text if that is given.
pub(crate) fn list(owners: &[OwnerReport], width: Option<usize>) -> String {
    let mut lines = vec![TITLES.map(String::from)];
    for owner in owners {
        lines.extend(owner.values.iter().map(|value| line(owner, value)));
        if !owner.answers {
            let mut cells = TITLES.map(|_| "-".to_owned());
            cells[0] = owner.pid.to_string();
            cells[2] = "does not answer (stopped?)".into();
            cells[9] = owner.command.chars().take(60).collect();
            lines.push(cells);
        }
    }
    let widths = TITLES.iter().enumerate().map(|(at, _)| {
        let cells = lines.iter().map(|line| line[at].chars().count());
        cells.max().unwrap_or(0)
    });
    let widths: Vec<usize> = widths.collect();
    let shown = columns(&widths, width);
    let mut text = String::new();
    for line in lines {
        let cells = shown
            .iter()
            .map(|&at| format!("{:<width$}", line[at], width = widths[at]));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// The columns that fit.
fn columns(widths: &[usize], width: Option<usize>) -> Vec<usize> {
    let mut shown: Vec<usize> = (0..widths.len()).collect();
    let mut dispensable = DISPENSABLE.iter();
    while let Some(width) = width {
        let needed: usize = shown.iter().map(|&at| widths[at] + 2).sum();
        let Some(&least) = dispensable.next().filter(|_| needed > width + 2) else {
            break;
        };
        // The command may be cut to what is left, if that says anything.
        if least == 9 && needed - widths[9] + 12 <= width + 2 {
            break;
        }
        shown.retain(|&at| at != least);
    }
    shown
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
    let readers = |verb: &str| format!("{verb} by {}", pids(&lock.readers));
    let time = |held: &Option<Duration>| held.map(|time| format!(" for {time:.1?}"));
    match (&lock.writer, &lock.poison) {
        (Some((pid, held)), _) if lock.partitioned => {
            let time = time(held).unwrap_or_default();
            format!("in parts by {pid}{time}, {}", readers("worked on"))
        }
        (Some((pid, Some(held))), None) => format!("written by {pid} for {held:.1?}"),
        (Some((pid, None)), None) => format!("held by {pid}"),
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

fn show(handle: &str) -> Result<(), Failure> {
    let handle: Handle = handle
        .parse()
        .map_err(|error: numpush::shm::Error| Failure::Usage(error.to_string()))?;
    let text = handle.to_string();
    for owner in list_owners()? {
        if let Some(value) = owner.values.iter().find(|value| value.handle == text) {
            return out!("{}", details(&owner, value));
        }
    }
    // Reports whether the owner or only the value is gone.
    numpush::shm::SharedValue::open(&handle)?;
    Err(Failure::Usage(format!(
        "{text} cannot be looked up: its owner is in another network namespace"
    )))
}

fn details(owner: &OwnerReport, value: &ObjectReport) -> String {
    let mut lines = vec![
        value.handle.clone(),
        format!(
            "  {}, {} in memory of {}",
            value.what,
            size(value.resident),
            size(value.bytes)
        ),
        format!(
            "  made {:.0?} ago by process {}: {}",
            value.age, owner.pid, owner.command
        ),
        format!("  open in processes {}", pids(&value.open_in)),
    ];
    for (number, one) in value.locks.iter().enumerate() {
        let deaths = one.deaths;
        lines.push(format!(
            "  lock {number}: {}, {deaths} holders died",
            lock(one)
        ));
        lines.extend(one.poison.iter().map(|poison| format!("    {poison}")));
        let inside = |pid: &u32| format!("    process {pid} is inside");
        lines.extend(one.readers.iter().map(inside));
        lines.extend(
            one.waiting
                .iter()
                .map(|pid| format!("    process {pid} waits")),
        );
    }
    lines.join("\n") + "\n"
}
