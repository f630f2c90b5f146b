//! Medians, ratios and the table.

use std::fmt::Write as _;

use numpush_benches::median;
use serde_json::{Value, json};

use crate::case::{BATCH, Case, Kind, Payload, Processors, size};
use crate::machine::Machine;
use crate::payload::ROWS;
use crate::run::Sample;

/// A case and what its rounds gave.
pub(crate) struct Row {
    case: Case,
    pub(crate) samples: Vec<Sample>,
    /// Why there is nothing.
    pub(crate) missing: Option<String>,
}

impl Row {
    pub(crate) fn new(case: &Case) -> Self {
        Self {
            case: *case,
            samples: Vec::new(),
            missing: None,
        }
    }

    fn rate(&self) -> Option<f64> {
        median(self.samples.iter().filter_map(|sample| sample.rate))
    }

    /// Seconds that `percent` of the round trips stay within.
    fn trip(&self, percent: usize) -> Option<f64> {
        let at = |trips: &[f64]| trips.get(trips.len() * percent / 100).copied();
        median(self.samples.iter().filter_map(|sample| at(&sample.trips)))
    }

    /// Processor seconds for a gigabyte.
    fn cpu(&self) -> Option<f64> {
        let per_byte = |sample: &Sample| {
            let bytes = sample.payload_len as f64 * self.case.count as f64;
            sample
                .cpu
                .filter(|_| bytes > 1e8)
                .map(|cpu| cpu / bytes * 1e9)
        };
        median(self.samples.iter().filter_map(per_byte))
    }

    /// Peak memory of the receiver over one payload, in bytes.
    fn peak(&self) -> Option<f64> {
        let over = |sample: &Sample| {
            let stats = sample.received.filter(|stats| stats.peak > 0)?;
            // Shared memory that was not touched is not resident.
            Some((stats.peak as f64 - sample.payload_len as f64).max(0.0))
        };
        median(self.samples.iter().filter_map(over))
    }

    /// Payload bytes copied by us on each side, as a share of the payload.
    fn copies(&self) -> Option<(f64, f64)> {
        let sample = self.samples.last()?;
        let share = |copied: u64| copied as f64 / sample.payload_len.max(1) as f64;
        Some((share(sample.sent?.copied), share(sample.received?.copied)))
    }
}

pub(crate) struct Report {
    rows: Vec<Row>,
}

impl Report {
    pub(crate) fn new(rows: Vec<Row>) -> Self {
        Self { rows }
    }

    /// Our figure over that of each baseline in the run: for rates more is better, for round trips less.
    fn ratios(&self, row: &Row) -> Vec<(f64, &'static str)> {
        let mut found = Vec::new();
        for baseline in row.case.route.baselines(row.case.kind, row.case.payload) {
            let is_it = |other: &&Row| {
                other.case.route == *baseline && other.case.is_baseline_of(&row.case)
            };
            let ratio = self
                .rows
                .iter()
                .find(is_it)
                .and_then(|base| match row.case.kind {
                    Kind::Throughput | Kind::Batches | Kind::BothWays => {
                        Some(row.rate()? / base.rate()?)
                    }
                    Kind::RoundTrip => Some(row.trip(50)? / base.trip(50)?),
                });
            found.extend(ratio.map(|ratio| (ratio, baseline.name())));
        }
        found
    }

    pub(crate) fn table(&self) -> String {
        let mut out = String::new();
        let mut last = String::new();
        for row in &self.rows {
            let heading = heading(&row.case);
            if heading != last {
                let _ = writeln!(
                    out,
                    "\n{heading:<32}{:>9}{:>10}{:>10}{:>12}{:>9}{:>10}  of its baseline",
                    "GB/s", "p50 us", "p99 us", "copies s/r", "CPU s/GB", "peak MiB"
                );
                last = heading;
            }
            let _ = writeln!(out, "{}", self.line(row));
        }
        out.push_str(LEGEND);
        out
    }

