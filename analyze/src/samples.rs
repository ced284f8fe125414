use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Up to so many values are kept as they are; most statements of a day never run more often.
const FEW: usize = 64;

/// Times in nanoseconds: exact while they are few, a histogram beyond that.
///
/// At most 16 KiB with two significant digits, so that thousands of statements fit into memory.
#[derive(Clone, Debug)]
pub(crate) struct Samples {
    digits: u8,
    few: Vec<u64>,
    many: Option<Box<Histogram<u32>>>,
    count: u64,
    mean: f64,
    /// Sum of squared distances from the mean.
    m2: f64,
    max: u64,
}

/// What a reader wants to know of a set of times, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub count: u64,
    pub total_ns: u64,
    pub mean_ns: u64,
    pub p50_ns: u64,
    pub p90_ns: u64,
    pub p99_ns: u64,
    pub p999_ns: u64,
    pub max_ns: u64,
}

/// A mean alone, where thousands of further histograms would be too many.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mean {
    count: u64,
    total_ns: u64,
}

impl Mean {
    pub fn record(&mut self, ns: u64) {
        self.count += 1;
        self.total_ns = self.total_ns.saturating_add(ns);
    }

    pub fn absorb(&mut self, other: Mean) {
        self.count += other.count;
        self.total_ns = self.total_ns.saturating_add(other.total_ns);
    }

    /// `None` of nothing.
    pub fn ns(&self) -> Option<u64> {
        self.total_ns.checked_div(self.count)
    }
}

impl Samples {
    /// Two significant digits in the histogram.
    pub fn coarse() -> Samples {
        Samples::with_digits(2)
    }

    /// Three significant digits in the histogram.
    pub fn fine() -> Samples {
        Samples::with_digits(3)
    }

    fn with_digits(digits: u8) -> Samples {
        Samples {
            digits,
            few: Vec::new(),
            many: None,
            count: 0,
            mean: 0.0,
            m2: 0.0,
            max: 0,
        }
    }

    pub fn record(&mut self, ns: u64) {
        self.count += 1;
        // Welford's update (1962).
        let distance = ns as f64 - self.mean;
        self.mean += distance / self.count as f64;
        self.m2 += distance * (ns as f64 - self.mean);
        self.max = self.max.max(ns);
        self.store(ns, 1);
    }

    fn store(&mut self, ns: u64, times: u32) {
        if self.many.is_none() && self.few.len() + times as usize > FEW {
            // Fails only for more than five digits.
            self.many = Histogram::new(self.digits).ok().map(Box::new);
            for early in std::mem::take(&mut self.few) {
                self.store(early, 1);
            }
        }
        match &mut self.many {
            // The histogram grows to any value, so that this does not fail.
            Some(histogram) => histogram.record_n(ns, times).unwrap_or_default(),
            None => self.few.extend(std::iter::repeat_n(ns, times as usize)),
        }
    }

