use super::*;

#[test]
fn a_slower_statement_fails_beyond_noise_only() {
    let gate = "fingerprint.p99 > 1.3x + 1ms";
    let old = day(120);
    let slow = |micros: i64| -> Vec<Exchange> {
        let slow = |row: &Exchange| match &row.request.statement {
            Some(statement) if statement.text.contains("t1") => row.clone().after_us(micros),
            _ => row.clone(),
        };
        old.iter().map(slow).collect()
    };
    let slower = compare(&old, &slow(9_000), Some(&old), gate);
    assert_eq!(slower.verdict.outcome, Outcome::Fail);
    let first = &slower.latency.fingerprints[0];
    assert!(first.named.statement.contains("t1") && first.slower.len() == 1);
    assert_eq!(first.added_ns, 80 * 8_000_000);
    let noisy = compare(&old, &slow(9_000), Some(&slow(9_000)), gate);
    assert_eq!(noisy.verdict.outcome, Outcome::Pass, "{:?}", noisy.verdict);
}

/// 40 executions of each statement, of which some take long.
fn executed(statements: u32, long: impl Fn(u32, u32) -> bool) -> Vec<Exchange> {
    let mut rows = vec![testing::open(1)];
    for seq in 0..statements * 40 {
        let (statement, at) = (seq % statements, seq / statements);
        let micros = if long(statement, at) { 1_000_000 } else { 150 };
        let text = format!("select {statement} from t");
        rows.push(testing::request(1, seq + 1, &text).after_us(micros));
    }
    rows
}

#[test]
fn a_statement_that_may_be_slower_by_chance_is_no_pass() {
    let old = executed(1, |_, _| false);
    let new = executed(1, |_, at| at < 3);
    for gate in [
        Gate::DEFAULT,
        "fingerprint.p99 > 2x",
        "fingerprint.mean > 2x",
    ] {
        let found = compare(&old, &new, Some(&old), gate);
        assert_eq!(found.verdict.outcome, Outcome::Inconclusive, "{gate}");
        assert!(found.latency.fingerprints[0].slower.is_empty());
    }
    let found = compare(&old, &new, None, "fingerprint.p99 > 2x");
    assert_eq!(
        found.verdict.reasons,
        [
            "undecided: fingerprint.p99 > 2x: 1 of 1 statements is above the limit, which may be chance: \
             record longer; the worst has a p99 of 1.00 s, was 150 µs: select 0 from t"
        ]
    );
    let within = compare(&old, &new, None, "fingerprint.p50 > 2x");
    assert_eq!(within.verdict.outcome, Outcome::Pass);
}

#[test]
fn of_many_statements_chance_slows_some_on_either_side() {
    let side = |which: u32| executed(30, move |statement, at| statement % 5 == which && at == 7);
    let found = compare(&side(1), &side(2), None, "fingerprint.p99 > 2x");
    assert_eq!(found.verdict.outcome, Outcome::Pass, "{:?}", found.verdict);
    assert_eq!(
        found.verdict.reasons,
        [
            "none of 30 statements has a slower p99 beyond chance: 6 above the limit, 6 with OLD and NEW \
             exchanged"
        ]
    );
    let found = compare(
        &executed(30, |_, _| false),
        &side(2),
        None,
        "fingerprint.p99 > 2x",
    );
    assert_eq!(found.verdict.outcome, Outcome::Inconclusive);
}

#[test]
fn one_slow_request_among_few_is_neither_a_pass_nor_a_failure() {
    let old = day(20);
    let new = change(&old, 5, |row| row.after_us(500_000));
    for (gate, outcome) in [
        ("p99 > 1.3x", Outcome::Inconclusive),
        ("max > 100ms", Outcome::Fail),
        ("p99 > 2s", Outcome::Pass),
    ] {
        let comparison = compare(&old, &new, Some(&old), gate);
        assert_eq!(
            comparison.verdict.outcome, outcome,
            "{gate} {:?}",
            comparison.verdict
        );
    }
}

#[test]
fn a_metric_without_samples_is_no_pass() {
    let day = day(5);
    let few = compare(&day, &day, None, "fingerprint.p99 > 2x");
    assert_eq!(few.verdict.outcome, Outcome::Inconclusive);
    let strict = compare(&day, &day, None, "fingerprint.p99 > 2x or inconclusive");
    assert_eq!(strict.verdict.outcome, Outcome::Fail);
    let none = compare(&[], &[], None, ANSWERS);
    assert_eq!(none.verdict.outcome, Outcome::Inconclusive);
}

#[test]
fn times_do_not_count_where_the_harness_was_late() {
    let gate = "response.p99 > 1.3x";
    let old = day(60);
    let late: Vec<Exchange> = old
        .iter()
        .map(|row| row.clone().replayed_us(30_000).after_us(1_000))
        .collect();
    let comparison = compare(&old, &late, None, gate);
    assert_eq!(
        comparison.verdict.outcome,
        Outcome::Inconclusive,
        "{:?}",
        comparison.verdict
    );
    let answers = compare(&old, &late, None, ANSWERS);
    assert_eq!(answers.verdict.outcome, Outcome::Pass);
}