    fn line(&self, row: &Row) -> String {
        let name = match row.case.kind {
            Kind::RoundTrip => format!("  {}, {}", row.case.route.name(), short(row.case.payload)),
            _ => format!("  {}", row.case.route.name()),
        };
        if row.samples.is_empty() {
            return format!(
                "{name:<32}  not measured: {}",
                row.missing.as_deref().unwrap_or("no round was run")
            );
        }
        let number = |value: Option<f64>, digits: usize| {
            value.map_or(String::new(), |v| format!("{v:.digits$}"))
        };
        let rate = row.rate().map(|rate| rate / 1e9);
        let digits = if rate.is_some_and(|rate| rate < 0.1) {
            4
        } else {
            2
        };
        let copies = row
            .copies()
            .map_or(String::new(), |(s, r)| format!("{s:.1}/{r:.1}"));
        let ratios = self.ratios(row).into_iter();
        let ratios = ratios.map(|(ratio, baseline)| format!("{ratio:.2} of {baseline}"));
        let ratio = ratios.collect::<Vec<_>>().join("; ");
        format!(
            "{name:<32}{:>9}{:>10}{:>10}{copies:>12}{:>9}{:>10}  {ratio}",
            number(rate, digits),
            number(row.trip(50).map(|seconds| seconds * 1e6), 1),
            number(row.trip(99).map(|seconds| seconds * 1e6), 1),
            number(row.cpu(), 2),
            number(row.peak().map(|bytes| bytes / f64::from(1 << 20)), 0),
        )
    }

    pub(crate) fn json(&self, machine: &Machine) -> Value {
        let row = |row: &Row| {
            let (payload, bytes) = match row.case.payload {
                Payload::Array(bytes) => ("array", bytes),
                Payload::Frame => ("frame", row.case.payload.len()),
            };
            let sample = row.samples.last();
            let sent = sample.and_then(|sample| sample.sent);
            let ratios = self.ratios(row);
            let ratio = ratios.first();
            json!({
                "case": row.case.name(),
                "route": row.case.route.name(),
                "payload": payload,
                "bytes": bytes,
                "kind": match row.case.kind {
                    Kind::Throughput => "throughput",
                    Kind::Batches => "batches",
                    Kind::BothWays => "both ways",
                    Kind::RoundTrip => "round trip",
                },
                "processors": match row.case.processors {
                    Processors::Any => "any",
                    Processors::One => "one",
                    Processors::Two => "two",
                },
                "messages": row.case.count,
                "rounds": row.samples.len(),
                "bytes_per_second": row.rate(),
                "round_trip_p50_seconds": row.trip(50),
                "round_trip_p99_seconds": row.trip(99),
                "copied_by_sender": sent.map(|sent| sent.copied),
                "copied_by_receiver": sample.and_then(|sample| sample.received).map(|stats| stats.copied),
                "path": sent.map(|sent| sent.path.name()),
                "reason": sent.map(|sent| sent.reason.name()),
                "cpu_seconds_per_gigabyte": row.cpu(),
                "receiver_peak_over_payload_bytes": row.peak(),
                "baseline": ratio.map(|(_, baseline)| baseline),
                "ratio_to_baseline": ratio.map(|(ratio, _)| ratio),
                "ratios": ratios.iter().map(|(ratio, of)| json!({ "of": of, "ratio": ratio })).collect::<Vec<_>>(),
                "not_measured": row.missing,
            })
        };
        json!({ "machine": machine.json(), "rows": self.rows.iter().map(row).collect::<Vec<_>>() })
    }
}

fn heading(case: &Case) -> String {
    match (case.kind, case.payload, case.processors) {
        (Kind::RoundTrip, _, Processors::One) => "round trips, one processor".to_owned(),
        (Kind::RoundTrip, _, _) => "round trips, two processors".to_owned(),
        (Kind::Batches, payload, _) => format!("{BATCH} of {} a call", size(payload.len())),
        (Kind::BothWays, payload, _) => format!("both ways, arrays of {}", size(payload.len())),
        (_, Payload::Array(bytes), _) => format!("array of {}", size(bytes)),
        (_, Payload::Frame, _) => format!("frame of {ROWS} rows"),
    }
}

const LEGEND: &str = "
GB/s: payload bytes until the receiver has touched every page. Round trips: the same message there and back, the
receiver touching its ends. Copies s/r: payload bytes copied by numpush itself, over the payload, on sending and
receiving. Peak: the receiver's largest resident memory less one payload. A baseline is what the machine does without
numpush, measured in the same run; for rates more of it is better, for round trips less. Both ways: both ends send at once and
then receive; the rate is of both directions together, and its baseline is one direction alone.
";

fn short(payload: Payload) -> String {
    match payload {
        Payload::Array(bytes) => size(bytes),
        Payload::Frame => "frame".to_owned(),
    }
}
