use recording::{Exchange, Status, Timestamp};
use serde::{Deserialize, Serialize};

use crate::gate::{Limit, Stat};
use crate::learnt::Learnt;
use crate::samples::{Mean, Samples, Summary};
use crate::stats;
use crate::table::{Named, Subject, Table, Tally};

/// Statements whose times are told apart; the least called beyond are taken together.
const FINGERPRINTS: usize = 2_000;
const BUCKETS: usize = 240;
/// Fewer executions than this on either side say nothing.
pub(crate) const ENOUGH: u64 = 30;
/// The chance of any false alarm among all the statements of a comparison.
pub(crate) const ALPHA: f64 = 0.01;

/// How long the same requests took. Only those that both sides answered without an error.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Latency {
    pub service: Sides,
    pub response: Sides,
    pub first_byte: Sides,
    /// Service time at ever rarer percentiles.
    pub curve: Vec<CurvePoint>,
    pub over_time: OverTime,
    /// By what they add to the day, the most first.
    pub fingerprints: Vec<FingerprintTimes>,
    /// Rare statements that were taken together: how many, and their times.
    pub folded: u64,
    pub folded_times: Sides,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sides {
    pub old: Summary,
    pub new: Summary,
    pub noise: Option<Summary>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Means {
    pub old_ns: Option<u64>,
    pub new_ns: Option<u64>,
    pub noise_ns: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// 99.9, say.
    pub percentile: f64,
    pub old_ns: u64,
    pub new_ns: u64,
    pub noise_ns: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OverTime {
    pub start: String,
    pub bucket_seconds: u64,
    pub buckets: Vec<Bucket>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Bucket {
    /// On the recording's clock, from the start.
    pub second: u64,
    pub requests: u64,
    pub old_p50_ns: u64,
    pub old_p99_ns: u64,
    pub new_p50_ns: u64,
    pub new_p99_ns: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FingerprintTimes {
    #[serde(flatten)]
    pub named: Named,
    #[serde(flatten)]
    pub times: Sides,
    /// Mean time to the first byte; `old` to `noise` above run to the last.
    pub first_byte: Means,
    /// New total minus old total, within the recording and for a day at its rate.
    pub added_ns: i64,
    pub added_ns_a_day: Option<i64>,
    /// New to old; absent where the old is 0.
    pub mean_ratio: Option<f64>,
    pub p50_ratio: Option<f64>,
    pub p99_ratio: Option<f64>,
    /// In what it is slower than the gate allows, beyond noise and beyond chance.
    pub slower: Vec<Slower>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Slower {
    /// `p99`, `mean`.
    pub stat: String,
    pub old_ns: u64,
    pub new_ns: u64,
    /// What it may have been.
    pub limit_ns: u64,
    /// That this is chance, were the new one at the limit.
    pub chance: f64,
}

#[derive(Debug)]
pub(crate) struct Trio {
    pub old: Samples,
    pub new: Samples,
    pub noise: Samples,
}

impl Trio {
    fn fine() -> Trio {
        Trio {
            old: Samples::fine(),
            new: Samples::fine(),
            noise: Samples::fine(),
        }
    }

    fn sides(&self) -> Sides {
        Sides {
            old: self.old.summary(),
            new: self.new.summary(),
            noise: (self.noise.count() > 0).then(|| self.noise.summary()),
        }
    }

    /// NEW as the old one.
    fn turned(&self) -> Trio {
        Trio {
            old: self.new.clone(),
            new: self.old.clone(),
            noise: Samples::coarse(),
        }
    }

    fn record(&mut self, old: u64, new: u64, noise: Option<u64>) {
        self.old.record(old);
        self.new.record(new);
        if let Some(noise) = noise {
            self.noise.record(noise);
        }
    }

    fn absorb(&mut self, other: Trio) {
        self.old.absorb(&other.old);
        self.new.absorb(&other.new);
        self.noise.absorb(&other.noise);
    }
}

impl Default for Trio {
    fn default() -> Trio {
        Trio {
            old: Samples::coarse(),
            new: Samples::coarse(),
            noise: Samples::coarse(),
        }
    }
}

/// The times of one statement.
#[derive(Debug, Default)]
struct Timed {
    service: Trio,
    first_byte: [Mean; 3],
}

impl Timed {
    fn means(&self) -> Means {
        let [old, new, noise] = self.first_byte;
        Means {
            old_ns: old.ns(),
            new_ns: new.ns(),
            noise_ns: noise.ns(),
        }
    }
}

impl Tally for Timed {
    fn calls(&self) -> u64 {
        self.service.old.count()
    }

    fn absorb(&mut self, other: Timed) {
        self.service.absorb(other.service);
        for (mean, other) in self.first_byte.iter_mut().zip(other.first_byte) {
            mean.absorb(other);
        }
    }
}

/// What a test of a statistic against a limit came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Judged {
    TooFew,
    Within,
    Above {
        old: f64,
        new: f64,
        limit: f64,
        chance: f64,
    },
}

/// Is the new side's statistic above the limit, and above what the noise run alone shows?
///
/// The limit counts from the slower one of OLD and the noise run, and the new one must exceed that
/// by more than those two differ.
pub(crate) fn judge(trio: &Trio, stat: Stat, limit: Limit, or_equal: bool) -> Judged {
    if trio.old.count() < ENOUGH || trio.new.count() < ENOUGH {
        return Judged::TooFew;
    }
    let (old, new) = (value(&trio.old, stat), value(&trio.new, stat));
    let noise = (trio.noise.count() >= ENOUGH).then(|| value(&trio.noise, stat));
    let (base, samples) = match noise {
        Some(noise) if noise > old => (noise, &trio.noise),
        _ => (old, &trio.old),
    };
    let (bar, factor) = match limit {
        Limit::Relative { factor, plus_ns } => (factor * base + plus_ns, factor),
        Limit::Time { ns } => (ns, 0.0),
        Limit::Count(_) | Limit::Share(_) => return Judged::Within,
    };
    if new < bar || (new == bar && !or_equal) {
        return Judged::Within;
    }
    let quiet = noise.map_or(base, |noise| noise.min(old));
    let band = if quiet > 0.0 { base / quiet } else { 1.0 };
    if factor > 0.0 && band > 1.0 && new <= base * band {
        return Judged::Within;
    }
    let chance = match stat.quantile() {
        _ if factor == 0.0 => 0.0,
        Some(quantile) => stats::exceedance(
            samples.count(),
            samples.beyond(quantile),
            trio.new.count(),
            trio.new.above(bar as u64),
        ),
        None if stat == Stat::Max => 0.0,
        None => stats::mean_above(
            bar,
            factor * factor * samples.variance() / samples.count() as f64,
            new,
            trio.new.variance() / trio.new.count() as f64,
        ),
    };
    Judged::Above {
        old,
        new,
        limit: bar,
        chance,
    }
}

fn value(samples: &Samples, stat: Stat) -> f64 {
    match (stat, stat.quantile()) {
        (_, Some(quantile)) => samples.quantile(quantile) as f64,
        (Stat::Max, None) => samples.max() as f64,
        (_, None) => samples.mean(),
    }
}

/// The times of a comparison while it is read.
#[derive(Debug)]
pub(crate) struct Times {
    pub service: Trio,
    pub response: Trio,
    pub first_byte: Trio,
    table: Table<Timed>,
    start: Option<Timestamp>,
    bucket_seconds: u64,
    buckets: Vec<Trio>,
}

/// The same when all is read: with the samples, for the gate.
#[derive(Debug)]
pub(crate) struct Read {
    pub service: Trio,
    pub response: Trio,
    pub first_byte: Trio,
    pub fingerprints: Vec<(Subject, Named, Trio)>,
}

impl Times {
    pub fn new() -> Times {
        Times {
            service: Trio::fine(),
            response: Trio::fine(),
            first_byte: Trio::fine(),
            table: Table::new(FINGERPRINTS),
            start: None,
            bucket_seconds: 1,
            buckets: Vec::new(),
        }
    }

    pub fn add(&mut self, old: &Exchange, new: &Exchange, noise: Option<&Exchange>) {
        let noise = noise.filter(|row| row.status == Status::Ok);
        if old.status != Status::Ok || new.status != Status::Ok {
            return;
        }
        if let (Some(a), Some(b)) = (old.response_ns(), new.response_ns()) {
            let c = noise.and_then(Exchange::response_ns);
            self.response.record(a, b, c);
        }
        let first_bytes = [Some(old), Some(new), noise].map(|row| row?.first_byte_ns());
        if let [Some(a), Some(b), c] = first_bytes {
            self.first_byte.record(a, b, c);
        }
        if let (Some(a), Some(b)) = (old.service_ns(), new.service_ns()) {
            let c = noise.and_then(Exchange::service_ns);
            self.service.record(a, b, c);
            let timed = self.table.entry(old);
            timed.service.record(a, b, c);
            for (mean, ns) in timed.first_byte.iter_mut().zip(first_bytes) {
                ns.into_iter().for_each(|ns| mean.record(ns));
            }
            self.bucket(old.started_at).record(a, b, c);
        }
    }

    /// Takes together the statements that have the same name by now.
    pub fn rename(&mut self, learnt: &Learnt) {
        self.table.rename(learnt);
    }

    /// Rows come in order of time, so that the first one is the start.
    fn bucket(&mut self, at: Timestamp) -> &mut Trio {
        let start = *self.start.get_or_insert(at);
        let second = at.since(start) / 1_000_000_000;
        while second / self.bucket_seconds >= BUCKETS as u64 {
            self.bucket_seconds *= 2;
            let mut halved: Vec<Trio> = Vec::with_capacity(BUCKETS);
            for (index, bucket) in std::mem::take(&mut self.buckets).into_iter().enumerate() {
                match halved.last_mut() {
                    Some(last) if index % 2 == 1 => last.absorb(bucket),
                    _ => halved.push(bucket),
                }
            }
            self.buckets = halved;
        }
        let index = (second / self.bucket_seconds) as usize;
        if self.buckets.len() <= index {
            self.buckets.resize_with(index + 1, Trio::default);
        }
        &mut self.buckets[index]
    }

    /// `seconds` is how long the recording lasted.
    pub fn finish(self, seconds: f64, bars: &[(Stat, Limit, bool)]) -> (Latency, Read) {
        let over_time = OverTime {
            start: self.start.map(|at| at.to_string()).unwrap_or_default(),
            bucket_seconds: self.bucket_seconds,
            buckets: (0..)
                .step_by(self.bucket_seconds as usize)
                .zip(&self.buckets)
                .filter(|(_, trio)| trio.old.count() > 0)
                .map(|(second, trio)| Bucket {
                    second,
                    requests: trio.old.count(),
                    old_p50_ns: trio.old.quantile(0.5),
                    old_p99_ns: trio.old.quantile(0.99),
                    new_p50_ns: trio.new.quantile(0.5),
                    new_p99_ns: trio.new.quantile(0.99),
                })
                .collect(),
        };
        let (entries, rest, folded) = self.table.finish();
        let mut fingerprints: Vec<FingerprintTimes> = entries
            .iter()
            .map(|(_, named, timed)| fingerprint_times(named, timed, seconds))
            .collect();
        let entries: Vec<(Subject, Named, Trio)> = entries
            .into_iter()
            .map(|(subject, named, timed)| (subject, named, timed.service))
            .collect();
        for (stat, limit, or_equal) in bars {
            flag(&mut fingerprints, &entries, *stat, *limit, *or_equal);
        }
        fingerprints.sort_by_key(|one| std::cmp::Reverse((one.added_ns, one.times.old.count)));
        let latency = Latency {
            service: self.service.sides(),
            response: self.response.sides(),
            first_byte: self.first_byte.sides(),
            curve: curve(&self.service),
            over_time,
            fingerprints,
            folded,
            folded_times: rest.service.sides(),
        };
        let read = Read {
            service: self.service,
            response: self.response,
            first_byte: self.first_byte,
            fingerprints: entries,
        };
        (latency, read)
    }
}

/// Marks the statements that are above the limit, significantly among all that could be tested.
fn flag(
    out: &mut [FingerprintTimes],
    entries: &[(Subject, Named, Trio)],
    stat: Stat,
    limit: Limit,
    or_equal: bool,
) {
    for (index, slower) in slower(entries, stat, limit, or_equal).surely {
        if let Some(times) = out.get_mut(index) {
            times.slower.push(slower);
        }
    }
}

/// The entries above the limit, by index.
#[derive(Debug, Default)]
pub(crate) struct Above {
    /// Significantly among all that could be tested.
    pub surely: Vec<(usize, Slower)>,
    /// By what may be chance.
    pub perhaps: Vec<(usize, Slower)>,
}

/// What NEW is slower in than OLD.
pub(crate) fn slower(
    entries: &[(Subject, Named, Trio)],
    stat: Stat,
    limit: Limit,
    or_equal: bool,
) -> Above {
    let trios = entries.iter().map(|(_, _, trio)| trio);
    above(stat, trios.map(|trio| judge(trio, stat, limit, or_equal)))
}

/// What OLD is slower in than NEW, were NEW the old one.
pub(crate) fn quicker(
    entries: &[(Subject, Named, Trio)],
    stat: Stat,
    limit: Limit,
    or_equal: bool,
) -> Above {
    let trios = entries.iter().map(|(_, _, trio)| trio.turned());
    above(stat, trios.map(|trio| judge(&trio, stat, limit, or_equal)))
}

fn above(stat: Stat, judged: impl Iterator<Item = Judged>) -> Above {
    let judged: Vec<(usize, Judged)> = judged
        .enumerate()
        .filter(|(_, judged)| *judged != Judged::TooFew)
        .collect();
    let chances: Vec<f64> = judged
        .iter()
        .map(|(_, judged)| match judged {
            Judged::Above { chance, .. } => *chance,
            Judged::TooFew | Judged::Within => 1.0,
        })
        .collect();
    let significant = stats::holm(&chances, ALPHA);
    let mut above = Above::default();
    for ((index, judged), significant) in judged.into_iter().zip(significant) {
        let Judged::Above {
            old,
            new,
            limit,
            chance,
        } = judged
        else {
            continue;
        };
        let slower = Slower {
            stat: stat.name().to_owned(),
            old_ns: old as u64,
            new_ns: new as u64,
            limit_ns: limit as u64,
            chance,
        };
        match significant {
            true => above.surely.push((index, slower)),
            false => above.perhaps.push((index, slower)),
        }
    }
    above
}

fn fingerprint_times(named: &Named, timed: &Timed, seconds: f64) -> FingerprintTimes {
    let trio = &timed.service;
    let times = trio.sides();
    let added = trio.new.total_ns() - trio.old.total_ns();
    let ratio = |new: u64, old: u64| (old > 0).then(|| new as f64 / old as f64);
    FingerprintTimes {
        named: named.clone(),
        times,
        first_byte: timed.means(),
        added_ns: added as i64,
        // A rate is not known from less than a second.
        added_ns_a_day: (seconds >= 1.0).then(|| (added * 86_400.0 / seconds) as i64),
        mean_ratio: ratio(times.new.mean_ns, times.old.mean_ns),
        p50_ratio: ratio(times.new.p50_ns, times.old.p50_ns),
        p99_ratio: ratio(times.new.p99_ns, times.old.p99_ns),
        slower: Vec::new(),
    }
}

/// Twelve points for each further nine, until a point would stand for less than one request.
fn curve(trio: &Trio) -> Vec<CurvePoint> {
    let count = trio.old.count().min(trio.new.count());
    (0..=12 * 8)
        .map(|step| 10f64.powf(-f64::from(step) / 12.0))
        .take_while(|rest| rest * count as f64 >= 1.0)
        .map(|rest| CurvePoint {
            percentile: 100.0 * (1.0 - rest),
            old_ns: trio.old.quantile(1.0 - rest),
            new_ns: trio.new.quantile(1.0 - rest),
            noise_ns: (trio.noise.count() > 0).then(|| trio.noise.quantile(1.0 - rest)),
        })
        .collect()
}

#[cfg(test)]
mod tests;
