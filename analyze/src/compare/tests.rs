mod numbers;
mod times;

use proptest::prelude::*;

use super::*;
use crate::testing::{self, Change};
use crate::verdict::Outcome;

pub(crate) fn run(id: &str) -> About {
    About {
        is_run: true,
        id: id.to_owned(),
        recording: "monday".to_owned(),
        complete: true,
        captured: Some(Captured {
            complete: true,
            ledger: Ledger::default(),
        }),
        ..About::default()
    }
}

fn rows(rows: &[Exchange]) -> Rows<'static> {
    let mut rows = rows.to_vec();
    rows.sort_by_key(Exchange::order);
    Box::new(rows.into_iter().map(Ok))
}

pub(crate) fn compare_rows(
    [old, new]: [(About, &[Exchange]); 2],
    noise: Option<(About, &[Exchange])>,
    gate: &str,
) -> Comparison {
    let options = Options {
        gate: gate.parse().expect("a gate"),
        ..Options::default()
    };
    let (noise, noise_rows) = noise.unzip();
    let sides = [&old.0, &new.0];
    let mut comparer = Comparer::new(sides, noise.as_ref(), &options, testing::protocols);
    comparer
        .read(Join::new(rows(old.1), rows(new.1), noise_rows.map(rows)))
        .expect("rows in order");
    comparer.conclude(old.0, new.0, noise, &options)
}

fn compare(
    old: &[Exchange],
    new: &[Exchange],
    noise: Option<&[Exchange]>,
    gate: &str,
) -> Comparison {
    let noise = noise.map(|rows| (run("old again"), rows));
    compare_rows([(run("old"), old), (run("new"), new)], noise, gate)
}

const ANSWERS: &str = "differences > 0 or missing > 0";

fn day(requests: u32) -> Vec<Exchange> {
    let mut rows = vec![testing::open(1), testing::open(2)];
    for seq in 1..=requests {
        for session in [1, 2] {
            let text = format!("select total from t{} where id = ?", seq % 3);
            rows.push(testing::request(session, seq, &text).replayed_us(5));
        }
    }
    rows.push(testing::close(1, requests + 1));
    rows.push(testing::close(2, requests + 1));
    rows
}

fn change(rows: &[Exchange], at: usize, how: impl Fn(Exchange) -> Exchange) -> Vec<Exchange> {
    let mut rows = rows.to_vec();
    rows[at] = how(rows[at].clone());
    rows
}

#[test]
fn the_same_answers_pass() {
    let day = day(40);
    let same = compare(&day, &day, Some(&day), ANSWERS);
    assert_eq!(same.verdict.outcome, Outcome::Pass, "{:?}", same.verdict);
    assert_eq!((same.requests.compared, same.requests.equal), (80, 80));
    assert_eq!(same.logins.compared, 2);
    assert!(same.groups.is_empty() && same.noise.is_empty() && same.trust.is_empty());
}

#[test]
fn a_column_that_differs_by_nature_does_not_hide_another() {
    let old = day(4);
    let noise = change(&old, 3, |row| row.answered("2\t10.00"));
    let only_id = change(&old, 3, |row| row.answered("3\t10.00"));
    let quiet = compare(&old, &only_id, Some(&noise), ANSWERS);
    assert_eq!(quiet.verdict.outcome, Outcome::Pass);
    assert_eq!(quiet.noise.len(), 1);
    assert_eq!(quiet.requests.equal, 8);

    let total_too = change(&old, 3, |row| row.answered("3\t99.00"));
    let loud = compare(&old, &total_too, Some(&noise), ANSWERS);
    assert_eq!(loud.verdict.outcome, Outcome::Fail);
    let places: Vec<_> = loud.groups[0].places.iter().collect();
    assert_eq!(places, [(&"column total".to_owned(), &1)]);
}

#[test]
fn noise_at_other_requests_counts_by_rate() {
    let old = day(60);
    let differ = |from: usize, to: usize| -> Vec<Exchange> {
        let mut rows = old.clone();
        for row in &mut rows[from..to] {
            *row = row.clone().answered(&format!("1\t{from}"));
        }
        rows
    };
    let noise = differ(2, 32);
    let as_much = compare(&old, &differ(40, 70), Some(&noise), ANSWERS);
    assert_eq!(
        as_much.verdict.outcome,
        Outcome::Pass,
        "{:?}",
        as_much.verdict
    );
    // Twice as often: 20 to 10 of each statement, which chance brings about once in 20 times.
    let more = compare(&old, &differ(40, 100), Some(&noise), ANSWERS);
    assert_eq!(more.verdict.outcome, Outcome::Inconclusive);
    assert!(more.groups.is_empty());
    let told = "60 requests of 3 statements differ where the noise run does too";
    assert!(more.trust[0].reason.starts_with(told), "{:?}", more.trust);
    let much_more = compare(&old, &differ(40, 100), Some(&differ(2, 8)), ANSWERS);
    assert_eq!(much_more.verdict.outcome, Outcome::Fail);
}

