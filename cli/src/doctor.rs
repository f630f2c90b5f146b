//! `numpush doctor`: the limits of this machine that concern sharing, and how to lift them.

use std::fs;

use numpush::shm::{MachineMemory, MachineVersions, machine_memory, machine_versions};
use serde_json::{Value, json};

use crate::args::Doctor;
use crate::failure::Failure;
use crate::output::out;
use crate::shm::size;

/// The result of one check.
struct Finding {
    what: &'static str,
    found: String,
    /// What it limits and how to lift that; none if it limits nothing.
    fix: Option<String>,
}

impl Finding {
    fn fine(what: &'static str, found: String) -> Self {
        Self {
            what,
            found,
            fix: None,
        }
    }

    fn limit(what: &'static str, found: String, fix: &str) -> Self {
        Self {
            what,
            found,
            fix: Some(fix.into()),
        }
    }
}

pub(crate) fn run(args: &Doctor) -> Result<(), Failure> {
    let machine = machine_memory();
    let versions = machine_versions();
    let findings = [
        kernel(&versions),
        c_library(&versions),
        memory(&machine),
        group(&machine),
        shared_folder(&machine),
        descriptors(),
        locked(),
        overcommit(),
        huge_pages(),
        tracing(),
        processors(),
    ];
    if args.json {
        let all: Vec<Value> = findings
            .iter()
            .map(|finding| json!({ "what": finding.what, "found": finding.found, "fix": finding.fix }))
            .collect();
        return out!("{:#}\n", json!(all));
    }
    let mut text = String::new();
    for finding in &findings {
        let mark = if finding.fix.is_some() {
            "limits"
        } else {
            "fine  "
        };
        text.push_str(&format!("{mark}  {:<18} {}\n", finding.what, finding.found));
        if let Some(fix) = &finding.fix {
            text.push_str(&format!("        {:<18} {fix}\n", ""));
        }
    }
    out!("{text}")
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path)
        .ok()
        .map(|text| text.trim().to_owned())
}

fn bytes(number: u64) -> String {
    size(usize::try_from(number).unwrap_or(usize::MAX))
}

/// What a program cannot do on versions before one, from the newest version on.
type Since = &'static [((u32, u32), &'static str)];

const KERNELS: Since = &[
    (
        (5, 14),
        "pages are touched one by one, because only Linux 5.14 maps many at once: the first use of memory is slower",
    ),
    (
        (5, 1),
        "only Linux 5.1 can lend memory that its owner goes on to write: unix connections copy plain arrays",
    ),
    ((4, 18), "numpush is made for Linux 4.18 and newer: update"),
];

const GNU_C_LIBRARIES: Since = &[
    (
        (2, 30),
        "only glibc 2.30 waits for locks by the monotonic clock: a timeout is late when the wall clock is set back",
    ),
    ((2, 28), "numpush is made for glibc 2.28 and newer: update"),
];

fn kernel(versions: &MachineVersions) -> Finding {
    match &versions.kernel {
        Ok(release) => version("kernel", release, KERNELS),
        Err(error) => Finding::limit("kernel", format!("unknown: {error}"), "see uname -r"),
    }
}

fn c_library(versions: &MachineVersions) -> Finding {
    const WHAT: &str = "C library";
    match &versions.gnu_c_library {
        Some(found) => version(WHAT, found, GNU_C_LIBRARIES),
        None => Finding::fine(WHAT, "not glibc".into()),
    }
}

/// The oldest thing that `found` lacks is what matters most.
fn version(what: &'static str, found: &str, since: Since) -> Finding {
    let number = major_and_minor(found);
    let lacks = since.iter().rev().find(|(from, _)| number < *from);
    match lacks {
        Some((_, fix)) => Finding::limit(what, found.into(), fix),
        None => Finding::fine(what, found.into()),
    }
}

