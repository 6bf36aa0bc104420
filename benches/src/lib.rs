//! Benchmarks of Slackwater. One file, or folder, per question asked, under `benches/`; here is what they share.

#![forbid(unsafe_code)]

pub mod calls;
pub mod modules;
pub mod report;
pub mod session;
pub mod turns;

/// What took how long, turn by turn.
#[derive(Debug, Clone)]
pub struct Timed {
    /// Its name.
    pub name: String,
    /// Nanoseconds, in the order they were measured.
    pub turns: Vec<f64>,
}

impl Timed {
    /// Nothing measured yet.
    #[must_use]
    pub fn new(name: String) -> Self {
        Self {
            name,
            turns: Vec::new(),
        }
    }

    /// The middle of all turns.
    #[must_use]
    pub fn median(&self) -> f64 {
        quantile(&self.turns, 0.5)
    }
}

/// The value below which so much of `values` lies; not a number if there are none.
#[must_use]
pub fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index between both ends"
    )]
    let index = ((sorted.len().saturating_sub(1)) as f64 * part).round() as usize;
    sorted.get(index).copied().unwrap_or(f64::NAN)
}

/// The median of values that were measured one by one, and the interval that holds it with a probability of
/// 95 %, by their order: the binomial distribution's bounds, for thirty values or more.
#[must_use]
pub fn median_interval(values: &[f64]) -> (f64, f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[expect(clippy::cast_precision_loss, reason = "a few values")]
    let count = sorted.len() as f64;
    let reach = 0.98 * count.sqrt() / count.max(1.0);
    let at = |part: f64| quantile(&sorted, part.clamp(0.0, 1.0));
    (at(0.5), at(0.5 - reach), at(0.5 + reach))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_hold_the_median() {
        let values: Vec<_> = (0..41).rev().map(f64::from).collect();
        let (median, low, high) = median_interval(&values);
        assert_eq!(median, 20.0);
        assert_eq!((low, high), (14.0, 26.0));
        assert!(quantile(&[], 0.5).is_nan());
    }
}
