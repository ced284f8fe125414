use serde::{Deserialize, Serialize};

use crate::compare::Comparison;
use crate::gate::{Condition, Gate, Limit, Metric, Scope, Stat};
use crate::report::text::{duration, line, plural};
use crate::times::{ALPHA, ENOUGH, Judged, Read, Slower, Trio, judge, quicker, slower};
use crate::trust::{Concerns, Weight};

/// Characters of a statement that a reason names.
const STATEMENT: usize = 60;

/// Does the new version do what the old one did?
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    pub outcome: Outcome,
    /// The gate's expression.
    pub gate: String,
    /// Why, the decisive first; then what is undecided.
    pub reasons: Vec<String>,
    pub conditions: Vec<Weighed>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Pass,
    Fail,
    /// It cannot be known from this comparison.
    #[default]
    Inconclusive,
}

/// A condition of the gate and what it came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Weighed {
    pub condition: String,
    pub state: State,
    pub detail: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Fails the gate.
    Holds,
    DoesNotHold,
    CannotTell,
}

impl Outcome {
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Pass => "pass",
            Outcome::Fail => "fail",
            Outcome::Inconclusive => "inconclusive",
        }
    }
}

pub(crate) fn decide(gate: &Gate, comparison: &Comparison, read: &Read) -> Verdict {
    let concerned = |concerns: Concerns, times: bool| match concerns {
        Concerns::Everything => true,
        Concerns::Times => times,
    };
    let void = |times: bool| {
        comparison
            .trust
            .iter()
            .find(|issue| issue.weight == Weight::Void && concerned(issue.concerns, times))
    };
    let mut conditions = Vec::new();
    let mut unknown = Vec::new();
    for condition in &gate.conditions {
        if condition.metric == Metric::Inconclusive {
            continue;
        }
        let (mut state, mut detail) = weigh(condition, comparison, read);
        let times = matches!(condition.metric, Metric::Time(..));
        if state == State::Holds
            && let Some(issue) = void(times)
        {
            state = State::CannotTell;
            detail = format!("{detail}; but {}", issue.reason);
        }
        if state == State::CannotTell {
            unknown.push(format!("undecided: {}: {detail}", condition.text));
        }
        conditions.push(Weighed {
            condition: condition.text.clone(),
            state,
            detail,
        });
    }
    let mut reasons: Vec<String> = conditions
        .iter()
        .filter(|weighed| weighed.state == State::Holds)
        .map(|weighed| format!("{}: {}", weighed.condition, weighed.detail))
        .collect();
    let doubts = comparison.trust.iter().filter(|issue| {
        issue.weight > Weight::Caution && concerned(issue.concerns, gate.asks_for_times())
    });
    let doubts: Vec<String> = doubts
        .map(|issue| issue.reason.clone())
        .chain(unknown)
        .collect();
    let outcome = if !reasons.is_empty() {
        Outcome::Fail
    } else if doubts.is_empty() {
        Outcome::Pass
    } else if gate
        .conditions
        .iter()
        .any(|one| one.metric == Metric::Inconclusive)
    {
        reasons.push("inconclusive: which the gate counts as a failure".to_owned());
        Outcome::Fail
    } else {
        Outcome::Inconclusive
    };
    reasons.extend(doubts);
    if outcome == Outcome::Pass {
        reasons.extend(conditions.iter().map(|weighed| weighed.detail.clone()));
    }
    Verdict {
        outcome,
        gate: gate.text().to_owned(),
        reasons,
        conditions,
    }
}

fn weigh(condition: &Condition, comparison: &Comparison, read: &Read) -> (State, String) {
    match condition.metric {
        Metric::Time(Scope::Fingerprint, stat) => fingerprints(condition, stat, read),
        Metric::Time(scope, stat) => {
            let trio = match scope {
                Scope::Response => &read.response,
                Scope::FirstByte => &read.first_byte,
                Scope::Service | Scope::Fingerprint => &read.service,
            };
            overall(condition, scope, stat, trio)
        }
        _ => counted(condition, comparison),
    }
}

fn state(holds: bool) -> State {
    if holds {
        State::Holds
    } else {
        State::DoesNotHold
    }
}

