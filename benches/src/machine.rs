use std::fmt;

use serde_json::{Value, json};

use crate::args::Args;

/// What ran, and on what: figures mean nothing without it.
pub(crate) struct Machine {
    processor: String,
    processors: usize,
    kernel: String,
    memory_gib: u64,
    /// The options of this run.
    run: String,
}

impl Machine {
    pub(crate) fn of_this_run(args: &Args) -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.map(|rest| rest.trim_start_matches([':', ' ', '\t']).trim().to_owned())
        };
        let kib = field(&read("/proc/meminfo"), "MemTotal");
        let kib = kib.and_then(|value| value.split(' ').next()?.parse::<u64>().ok());
        let (length, rounds) = (if args.full { "full" } else { "quick" }, args.rounds());
        Self {
            processor: field(&read("/proc/cpuinfo"), "model name")
                .unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            // Without what a distribution adds to it.
            kernel: version(&read("/proc/sys/kernel/osrelease")),
            memory_gib: kib.unwrap_or(0) >> 20,
            run: format!("{length}, median of {rounds} rounds"),
        }
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "processor": self.processor,
            "processors": self.processors,
            "kernel": self.kernel,
            "memory_gib": self.memory_gib,
            "run": self.run,
            "optimised": !cfg!(debug_assertions),
        })
    }
}

fn version(release: &str) -> String {
    let end = release.find(|c: char| !c.is_ascii_digit() && c != '.');
    release[..end.unwrap_or(release.len())].to_owned()
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            processor,
            processors,
            kernel,
            memory_gib,
            run,
        } = self;
        write!(
            f,
            "{processors} processors ({processor}), {memory_gib} GiB, Linux {kernel}; {run}"
        )?;
        if cfg!(debug_assertions) {
            f.write_str("; built without --release: the figures mean little")?;
        }
        Ok(())
    }
}