/// Each answer has noise in its first row, and another difference in the second.
#[test]
fn noise_in_one_row_does_not_hide_what_always_differs_in_another() {
    let answers = |requests: u32, first: &str, second: &str| -> Vec<Exchange> {
        let rows = day(requests).into_iter();
        rows.map(|row| match row.kind {
            Kind::Request => row.answered(&format!("1\t{first}\n2\t{second}")),
            _ => row,
        })
        .collect()
    };
    for (requests, outcome) in [
        (1, Outcome::Pass),
        (4, Outcome::Inconclusive),
        (10, Outcome::Fail),
        (40, Outcome::Fail),
    ] {
        let old = answers(requests, "1", "10");
        let noise = answers(requests, "2", "10");
        let new = answers(requests, "3", "11");
        let compared = compare(&old, &new, Some(&noise), ANSWERS);
        assert_eq!(compared.verdict.outcome, outcome, "{requests}");
        for group in &compared.groups {
            let first = &group.examples[0].differences[0];
            assert_eq!(first.place, "row 2, column total");
        }
    }
}

#[test]
fn examples_begin_with_what_is_no_noise() {
    // The noise is in the one row or the other.
    let answers = |noisy: u32, id: &str, total: &str| -> Vec<Exchange> {
        let rows = day(40).into_iter();
        rows.map(|row| match row.kind {
            Kind::Request if row.seq % 2 == noisy => row.answered(&format!("{id}\t1\n2\t{total}")),
            Kind::Request => row.answered(&format!("1\t1\n{id}\t{total}")),
            _ => row,
        })
        .collect()
    };
    let rows = day(40).into_iter();
    let old = rows.map(|row| match row.kind {
        Kind::Request => row.answered("1\t1\n2\t1"),
        _ => row,
    });
    let old: Vec<_> = old.collect();
    let (noise, new) = (answers(0, "9", "1"), answers(1, "8", "7"));
    let compared = compare(&old, &new, Some(&noise), ANSWERS);
    assert_eq!(compared.verdict.outcome, Outcome::Fail);
    for group in &compared.groups {
        let places: Vec<_> = group.places.keys().collect();
        assert_eq!(places, ["column total"]);
        for example in &group.examples {
            assert_eq!(example.differences[0].place, "row 2, column total");
            assert_eq!(example.differences.len(), 2);
        }
    }
}

#[test]
fn an_error_is_one_difference_and_what_it_brought_are_consequences() {
    let old = day(6);
    let mut new = change(&old, 4, |row| row.failed("42883"));
    for row in &mut new[5..8] {
        *row = row.clone().lost(Status::Skipped, "transaction failed");
    }
    let comparison = compare(&old, &new, None, ANSWERS);
    assert_eq!(comparison.differences(), 1);
    assert_eq!(
        comparison.requests.consequences.get("transaction failed"),
        Some(&3)
    );
    assert_eq!(comparison.groups[0].kind, "new error");
    assert_eq!(
        comparison.groups[0].examples[0].differences[0].observed,
        "42883"
    );
}

#[test]
fn skipping_without_a_cause_is_never_a_pass() {
    let old = day(600);
    let new = change(&old, 4, |row| row.lost(Status::Skipped, "session lost"));
    let comparison = compare(&old, &new, None, ANSWERS);
    assert_eq!(comparison.verdict.outcome, Outcome::Inconclusive);
}

#[test]
fn what_was_not_sent_carries_no_pass_whatever_is_gated() {
    let old = day(60);
    let mut new = change(&old, 4, |row| row.failed("42883"));
    for row in &mut new[10..100] {
        *row = row.clone().lost(Status::Skipped, "session lost");
    }
    for (gate, outcome) in [
        ("fingerprint.p99 > 3x + 5ms", Outcome::Inconclusive),
        (ANSWERS, Outcome::Fail),
    ] {
        let comparison = compare(&old, &new, Some(&old), gate);
        assert_eq!(comparison.verdict.outcome, outcome, "{gate}");
    }
}

