use super::*;

const BAR: Limit = Limit::Relative {
    factor: 1.3,
    plus_ns: 1e6,
};

fn trio(old: impl Fn(u64) -> u64, new: impl Fn(u64) -> u64, noise: Option<u64>) -> Trio {
    let mut trio = Trio::default();
    for n in 0..1_000 {
        let noise = noise.map(|percent| old(n) * percent / 100);
        trio.record(old(n), new(n), noise);
    }
    trio
}

fn ms(n: u64) -> u64 {
    n * 1_000_000
}

fn steady(n: u64) -> u64 {
    ms(10) + n * 1_000
}

#[test]
fn a_slow_tail_is_found_by_its_quantile_alone() {
    let tail = trio(
        steady,
        |n| steady(n) + ms(if n % 25 == 0 { 60 } else { 0 }),
        None,
    );
    assert!(matches!(
        judge(&tail, Stat::P99, BAR, false),
        Judged::Above { chance, .. } if chance < 1e-4
    ));
    assert_eq!(judge(&tail, Stat::P50, BAR, false), Judged::Within);
}

#[test]
fn one_outlier_is_no_regression_of_the_mean() {
    let outlier = trio(
        steady,
        |n| steady(n) + ms(if n == 0 { 9_000 } else { 0 }),
        None,
    );
    assert!(matches!(
        judge(&outlier, Stat::Mean, BAR, false),
        Judged::Above { chance, .. } if chance > 0.05
    ));
}

#[test]
fn both_bars_must_be_passed() {
    let tiny = trio(|_| 1_000, |_| 100_000, None);
    assert_eq!(judge(&tiny, Stat::P99, BAR, false), Judged::Within);
}

#[test]
fn noise_widens_the_bar_both_ways() {
    let slower = |n| steady(n) * 3 / 2;
    let above = |noise| {
        matches!(
            judge(&trio(steady, slower, noise), Stat::P50, BAR, false),
            Judged::Above { .. }
        )
    };
    assert!(above(None));
    assert!(above(Some(101)));
    assert!(!above(Some(150)));
    assert!(!above(Some(60)));
}

#[test]
fn too_few_say_nothing() {
    let mut few = Trio::default();
    (0..29).for_each(|n| few.record(n, ms(n), None));
    assert_eq!(judge(&few, Stat::P50, BAR, false), Judged::TooFew);
}

#[test]
fn the_curve_ends_at_the_rarest_request() {
    let points = curve(&trio(steady, steady, None));
    assert_eq!(points.len(), 37);
    assert_eq!(points.first().map(|point| point.percentile), Some(0.0));
    let last = points.last().map_or(0.0, |point| point.percentile);
    assert!((last - 99.9).abs() < 1e-9, "{last}");
}

#[test]
fn buckets_widen_with_the_day() {
    let mut times = Times::new();
    for second in 0..86_400 {
        let at = Timestamp(second * 1_000_000_000);
        times.bucket(at).record(1, 2, None);
    }
    let (latency, _) = times.finish(86_400.0, &[]);
    assert_eq!(latency.over_time.bucket_seconds, 512);
    assert!(latency.over_time.buckets.len() <= BUCKETS);
    let requests: u64 = latency.over_time.buckets.iter().map(|b| b.requests).sum();
    assert_eq!(requests, 86_400);
}
