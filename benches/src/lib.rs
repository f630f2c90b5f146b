//! What the benchmarks share: clocks, medians and rows.
#![forbid(unsafe_code)]

use std::time::Instant;

/// The middle of the values, or nothing of none.
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    quantile(values, 0.5)
}

/// The value that the given share of the values is not above, or nothing of none.
pub fn quantile(values: impl IntoIterator<Item = f64>, share: f64) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index of a short list"
    )]
    let at = (values.len() as f64 * share) as usize;
    values.get(at.min(values.len().saturating_sub(1))).copied()
}

/// Seconds of one call: the median of `rounds` rounds of `calls` calls.
///
/// # Panics
///
/// If `rounds` is 0.
pub fn time(rounds: usize, calls: u32, mut call: impl FnMut()) -> f64 {
    let round = |_| {
        let started = Instant::now();
        (0..calls).for_each(|_| call());
        started.elapsed().as_secs_f64() / f64::from(calls)
    };
    median((0..rounds).map(round)).expect("a round")
}

/// True if this is the run of a test harness, which only wants to know that the benchmark starts.
pub fn is_test() -> bool {
    std::env::args().any(|argument| argument == "--test")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_of_the_list() {
        let values = [3.0, 1.0, 2.0, 5.0, 4.0];
        assert_eq!(median(values), Some(3.0));
        assert_eq!(quantile(values, 0.99), Some(5.0));
        assert_eq!(quantile(values, 0.0), Some(1.0));
        assert_eq!(median([]), None);
    }
}