#[test]
fn what_is_over_the_cap_and_never_the_same_cannot_be_compared() {
    let answers = |text: &str| {
        let day = day(4);
        change(&day, 3, |row| row.answered(&format!("over the cap {text}")))
    };
    let (old, again, new) = (answers("1"), answers("2"), answers("3"));
    let comparison = compare(&old, &new, Some(&again), ANSWERS);
    assert_eq!(comparison.verdict.outcome, Outcome::Inconclusive);
    let reason = "over the cap, and not the same from run to run";
    assert_eq!(comparison.requests.not_comparable.get(reason), Some(&1));
    let comparison = compare(&old, &new, Some(&old), ANSWERS);
    assert_eq!(comparison.verdict.outcome, Outcome::Fail);
}

#[test]
fn what_both_replays_were_told_to_leave_out_is_no_loss() {
    let mut old = day(40);
    for row in &mut old[40..80] {
        *row = row.clone().lost(Status::Skipped, "filtered");
    }
    let comparison = compare(&old, &old, Some(&old), ANSWERS);
    assert_eq!(comparison.verdict.outcome, Outcome::Pass);
    let reasons: Vec<&str> = comparison.trust.iter().map(|it| &*it.reason).collect();
    assert_eq!(reasons, ["the replays were told to leave out 40 requests"]);
    for (reason, remedy) in [
        ("writes not allowed", "--allow-writes"),
        ("request with a secret", "by hand"),
        (
            "asks catalogs by OIDs of the recorded server",
            "physical copies",
        ),
    ] {
        for row in &mut old[40..80] {
            *row = row.clone().lost(Status::Skipped, reason);
        }
        let comparison = compare(&old, &old, Some(&old), ANSWERS);
        assert_eq!(comparison.verdict.outcome, Outcome::Inconclusive);
        assert!(comparison.trust[0].remedy.contains(remedy), "{reason}");
    }
}

#[test]
fn answers_that_nobody_asked_for_are_no_matter_of_coverage() {
    let unasked = "response without request";
    let mut recorded = day(40);
    for row in &mut recorded[40..80] {
        row.reason = Some(unasked.into());
    }
    let mut replayed = recorded.clone();
    for row in &mut replayed[40..80] {
        *row = row.clone().lost(Status::Skipped, unasked);
    }
    let recording = About {
        is_run: false,
        ..run("monday")
    };
    for old in [(recording, &recorded[..]), (run("old"), &replayed[..])] {
        let comparison = compare_rows([old, (run("new"), &replayed)], None, ANSWERS);
        let requests = &comparison.requests;
        assert_eq!((requests.compared, requests.unasked()), (40, 40));
        assert_eq!(comparison.verdict.outcome, Outcome::Pass);
        let mut reasons = comparison.trust.iter().map(|it| &*it.reason);
        let told = "the recorded server gave 40 answers that nobody had asked for";
        assert!(reasons.any(|reason| reason == told));
    }
}

#[test]
fn what_a_capture_lost_is_told_and_what_it_left_out_is_not() {
    let day = day(4);
    let weight = |account: &str, reason: &str, lost: u64| {
        let mut about = run("new");
        let captured = about.captured.as_mut().expect("of the capture");
        let account = captured.ledger.account_mut(account);
        account.seen = 1_000;
        account.kept = 1_000 - lost;
        account.lose(reason, lost);
        let sides = [(run("old"), &day[..]), (about, &day[..])];
        let comparison = compare_rows(sides, Some((run("again"), &day)), ANSWERS);
        comparison.trust.first().map(|issue| issue.weight)
    };
    for (account, reason) in [
        ("packets", "kernel drop"),
        ("requests", "over --max-disk"),
        ("sessions", "encrypted (TLS)"),
        ("stream", "snap length"),
        ("requests", "of a version to come"),
    ] {
        assert_eq!(weight(account, reason, 500), Some(crate::Weight::NoPass));
        assert_eq!(weight(account, reason, 5), Some(crate::Weight::Caution));
        assert_eq!(weight(account, reason, 0), None);
    }
    for (account, reason) in [
        ("sessions", "sampled out"),
        ("requests", "rst"),
        ("bytes", "retransmission"),
        ("stream", "WebSocket"),
    ] {
        assert_eq!(weight(account, reason, 500), None, "{reason}");
    }
}

#[test]
fn a_capture_that_was_cut_off_is_told() {
    let day = day(4);
    for (captured, told) in [
        (None, "the runs do not tell what the capture lost"),
        (
            Some(Captured {
                complete: false,
                ledger: Ledger::default(),
            }),
            "the capture was cut off, or the replay began before its end",
        ),
    ] {
        let new = About {
            captured,
            ..run("new")
        };
        let sides = [(run("old"), &day[..]), (new, &day[..])];
        let comparison = compare_rows(sides, Some((run("again"), &day)), ANSWERS);
        let reasons: Vec<&str> = comparison.trust.iter().map(|it| &*it.reason).collect();
        assert_eq!(reasons, [told]);
    }
}