fn counted(condition: &Condition, comparison: &Comparison) -> (State, String) {
    let errors = |side: &crate::compare::Side| side.errors.values().sum::<u64>();
    let (count, what) = match condition.metric {
        Metric::Kind(kind) => {
            let count = comparison.differences.get(kind.name()).copied();
            (
                count.unwrap_or_default(),
                format!("{} difference", kind.name()),
            )
        }
        Metric::Errors => (errors(&comparison.new), "error".to_owned()),
        _ => (comparison.differences(), "difference".to_owned()),
    };
    let requests = &comparison.requests;
    let base = (requests.compared + requests.missing) as f64;
    if base == 0.0 && count == 0 {
        return (State::CannotTell, "no request was compared".to_owned());
    }
    let (value, limit) = match condition.limit {
        Limit::Share(share) => (count as f64 / base.max(1.0), share),
        Limit::Relative { factor, .. } => (count as f64, factor * errors(&comparison.old) as f64),
        Limit::Count(limit) | Limit::Time { ns: limit } => (count as f64, limit),
    };
    let counted = match count {
        0 => format!("no {what}s"),
        _ => plural(count, &what),
    };
    let new = match condition.metric {
        Metric::Errors => " in NEW",
        _ => "",
    };
    let detail = format!("{counted}{new} in {}", plural(base as u64, "request"));
    (
        state(value > limit || (condition.or_equal && value == limit)),
        detail,
    )
}

fn overall(condition: &Condition, scope: Scope, stat: Stat, trio: &Trio) -> (State, String) {
    let name = format!("{} {}", scope.name(), stat.name());
    match judge(trio, stat, condition.limit, condition.or_equal) {
        Judged::TooFew => (
            State::CannotTell,
            format!("{name}: fewer than {ENOUGH} requests succeeded on both sides"),
        ),
        Judged::Above {
            old, new, chance, ..
        } if chance <= ALPHA => (
            State::Holds,
            format!(
                "{name} is {}, was {}",
                duration(new as u64),
                duration(old as u64)
            ),
        ),
        Judged::Above { old, new, .. } => (
            State::CannotTell,
            format!(
                "{name} is {}, was {}, which may be chance: record longer",
                duration(new as u64),
                duration(old as u64)
            ),
        ),
        Judged::Within => (State::DoesNotHold, format!("{name} is within its limit")),
    }
}

fn fingerprints(condition: &Condition, stat: Stat, read: &Read) -> (State, String) {
    let enough = |trio: &Trio| trio.old.count() >= ENOUGH && trio.new.count() >= ENOUGH;
    let tested = read.fingerprints.iter().filter(|(_, _, trio)| enough(trio));
    let tested = tested.count();
    if tested == 0 {
        let detail = format!(
            "no statement succeeded {ENOUGH} times on both sides, so that times say nothing; \
             record longer, or gate on answers alone"
        );
        return (State::CannotTell, detail);
    }
    let entries = &read.fingerprints;
    let Condition {
        limit, or_equal, ..
    } = *condition;
    let slower = slower(entries, stat, limit, or_equal);
    let name = stat.name();
    let detail = match slower.surely.len() {
        0 => format!("none of {tested} statements has a slower {name}"),
        1 => format!("1 of {tested} statements has a slower {name}"),
        n => format!("{n} of {tested} statements have a slower {name}"),
    };
    if !slower.surely.is_empty() {
        return (State::Holds, detail);
    }
    let excess = |slower: &Slower| slower.new_ns as f64 / slower.limit_ns.max(1) as f64;
    let worst = slower
        .perhaps
        .iter()
        .max_by(|(_, a), (_, b)| excess(a).total_cmp(&excess(b)));
    let Some((index, worst)) = worst else {
        return (State::DoesNotHold, detail);
    };
    let perhaps = slower.perhaps.len();
    // Chance takes either way: among thousands of statements some are always above the limit.
    let turned = quicker(entries, stat, limit, or_equal).perhaps.len();
    if perhaps <= 2 * turned {
        let detail = format!(
            "{detail} beyond chance: {perhaps} above the limit, {turned} with OLD and NEW exchanged"
        );
        return (State::DoesNotHold, detail);
    }
    let are = if perhaps == 1 { "is" } else { "are" };
    let statement = entries.get(*index).map(|(_, named, _)| named);
    let detail = format!(
        "{perhaps} of {tested} statements {are} above the limit, which may be chance: record longer; \
         the worst has a {name} of {}, was {}: {}",
        duration(worst.new_ns),
        duration(worst.old_ns),
        line(statement.map_or("", |named| &named.statement), STATEMENT)
    );
    (State::CannotTell, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::sample;

    #[test]
    fn one_is_not_many() {
        let mut comparison = sample::empty();
        let told = |comparison: &Comparison, gate: &str| {
            let gate: crate::Gate = gate.parse().expect("a gate");
            counted(&gate.conditions[0], comparison).1
        };
        comparison.requests.compared = 1;
        let none = "no differences in 1 request";
        assert_eq!(told(&comparison, "differences > 0"), none);
        comparison.requests.compared = 2;
        comparison.differences.insert("values".to_owned(), 1);
        let one = "1 difference in 2 requests";
        assert_eq!(told(&comparison, "differences > 0"), one);
        let one = "1 values difference in 2 requests";
        assert_eq!(told(&comparison, "values > 0"), one);
        comparison.new.errors.insert("42P01".to_owned(), 2);
        let two = "2 errors in NEW in 2 requests";
        assert_eq!(told(&comparison, "errors > 0"), two);
    }
}
