//! Tests of significance. Everything is one-sided: is the new one *greater*?

/// The chance to see `beyond` or more of `new_count` new values beyond the old values' order
/// statistic that has `old_beyond` of `old_count` old values at or above it, if both came from the
/// same distribution.
///
/// The number of exceedances is beta-binomial whatever that distribution is (Epstein, "Tables for
/// the distribution of the number of exceedances", 1954; Nelson's precedence test, 1963). It tests
/// the very quantile that a gate names, where a test of location such as Mann-Whitney's would
/// answer for the middle: a shift of 2 % in the median is no evidence for a doubled p99.
pub(crate) fn exceedance(old_count: u64, old_beyond: u64, new_count: u64, beyond: u64) -> f64 {
    if beyond == 0 || old_beyond == 0 || old_beyond > old_count {
        return 1.0;
    }
    let (a, b) = (old_beyond as f64, (old_count - old_beyond + 1) as f64);
    let n = new_count as f64;
    if beyond as f64 <= n * a / (a + b) {
        // Not more than expected: no evidence, and summing so many terms would take long.
        return 1.0;
    }
    let mut k = beyond as f64;
    let mut term = (ln_choose(n, k) + ln_beta(k + a, n - k + b) - ln_beta(a, b)).exp();
    let mut sum = 0.0;
    while k <= n && term > sum * 1e-12 {
        sum += term;
        term *= (n - k) * (k + a) / ((k + 1.0) * (n - k - 1.0 + b));
        k += 1.0;
    }
    sum.min(1.0)
}

/// The chance to see a mean so far above `bar`, if the new mean were at the bar (Welch, 1947, with
/// the normal distribution: each side has 30 values or more).
pub(crate) fn mean_above(bar: f64, bar_variance: f64, mean: f64, variance: f64) -> f64 {
    let deviation = (bar_variance + variance).sqrt();
    if deviation > 0.0 {
        0.5 * erfc((mean - bar) / deviation / std::f64::consts::SQRT_2)
    } else if mean > bar {
        0.0
    } else {
        1.0
    }
}

/// The chance that of all so many or more fall to `one`, if each were as likely to fall to the `other` (sign
/// test).
pub(crate) fn sign(one: u64, other: u64) -> f64 {
    at_least(one, one + other, 0.5)
}

/// The chance that in all of these pairs together so much falls to the first ones, if each were as likely to fall to
/// the other. Each pair has the same say (Stouffer, 1949): one of thousands, half and half, hides no others.
///
/// It is the normal distribution's, by at most 3.18 times less (Bentkus and Dzindzalieta, "A tight Gaussian bound
/// for weighted sums of Rademacher random variables", 2015).
pub(crate) fn signs(pairs: impl Iterator<Item = [u64; 2]>) -> f64 {
    let (mut sum, mut variance) = (0.0, 0.0);
    for [one, other] in pairs {
        sum += (one as f64 - other as f64) / ((one + other) as f64).sqrt();
        variance += 1.0;
    }
    (3.18 * mean_above(0.0, variance, sum, 0.0)).min(1.0)
}

/// The chance that `times` or more of `count` requests have noise in one run and none has in the other, where any
/// has, and each has it with the chance `rate`.
pub(crate) fn spared(times: u64, count: u64, rate: f64) -> f64 {
    let ln_none = count as f64 * (-rate).ln_1p();
    ln_none.exp() * at_least(times, count, rate) / -(2.0 * ln_none).exp_m1()
}

/// The chance of so many or more of `count`, if each has the chance `rate` (binomial distribution).
fn at_least(times: u64, count: u64, rate: f64) -> f64 {
    let (n, mut k) = (count as f64, times as f64);
    if k <= n * rate {
        // Not more than expected: no evidence, and summing so many terms would take long.
        return 1.0;
    }
    let mut term = (ln_choose(n, k) + k * rate.ln() + (n - k) * (-rate).ln_1p()).exp();
    let mut sum = 0.0;
    while k <= n && term > sum * 1e-12 {
        sum += term;
        term *= (n - k) / (k + 1.0) * rate / (1.0 - rate);
        k += 1.0;
    }
    sum.min(1.0)
}

/// Which of the chances stay below `alpha` when all of them are asked at once (Holm, 1979).
pub(crate) fn holm(chances: &[f64], alpha: f64) -> Vec<bool> {
    let mut order: Vec<(usize, f64)> = chances.iter().copied().enumerate().collect();
    order.sort_by(|a, b| a.1.total_cmp(&b.1));
    let mut significant = vec![false; chances.len()];
    for (rank, (index, chance)) in order.into_iter().enumerate() {
        if chance > alpha / (chances.len() - rank) as f64 {
            break;
        }
        if let Some(slot) = significant.get_mut(index) {
            *slot = true;
        }
    }
    significant
}

fn ln_choose(n: f64, k: f64) -> f64 {
    ln_gamma(n + 1.0) - ln_gamma(k + 1.0) - ln_gamma(n - k + 1.0)
}

fn ln_beta(a: f64, b: f64) -> f64 {
    ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b)
}