#[test]
fn missing_is_what_was_sent_and_never_answered() {
    let old = day(6);
    let new = change(&old, 4, |row| row.lost(Status::Unanswered, "timed out"));
    let comparison = compare(&old, &new, None, "missing > 0");
    assert_eq!(comparison.requests.missing, 1);
    assert_eq!(comparison.verdict.outcome, Outcome::Fail);
}

#[test]
fn who_asks_for_a_body_differs_from_who_refuses_it() {
    let told = "target asked for a body that was not sent when recorded";
    let refused = change(&day(6), 4, |row| row.failed("417"));
    let taken = day(6);
    let asked = change(&refused, 4, |row| row.lost(Status::Unanswered, told));
    for (old, new, kind) in [
        (&refused, &asked, Some("missing")),
        (&asked, &refused, Some("new error")),
        (&asked, &taken, Some("status")),
        (&asked, &asked, None),
    ] {
        let found = compare(old, new, None, ANSWERS);
        let group = found.groups.first();
        assert_eq!(group.map(|group| group.kind.as_str()), kind);
        if let Some(group) = group {
            let cell = &group.examples[0].differences[0];
            assert!(
                [&cell.expected, &cell.observed]
                    .iter()
                    .any(|side| side.ends_with(told))
            );
        }
    }
}

const LEFT: &str = "client left before the answer";

fn left(row: Exchange, code: Option<&str>) -> Exchange {
    let response = row.response.clone();
    let mut row = row.lost(Status::Unanswered, LEFT);
    row.response = response;
    if let Some(response) = &mut row.response {
        response.error_code = code.map(Arc::from);
    }
    row
}

#[test]
fn an_error_counts_where_the_client_left_the_answer() {
    let day = day(6);
    let began = change(&day, 4, |row| left(row, None));
    let failed = change(&day, 4, |row| row.failed("500"));
    let failed_then_left = change(&day, 4, |row| left(row, Some("500")));
    let nothing = change(&day, 4, |row| row.lost(Status::Unanswered, LEFT));
    let called_off = change(&day, 4, |row| row.failed("called off"));
    let begun = Some("no error, then the client left");
    let unknown = Some("not known: the client left before the answer");
    for (old, new, expected) in [
        (&began, &failed, begun),
        (&began, &failed_then_left, begun),
        (&nothing, &failed, unknown),
        (&nothing, &failed_then_left, unknown),
        (&day, &failed_then_left, Some("ok")),
        (&failed_then_left, &failed, None),
        (&failed_then_left, &failed_then_left, None),
        (&failed, &failed_then_left, None),
        (&nothing, &called_off, None),
        (&called_off, &nothing, None),
        (&began, &day, None),
        (&day, &began, None),
        (&day, &nothing, None),
    ] {
        let found = compare(old, new, None, ANSWERS);
        let told = found.groups.first().map(|group| {
            assert_eq!(group.kind, "new error");
            let cell = &group.examples[0].differences[0];
            assert_eq!(cell.observed, "error 500");
            cell.expected.as_str()
        });
        assert_eq!(told, expected);
    }
    let recorded = change(&day, 4, |row| row.lost(Status::Unanswered, "fin"));
    let recording = About {
        is_run: false,
        ..run("monday")
    };
    let sides = [(recording, &recorded[..]), (run("new"), &failed[..])];
    assert_eq!(compare_rows(sides, None, ANSWERS).differences(), 1);
    let itself = compare(&began, &failed, Some(&failed), ANSWERS);
    assert_eq!(itself.differences(), 0);
}

#[test]
fn what_the_client_left_on_both_sides_is_no_matter_of_coverage() {
    let day = day(6);
    let both = change(&day, 4, |row| left(row, None));
    let found = compare(&both, &both, None, ANSWERS);
    assert_eq!(found.verdict.outcome, Outcome::Pass, "{:?}", found.verdict);
    assert_eq!((found.requests.left(), found.requests.compared), (1, 11));
    let remedy = "streams that the client leaves have no end to compare: only their errors count";
    assert!(found.trust.iter().any(|issue| issue.remedy == remedy));
    let one = compare(&both, &day, None, ANSWERS);
    assert_eq!(one.verdict.outcome, Outcome::Inconclusive);
    assert!(one.trust.iter().any(|issue| issue.remedy == remedy));
}

