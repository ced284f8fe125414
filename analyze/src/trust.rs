use std::collections::BTreeMap;

use recording::{Account, Captured, NEW_ERRORS, remedy};
use serde::{Deserialize, Serialize};

use crate::compare::{Comparison, Side};
use crate::report::text::{line, plural, thousands};

/// Below this share of requests, a comparison does not stand for the recording.
const COVERAGE: f64 = 0.99;
/// Above this share of errors that the recorded server did not give, a run of the old version is not what was
/// recorded.
const NEW_ERRORS_IN_OLD: f64 = 0.01;
/// Above this share of loss in a capture, the recording does not stand for the traffic.
const CAPTURE_LOSS: f64 = 0.01;
const MILLISECOND: u64 = 1_000_000;
/// Above this p99 of lateness the plan was not kept, whatever the times say.
const LATENESS: u64 = 100 * MILLISECOND;

/// Why a comparison is less to be trusted, and what helps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issue {
    pub reason: String,
    pub remedy: String,
    pub weight: Weight,
    pub concerns: Concerns,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Weight {
    /// To be known; the verdict stands.
    Caution,
    /// No pass can rest on it; what was found is found.
    NoPass,
    /// Neither a pass nor a failure can rest on it.
    Void,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Concerns {
    Everything,
    Times,
}

struct Issues(Vec<Issue>);

impl Issues {
    fn add(&mut self, weight: Weight, concerns: Concerns, reason: String, remedy: &str) {
        self.0.push(Issue {
            reason,
            remedy: remedy.to_owned(),
            weight,
            concerns,
        });
    }
}

/// The heaviest first.
pub(crate) fn issues(comparison: &Comparison) -> Vec<Issue> {
    let mut issues = Issues(Vec::new());
    let sides = [
        ("OLD", Some(&comparison.old)),
        ("NEW", Some(&comparison.new)),
    ];
    let noise = ("the noise run", comparison.noise_run.as_ref());
    for (name, side) in sides.into_iter().chain([noise]) {
        if let Some(side) = side {
            whole(name, side, &mut issues);
        }
    }
    coverage(comparison, &mut issues);
    undecided(comparison, &mut issues);
    capture(comparison, &mut issues);
    lateness(comparison, &mut issues);
    if !comparison.old.about.is_run {
        issues.add(
            Weight::Caution,
            Concerns::Times,
            "OLD is a recording: its times were taken in production, on another machine".to_owned(),
            "replay the recording on the old version too and compare the two runs",
        );
    }
    if !comparison.terms.is_empty() {
        issues.add(
            Weight::Caution,
            Concerns::Everything,
            format!("compared as told: {}", comparison.terms.join(", ")),
            "compare without these options too and see what they hide or show",
        );
    }
    if comparison.noise_run.is_none() {
        issues.add(
            Weight::Caution,
            Concerns::Everything,
            "no noise run was given: what differs from run to run counts as a difference"
                .to_owned(),
            "replay the old version a second time and name that run with --noise",
        );
    }
    issues
        .0
        .sort_by_key(|issue| std::cmp::Reverse(issue.weight));
    issues.0
}

/// Was all of the side written, and is all of it accounted for?
fn whole(name: &str, side: &Side, issues: &mut Issues) {
    let again = "run it again to its end";
    if !side.about.complete {
        let reason = format!("{name} was cut off before its end");
        issues.add(Weight::NoPass, Concerns::Everything, reason, again);
    }
    for left_out in &side.about.left_out {
        let reason = format!("part of {name} could not be read: {left_out}");
        issues.add(Weight::NoPass, Concerns::Everything, reason, again);
    }
    for (account, entry) in side.about.ledger.accounts() {
        if !entry.balanced() {
            let accounted = entry.kept + entry.lost.values().sum::<u64>();
            let reason = format!(
                "the ledger of {name} does not balance: {} {account} seen, {} accounted for",
                thousands(entry.seen),
                thousands(accounted)
            );
            let remedy = "this is a fault of rehearsal's: please report it with the manifest";
            issues.add(Weight::NoPass, Concerns::Everything, reason, remedy);
        }
    }
    for note in &side.about.notes {
        let reason = format!("{name}: {note}");
        if note.contains("saturated") {
            let remedy = "give the replaying machine more cores, or replay slower with --speed";
            issues.add(Weight::Void, Concerns::Times, reason, remedy);
        } else if note.starts_with("schedule slipped") {
            let remedy = "give the replay more memory, or replay slower with --speed";
            issues.add(Weight::NoPass, Concerns::Times, reason, remedy);
        } else if note.starts_with("interrupted") || note.starts_with("cut short") {
            issues.add(Weight::NoPass, Concerns::Everything, reason, again);
        } else if note.starts_with(NEW_ERRORS) && fails(side) && name != "NEW" {
            let remedy = "restore the data as they were when the capture began, with their users and extensions";
            issues.add(Weight::NoPass, Concerns::Everything, reason, remedy);
        } else {
            let remedy = "see whether it explains what differs";
            issues.add(Weight::Caution, Concerns::Everything, reason, remedy);
        }
    }
}

/// What differs at places that are noisy too, more often than noise does, but too seldom to be sure.
fn undecided(comparison: &Comparison, issues: &mut Issues) {
    let groups = comparison.noise.iter().filter(|it| it.undecided > 0);
    let Some(most) = groups.clone().max_by_key(|it| it.undecided) else {
        return;
    };
    let requests = plural(groups.clone().map(|it| it.undecided).sum(), "request");
    let statements = plural(groups.count() as u64, "statement");
    issues.add(
        Weight::NoPass,
        Concerns::Everything,
        format!(
            "{requests} of {statements} differ where the noise run does too, more often than that but not often \
             enough to tell: {}, {}",
            most.kind,
            line(&most.named.statement, 60)
        ),
        "look at them in the report, or record longer, so that there are more of them",
    );
}

/// Did the run get errors that the recorded server did not give?
fn fails(side: &Side) -> bool {
    let answered = side
        .about
        .ledger
        .account("requests")
        .map_or(0, |it| it.kept);
    side.about.new_errors as f64 > NEW_ERRORS_IN_OLD * answered as f64
}

const STREAMS: &str =
    "streams that the client leaves have no end to compare: only their errors count";

fn coverage(comparison: &Comparison, issues: &mut Issues) {
    let requests = &comparison.requests;
    if requests.compared == 0 {
        issues.add(
            Weight::NoPass,
            Concerns::Everything,
            "no request was answered on both sides".to_owned(),
            "check that both runs reached their targets",
        );
    } else if requests.coverage() < COVERAGE {
        let mut reasons = requests.not_comparable.clone();
        for (reason, count) in &requests.consequences {
            *reasons.entry(reason.clone()).or_default() += count;
        }
        for (reason, count) in [
            ("only in OLD", requests.only_old),
            ("only in NEW", requests.only_new),
        ] {
            if count > 0 {
                reasons.insert(reason.to_owned(), count);
            }
        }
        let any = |what: &str| reasons.keys().any(|reason| reason.contains(what));
        let remedy = if any("writes not allowed") {
            "replay with --allow-writes, or choose with --method and --path what is to be compared"
        } else if any("session lost") {
            "see in the run's notes and the target's log why sessions were lost there, and replay again"
        } else if any("client left") {
            STREAMS
        } else if any("with a secret") {
            "statements with a secret are recorded without it, and so never sent: try them by hand"
        } else if any("by OIDs") {
            "rehearse on physical copies: they have the recorded OIDs, also after pg_upgrade"
        } else {
            "see the reasons in the ledger; record from the beginning of the sessions if they were met mid-stream"
        };
        let reason = format!(
            "only {:.1} % of the requests could be compared ({})",
            // Rounded down: 98.99 % must not read as the 99 % that would do.
            (requests.coverage() * 1_000.0).floor() / 10.0,
            most(&reasons)
        );
        issues.add(Weight::NoPass, Concerns::Everything, reason, remedy);
    }
    if requests.left() > 0 {
        let left = plural(requests.left(), "request");
        issues.add(
            Weight::Caution,
            Concerns::Everything,
            format!("{left} ended on both sides because the client left"),
            STREAMS,
        );
    }
    if requests.unasked() > 0 {
        let unasked = plural(requests.unasked(), "answer");
        issues.add(
            Weight::Caution,
            Concerns::Everything,
            format!("the recorded server gave {unasked} that nobody had asked for"),
            "nothing, if it says farewell (408) to clients that say nothing",
        );
    }
    if requests.filtered() > 0 {
        let left_out = plural(requests.filtered(), "request");
        issues.add(
            Weight::Caution,
            Concerns::Everything,
            format!("the replays were told to leave out {left_out}"),
            "nothing, if the filters were meant so",
        );
    }
    let consequences: u64 = requests.consequences.values().sum();
    if consequences > 0 && comparison.differences() == 0 {
        issues.add(
            Weight::NoPass,
            Concerns::Everything,
            format!(
                "NEW was not sent {}, and nothing that differs tells why",
                plural(consequences, "request")
            ),
            "look into the run for what went before",
        );
    }
}

/// The most frequent reasons: `encrypted 12, gap in the request 3`.
fn most(reasons: &BTreeMap<String, u64>) -> String {
    let mut all: Vec<_> = reasons.iter().collect();
    all.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let first: Vec<String> = all
        .iter()
        .take(3)
        .map(|(reason, count)| format!("{reason}: {}", thousands(**count)))
        .collect();
    first.join(", ")
}

/// What a capture counts as not kept, and did not lose: what it was not to record, what carries nothing
/// new, what follows an upgrade and is no HTTP any more, and how production ended what was not answered.
/// All else is loss.
const NO_LOSS: [&str; 26] = [
    "CONNECT",
    "HTTP/2",
    "WebSocket",
    "after close",
    "capture ended",
    "fin",
    "idle",
    "keep-alive",
    "no data",
    "not IP",
    "not TCP",
    "other database",
    "other port",
    "other user",
    "overlap",
    "own probe",
    "payload of a reset",
    "port reused",
    "request before capture",
    "retransmission",
    "rst",
    "sampled out",
    "terminate",
    "tunnel",
    "under way",
    "upgrade",
];

/// How the recording was captured: what it does not have can't be compared.
fn capture(comparison: &Comparison, issues: &mut Issues) {
    let (old, new) = (&comparison.old.about, &comparison.new.about);
    let own = (!old.is_run).then(|| Captured {
        complete: old.complete,
        ledger: old.ledger.clone(),
    });
    let Some(captured) = own.as_ref().or(new.captured.as_ref()) else {
        issues.add(
            Weight::Caution,
            Concerns::Everything,
            "the runs do not tell what the capture lost".to_owned(),
            "replay again with this version",
        );
        return;
    };
    // Of a recording that is compared itself it is told already.
    if own.is_none() && !captured.complete {
        issues.add(
            Weight::Caution,
            Concerns::Everything,
            "the capture was cut off, or the replay began before its end".to_owned(),
            "see with rehearsal inspect what the recording holds",
        );
    }
    for (name, account) in captured.ledger.accounts() {
        capture_loss(name, account, issues);
    }
}

fn capture_loss(name: &str, account: &Account, issues: &mut Issues) {
    let lost: BTreeMap<String, u64> = account
        .lost
        .iter()
        .filter(|(reason, count)| **count > 0 && !NO_LOSS.contains(&reason.as_str()))
        .map(|(reason, count)| (reason.clone(), *count))
        .collect();
    let sum: u64 = lost.values().sum();
    if sum == 0 {
        return;
    }
    let share = sum as f64 / account.seen.max(1) as f64;
    let weight = if share > CAPTURE_LOSS {
        Weight::NoPass
    } else {
        Weight::Caution
    };
    let reason = format!(
        "capture lost {:.2} % of the {name} ({})",
        share * 100.0,
        most(&lost)
    );
    let mut remedies = lost.keys().filter_map(|reason| remedy(reason));
    let remedy = remedies
        .next()
        .unwrap_or("see with rehearsal inspect what the recording lost");
    issues.add(weight, Concerns::Everything, reason, remedy);
}

/// Lateness is the harness's own: it must be neither large, nor able to explain what differs.
fn lateness(comparison: &Comparison, issues: &mut Issues) {
    let p99 = |side: &Side| side.lateness.map_or(0, |lateness| lateness.p99_ns);
    let (old, new) = (p99(&comparison.old), p99(&comparison.new));
    let remedy = "replay slower with --speed, or give the replaying machine more cores";
    if old.max(new) > LATENESS {
        let reason = format!(
            "requests were sent too late: lateness p99 is {:.0} ms in OLD, {:.0} ms in NEW",
            old as f64 / 1e6,
            new as f64 / 1e6
        );
        issues.add(Weight::Void, Concerns::Times, reason, remedy);
        return;
    }
    let response = &comparison.latency.response;
    let slower = response.new.p99_ns.abs_diff(response.old.p99_ns);
    let explained = old.abs_diff(new);
    if slower > MILLISECOND && explained > MILLISECOND && explained * 2 >= slower {
        let reason = format!(
            "lateness p99 differs by {:.1} ms between the runs, the response time by {:.1} ms: \
             the harness could be the reason",
            explained as f64 / 1e6,
            slower as f64 / 1e6
        );
        issues.add(Weight::Void, Concerns::Times, reason, remedy);
    }
}