/// Stirling's series, for `x` of 1 or more; good to 1e-12.
fn ln_gamma(x: f64) -> f64 {
    let mut shifted = x;
    let mut product = 1.0;
    while shifted < 12.0 {
        product *= shifted;
        shifted += 1.0;
    }
    let inverse = 1.0 / shifted;
    let square = inverse * inverse;
    let series =
        inverse * (1.0 / 12.0 - square * (1.0 / 360.0 - square * (1.0 / 1260.0 - square / 1680.0)));
    (shifted - 0.5) * shifted.ln() - shifted + 0.5 * std::f64::consts::TAU.ln() + series
        - product.ln()
}

/// Complementary error function: its power series near 0, its continued fraction (Lentz) beyond.
fn erfc(x: f64) -> f64 {
    if x < 0.0 {
        return 2.0 - erfc(-x);
    }
    let scale = (-x * x).exp() / std::f64::consts::PI.sqrt();
    if x < 2.0 {
        let (mut term, mut sum, mut n) = (x, x, 0.0);
        while term > sum * 1e-16 {
            n += 1.0;
            term *= 2.0 * x * x / (2.0 * n + 1.0);
            sum += term;
        }
        1.0 - 2.0 * scale * sum
    } else {
        let fraction = (1..=60)
            .rev()
            .fold(x, |tail, n| x + f64::from(n) / 2.0 / tail);
        scale / fraction
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(got: f64, want: f64) {
        assert!((got - want).abs() <= want.abs() * 1e-7, "{got} for {want}");
    }

    #[test]
    fn gamma_and_error_function() {
        close(ln_gamma(1.0) + 1.0, 1.0);
        close(ln_gamma(5.0), 24f64.ln());
        close(ln_gamma(100.0), 359.134_205_369_575_4);
        close(erfc(0.5), 0.479_500_122_186_953_5);
        close(erfc(-0.5), 1.520_499_877_813_046_5);
        close(erfc(3.0), 2.209_049_699_858_544e-5);
    }

    #[test]
    fn exceedances_of_the_maximum_are_a_product() {
        close(exceedance(1, 1, 1, 1), 0.5);
        // Six of thirty above the greatest of thirty: 30/60 * 29/59 * ... * 25/55.
        let product: f64 = (0..6)
            .map(|i| f64::from(30 - i) / f64::from(60 - i))
            .product();
        close(exceedance(30, 1, 30, 6), product);
    }

    #[test]
    fn exceedances_of_a_median_are_hypergeometric() {
        // All three new above the middle of three old: orders in which the three greatest and one
        // more are as asked: 4 of the 20 interleavings.
        close(exceedance(3, 2, 3, 3), 4.0 / 20.0);
        assert_eq!(exceedance(100, 50, 100, 40), 1.0);
    }

    #[test]
    fn exceedances_of_a_day_are_quick() {
        let chance = exceedance(100_000_000, 1_000_000, 100_000_000, 1_010_000);
        assert!(chance > 0.0 && chance < 1e-9, "{chance}");
    }

    #[test]
    fn means() {
        close(mean_above(10.0, 0.5, 11.96, 0.5), 0.024_997_895_148_220_43);
        assert_eq!(mean_above(1.0, 0.0, 1.0, 0.0), 1.0);
        assert_eq!(mean_above(1.0, 0.0, 2.0, 0.0), 0.0);
    }

    #[test]
    fn holm_stops_at_the_first_that_fails() {
        assert_eq!(
            holm(&[0.04, 0.01, 0.03, 0.005], 0.05),
            [false, true, false, true]
        );
        assert!(holm(&[], 0.05).is_empty());
    }

    #[test]
    fn sides_of_a_coin() {
        assert!((sign(10, 0) - 1.0 / 1024.0).abs() < 1e-12);
        assert!((sign(3, 1) - 5.0 / 16.0).abs() < 1e-12);
        assert_eq!(sign(5, 5), 1.0);
        assert_eq!(sign(0, 3), 1.0);
        // By the normal distribution with a correction for continuity.
        assert!((sign(5_100, 4_900) - 0.023_295).abs() < 1e-5);
        assert!(sign(1_000_000, 0) == 0.0);
    }

    #[test]
    fn signs_of_many_pairs() {
        // Exactly it is 2^-20.
        let chance = signs([[1, 0]; 20].into_iter());
        assert!((1e-6..2e-5).contains(&chance), "{chance}");
        let with_a_coin = [[5_000, 5_000]].into_iter().chain([[1, 0]; 20]);
        assert!(signs(with_a_coin) < 1e-4);
        assert_eq!(signs([[0, 1]; 20].into_iter()), 1.0);
    }

    #[test]
    fn one_run_of_two_is_spared() {
        // Two coins: three in four show noise, one in four none; any of the four does in 15 of 16.
        close(spared(1, 2, 0.5), 0.25 / (15.0 / 16.0));
        close(spared(2, 2, 0.5), 0.25 * 0.25 / (15.0 / 16.0));
        assert!(spared(1, 100, 0.5) < 1e-29);
        assert!((spared(1, 100, 1e-4) - 0.5).abs() < 0.01);
    }
}