#[test]
fn what_capture_did_not_see_is_counted_by_reason() {
    let old = change(&day(6), 4, |mut row| {
        row.notes.add(Notes::RESPONSE_GAP);
        row
    });
    let new = change(&old, 4, |row| row.answered("another"));
    let two_runs = compare(&old, &new, None, ANSWERS);
    assert_eq!(two_runs.differences(), 1);
    let recording = About {
        is_run: false,
        ..run("monday")
    };
    let comparison = compare_rows([(recording, &old), (run("new"), &new)], None, ANSWERS);
    assert_eq!(comparison.differences(), 0);
    assert_eq!(
        comparison
            .requests
            .not_comparable
            .get("gap in the response"),
        Some(&1)
    );
    assert_eq!(comparison.verdict.outcome, Outcome::Inconclusive);
}

#[test]
fn what_fails_is_told_before_what_is_undecided() {
    let old = day(5);
    let new = change(&old, 4, |row| row.answered("another"));
    let found = compare(&old, &new, None, "fingerprint.p99 > 2x or differences > 0");
    assert_eq!(found.verdict.outcome, Outcome::Fail);
    let [first, second] = &found.verdict.reasons[..] else {
        panic!("{:?}", found.verdict.reasons);
    };
    assert!(first.starts_with("differences > 0: "), "{first}");
    assert!(
        second.starts_with("undecided: fingerprint.p99 > 2x: "),
        "{second}"
    );
}

#[test]
fn what_differs_at_many_names_is_one_group() {
    let mut old = vec![testing::open(1)];
    old.extend((1..=300).map(|n| testing::request(1, n, &testing::user_page(n))));
    let mut new = old.clone();
    for row in new.iter_mut().skip(1).step_by(2) {
        *row = row.clone().answered("1\t11.00");
    }
    let mut monday = run("old");
    monday.protocols = vec!["fake".to_owned(), "http".to_owned()];
    let found = compare_rows([(monday, &old), (run("new"), &new)], None, ANSWERS);
    let groups: Vec<_> = found
        .groups
        .iter()
        .map(|it| (it.named.statement.as_str(), it.count, it.compared))
        .collect();
    assert_eq!(groups, [("GET /users/{name}", 150, 300)]);
    assert_eq!(found.groups[0].places["column total"], 150);
    assert_eq!(found.groups[0].examples.len(), 3);
    assert_eq!(found.latency.fingerprints.len(), 1);
    assert_eq!(found.latency.fingerprints[0].times.old.count, 300);
}

proptest! {
    #[test]
    fn injected_differences_are_found_exactly(picks in prop::collection::btree_set(2usize..82, 0..30)) {
        let old = day(40);
        let mut new = old.clone();
        for &at in &picks {
            new[at] = match at % 3 {
                0 => new[at].clone().failed("42883"),
                1 => new[at].clone().answered("1\t11.00"),
                _ => new[at].clone().lost(Status::Unanswered, "session lost"),
            };
        }
        let found = compare(&old, &new, Some(&old), ANSWERS);
        prop_assert_eq!(found.differences(), picks.len() as u64);
        let counts = &found.requests;
        prop_assert_eq!(counts.matched, counts.compared + counts.missing);
        prop_assert_eq!(counts.compared + counts.missing - counts.equal, picks.len() as u64);
        let outcome = if picks.is_empty() { Outcome::Pass } else { Outcome::Fail };
        prop_assert_eq!(found.verdict.outcome, outcome);
        let itself = compare(&new, &new, None, "values > 0 or new-errors > 0");
        prop_assert_eq!(itself.differences(), 0);
    }
}

#[test]
fn no_pass_rests_on_an_old_run_that_failed_where_production_did_not() {
    let rows = day(100);
    let failed = |id: &str, new_errors: u64| {
        let mut about = run(id);
        let requests = about.ledger.account_mut("requests");
        (requests.seen, requests.kept) = (200, 200);
        about.new_errors = new_errors;
        about.notes = vec![format!("{}: {new_errors}", recording::NEW_ERRORS)];
        about
    };
    for (old, new, outcome) in [
        (2, 0, Outcome::Pass),
        (3, 0, Outcome::Inconclusive),
        (3, 200, Outcome::Inconclusive),
        (0, 200, Outcome::Pass),
    ] {
        let sides = [(failed("old", old), &*rows), (failed("new", new), &*rows)];
        let comparison = compare_rows(sides, None, ANSWERS);
        assert_eq!(comparison.verdict.outcome, outcome, "{old} and {new}");
    }
}