    pub fn absorb(&mut self, other: &Samples) {
        if other.count == 0 {
            return;
        }
        // Chan, Golub and LeVeque (1979): the moments of two sets taken together.
        let (mine, theirs) = (self.count as f64, other.count as f64);
        let distance = other.mean - self.mean;
        self.count += other.count;
        self.mean += distance * theirs / (mine + theirs);
        self.m2 += other.m2 + distance * distance * mine * theirs / (mine + theirs);
        self.max = self.max.max(other.max);
        for &ns in &other.few {
            self.store(ns, 1);
        }
        if let Some(histogram) = &other.many {
            for step in histogram.iter_recorded() {
                self.store(step.value_iterated_to(), step.count_at_value());
            }
        }
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// Of the sample, with `n - 1`; 0 below two values.
    pub fn variance(&self) -> f64 {
        if self.count < 2 {
            0.0
        } else {
            self.m2 / (self.count - 1) as f64
        }
    }

    pub fn total_ns(&self) -> f64 {
        self.mean * self.count as f64
    }

    pub fn max(&self) -> u64 {
        self.max
    }

    /// The smallest value with at least the share `q` of all values at or below it (nearest rank).
    pub fn quantile(&self, q: f64) -> u64 {
        if let Some(histogram) = &self.many {
            return histogram.value_at_quantile(q).min(self.max);
        }
        let mut sorted = self.few.clone();
        sorted.sort_unstable();
        let rank = (q * sorted.len() as f64).ceil() as usize;
        sorted
            .get(rank.saturating_sub(1))
            .copied()
            .unwrap_or_default()
    }

    /// How many are surely above `ns`: what shares a bucket with it counts as not above.
    pub fn above(&self, ns: u64) -> u64 {
        match &self.many {
            Some(histogram) => histogram.len() - histogram.count_between(0, ns),
            None => self.few.iter().filter(|&&value| value > ns).count() as u64,
        }
    }

    /// How many values the order statistic behind [`Samples::quantile`] leaves at or above it.
    pub fn beyond(&self, q: f64) -> u64 {
        let rank = (q * self.count as f64).ceil().max(1.0) as u64;
        self.count.saturating_sub(rank) + u64::from(self.count > 0)
    }

    pub fn summary(&self) -> Summary {
        Summary {
            count: self.count,
            total_ns: self.total_ns().round() as u64,
            mean_ns: self.mean.round() as u64,
            p50_ns: self.quantile(0.5),
            p90_ns: self.quantile(0.9),
            p99_ns: self.quantile(0.99),
            p999_ns: self.quantile(0.999),
            max_ns: self.max,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn samples(values: impl IntoIterator<Item = u64>) -> Samples {
        let mut samples = Samples::coarse();
        values.into_iter().for_each(|value| samples.record(value));
        samples
    }

    #[test]
    fn few_are_exact() {
        let ten = samples((1..=10).rev());
        let summary = ten.summary();
        assert_eq!((summary.p50_ns, summary.p90_ns), (5, 9));
        assert_eq!((summary.p99_ns, summary.max_ns), (10, 10));
        assert_eq!((summary.mean_ns, summary.total_ns), (6, 55));
        assert_eq!((ten.above(7), ten.beyond(0.5)), (3, 6));
        assert!((ten.variance() - 55.0 / 6.0).abs() < 1e-9);
    }

    #[test]
    fn none_are_zero() {
        assert_eq!(samples([]).summary(), Summary::default());
    }

    #[test]
    fn many_are_within_a_hundredth() {
        let many = samples((1..=10_000).map(|n| n * 1_000));
        for (quantile, truth) in [(0.5, 5e6), (0.99, 9.9e6), (0.999, 9.99e6)] {
            let got = many.quantile(quantile) as f64;
            assert!(
                (got / truth - 1.0).abs() < 0.01,
                "{quantile}: {got} for {truth}"
            );
        }
        assert_eq!(many.max(), 10_000_000);
    }

    proptest! {
        #[test]
        fn taken_together_is_as_taken_one_by_one(
            left in prop::collection::vec(0..1u64 << 40, 0..200),
            right in prop::collection::vec(0..1u64 << 40, 0..200),
        ) {
            let whole = samples(left.iter().chain(&right).copied());
            let mut sum = samples(left);
            sum.absorb(&samples(right));
            prop_assert_eq!(sum.count(), whole.count());
            prop_assert!((sum.mean() - whole.mean()).abs() <= whole.mean() * 1e-9);
            prop_assert!((sum.variance() - whole.variance()).abs() <= whole.variance() * 1e-6);
            for q in [0.5, 0.9, 0.99] {
                let (a, b) = (sum.quantile(q) as f64, whole.quantile(q) as f64);
                prop_assert!((a - b).abs() <= b * 0.02, "{} {}", a, b);
            }
        }

        #[test]
        fn above_is_careful(values in prop::collection::vec(0..1u64 << 40, 1..300), at in 0..1u64 << 40) {
            let truth = values.iter().filter(|&&value| value > at).count() as u64;
            prop_assert!(samples(values).above(at) <= truth);
        }
    }
}