/// The first two numbers of a version such as `4.18.0-553.el8`.
fn major_and_minor(version: &str) -> (u32, u32) {
    let mut numbers = version
        .split(|letter: char| !letter.is_ascii_digit())
        .map(|digits| digits.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn memory(machine: &MachineMemory) -> Finding {
    match &machine.available {
        &Ok(available) if available < 1 << 30 => Finding::limit(
            "memory",
            format!("{} can be had without swapping", bytes(available)),
            "an arena takes at most what is available: end other programs, or share less at a time",
        ),
        &Ok(available) => Finding::fine(
            "memory",
            format!("{} can be had without swapping", bytes(available)),
        ),
        Err(error) => Finding::limit("memory", format!("unknown: {error}"), "mount /proc"),
    }
}

fn group(machine: &MachineMemory) -> Finding {
    match machine.group {
        None => Finding::fine("cgroup", "no memory limit".into()),
        Some(group) => Finding::limit(
            "cgroup",
            format!("{} of {} used", bytes(group.used), bytes(group.limit)),
            "shared memory counts, and over the limit the kernel kills: raise memory.max, or give the arena a budget",
        ),
    }
}

fn shared_folder(machine: &MachineMemory) -> Finding {
    const WHAT: &str = "/dev/shm";
    match &machine.named {
        &Ok((total, free)) if free < 64 << 20 => Finding::limit(
            WHAT,
            format!("{} free of {}", bytes(free), bytes(total)),
            "only segments with names lie there (numpush shm reap; mount -o remount,size=1G /dev/shm); all others do not",
        ),
        &Ok((total, free)) => {
            Finding::fine(WHAT, format!("{} free of {}", bytes(free), bytes(total)))
        }
        Err(error) => Finding::limit(WHAT, error.to_string(), "only segments with names need it"),
    }
}

/// A soft and a hard limit of proc_pid_limits(5); `None` is unlimited.
fn limit_of(name: &str) -> Option<(Option<u64>, Option<u64>)> {
    let text = read("/proc/self/limits")?;
    let mut words = text
        .lines()
        .find_map(|line| line.strip_prefix(name))?
        .split_whitespace();
    let mut number = || words.next().map(|word| word.parse().ok());
    Some((number()?, number()?))
}

fn descriptors() -> Finding {
    const WHAT: &str = "descriptors";
    match limit_of("Max open files") {
        Some((Some(soft), hard)) if soft < 256 => Finding::limit(
            WHAT,
            format!("{soft}, and at most {}", number(hard)),
            "a worker, a connection and a segment take one each: ulimit -n 1024",
        ),
        Some((soft, _)) => Finding::fine(WHAT, format!("{} a process", number(soft))),
        None => Finding::limit(WHAT, "unknown".into(), "mount /proc"),
    }
}

fn number(limit: Option<u64>) -> String {
    limit.map_or_else(|| "unlimited".into(), |limit| limit.to_string())
}

fn locked() -> Finding {
    match limit_of("Max locked memory") {
        Some((Some(soft), _)) => Finding::fine(
            "locked memory",
            format!("{} (numpush locks none)", bytes(soft)),
        ),
        _ => Finding::fine("locked memory", "unlimited".into()),
    }
}

fn overcommit() -> Finding {
    match read("/proc/sys/vm/overcommit_memory").as_deref() {
        Some("2") => Finding::limit(
            "overcommit",
            "strict (2)".into(),
            "every mapping counts against the commit limit, once: an arena may be refused early (vm.overcommit_memory=0)",
        ),
        Some(mode) => Finding::fine("overcommit", format!("mode {mode}")),
        None => Finding::fine("overcommit", "unknown".into()),
    }
}

fn huge_pages() -> Finding {
    let text = read("/sys/kernel/mm/transparent_hugepage/shmem_enabled").unwrap_or_default();
    let chosen = text
        .split(['[', ']'])
        .nth(1)
        .unwrap_or("not there")
        .to_owned();
    let reserved = read("/proc/sys/vm/nr_hugepages").unwrap_or_else(|| "0".into());
    let found = format!("of shared memory: {chosen}; reserved: {reserved}");
    if matches!(
        chosen.as_str(),
        "advise" | "always" | "within_size" | "force"
    ) {
        Finding::fine("huge pages", found)
    } else {
        Finding::limit(
            "huge pages",
            found,
            "arenas that ask for them get small pages: echo advise > /sys/kernel/mm/transparent_hugepage/shmem_enabled",
        )
    }
}

fn tracing() -> Finding {
    match read("/proc/sys/kernel/yama/ptrace_scope").as_deref() {
        None => Finding::fine(
            "ptrace scope",
            "classic: processes of one user may read each other".into(),
        ),
        Some(scope) => Finding::fine(
            "ptrace scope",
            format!("{scope} (numpush passes descriptors and traces nobody)"),
        ),
    }
}

fn processors() -> Finding {
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    Finding::fine(
        "processors",
        format!("{count}: more workers than that wait for each other"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_versions_are_named_with_what_they_lack() {
        let fix = |found, since| version("it", found, since).fix;
        assert_eq!(fix("6.18.44-fc-v669", KERNELS), None);
        assert_eq!(fix("5.14.0-427.el9", KERNELS), None);
        assert!(fix("5.10.0", KERNELS).unwrap().contains("5.14"));
        assert!(
            fix("4.18.0-553.el8.x86_64", KERNELS)
                .unwrap()
                .contains("5.1 ")
        );
        assert!(fix("3.10.0", KERNELS).unwrap().contains("update"));
        assert_eq!(fix("2.36", GNU_C_LIBRARIES), None);
        assert!(fix("2.28", GNU_C_LIBRARIES).unwrap().contains("2.30"));
        assert!(fix("2.17", GNU_C_LIBRARIES).unwrap().contains("update"));
    }
}
