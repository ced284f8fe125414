//! Servers that answer by chance, and how often that is taken for a change.

use std::collections::HashMap;

use super::*;
use crate::testing;

struct Dice(u64);

impl Dice {
    /// Splitmix (Steele, Lea and Flood, 2014).
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.roll() % end as u64) as usize
    }

    fn hits(&mut self, chance: f64) -> bool {
        (self.roll() >> 11) as f64 / (1u64 << 53) as f64 <= chance
    }
}

/// What an answer has at each place; 0 is nothing.
type Answer = Vec<usize>;

/// How a server answers a statement.
struct Statement {
    requests: usize,
    places: Vec<String>,
    answer: Box<dyn Fn(&mut Dice) -> Answer>,
}

fn coins(requests: usize, name: &str, chances: Vec<f64>) -> Statement {
    Statement {
        requests,
        places: (0..chances.len()).map(|at| format!("{name}{at}")).collect(),
        answer: Box::new(move |dice| {
            let mut coin = |chance: &f64| 1 + usize::from(dice.hits(*chance));
            chances.iter().map(&mut coin).collect()
        }),
    }
}

/// The first of so many lines, in any order.
fn shuffled(requests: usize, lines: usize, lengths: std::ops::RangeInclusive<usize>) -> Statement {
    Statement {
        requests,
        places: (1..=lines).map(|at| format!("line {at}")).collect(),
        answer: Box::new(move |dice| {
            let mut all: Answer = (1..=lines).collect();
            (1..lines).for_each(|at| all.swap(at, dice.below(at + 1)));
            let length = lengths.start() + dice.below(lengths.end() - lengths.start() + 1);
            all.iter_mut().skip(length).for_each(|line| *line = 0);
            all
        }),
    }
}

/// A map with some of so many keys.
fn keys(requests: usize, keys: usize, chance: f64) -> Statement {
    let letter = |at: usize| char::from(b'g' + (at % 20) as u8);
    let key = |at: usize| format!("$.map.k{}{}", letter(at / 20), letter(at));
    Statement {
        places: (0..keys).map(key).collect(),
        answer: Box::new(move |dice| (0..keys).map(|_| usize::from(dice.hits(chance))).collect()),
        requests,
    }
}

fn compared(places: &[String], old: &Answer, new: &Answer) -> Vec<Difference> {
    let mut differences = Vec::new();
    for (place, pair) in places.iter().zip(old.iter().zip(new)) {
        let end = match pair {
            (old, new) if old == new => continue,
            (0, _) => ", added",
            (_, 0) => ", removed",
            _ => "",
        };
        differences.push(Difference {
            kind: DifferenceKind::Values,
            place: format!("{place}{end}"),
            expected: String::new(),
            observed: String::new(),
        });
    }
    differences
}

/// NEW answers these requests with something else, by statement, request and place.
type Planted<'a> = &'a dyn Fn(usize, usize) -> Option<usize>;

fn run(dice: &mut Dice, statements: &[Statement], planted: Planted<'_>) -> Grouped {
    let mut differences = Differences::default();
    let mut requests = HashMap::new();
    for (index, statement) in statements.iter().enumerate() {
        let row = testing::request(1, 1, &format!("select {index}"));
        requests.insert(Subject::of(&row), statement.requests as u64);
        for request in 0..statement.requests {
            let [old, noise, mut new] = [(); 3].map(|()| (statement.answer)(dice));
            if let Some(place) = planted(index, request) {
                new[place] = 1_000;
            }
            let [fresh, noise] = [new, noise].map(|it| compared(&statement.places, &old, &it));
            if fresh.is_empty() && noise.is_empty() {
                continue;
            }
            differences.add(&Differing {
                protocol: None,
                old: &row,
                new: None,
                fresh,
                noise,
            });
        }
    }
    differences.finish(|subject| requests[&subject])
}

/// How many of so many comparisons pass, are inconclusive and fail.
fn outcomes(times: u64, statements: &[Statement], planted: Planted<'_>) -> [u64; 3] {
    let mut outcomes = [0; 3];
    for seed in 0..times {
        let found = run(&mut Dice(seed), statements, planted);
        let undecided = found.noise.iter().any(|group| group.undecided > 0);
        let outcome = match found.groups.is_empty() {
            false => 2,
            true => usize::from(undecided),
        };
        outcomes[outcome] += 1;
    }
    outcomes
}

fn each(statements: usize, one: impl Fn(usize) -> Statement) -> Vec<Statement> {
    (0..statements).map(one).collect()
}

/// From one in two to one in twenty.
fn varied(count: usize) -> Vec<f64> {
    (0..count).map(|at| 0.5 / (1 + at % 10) as f64).collect()
}

#[test]
fn servers_that_answer_by_chance_pass() {
    let coin = |requests| coins(requests, "$.c", vec![0.5]);
    let mut all = [0; 3];
    for (times, statements) in [
        (10, vec![coin(2)]),
        (5, vec![coin(1_000)]),
        (5, vec![coins(200, "$.c", vec![0.5; 40])]),
        (5, vec![coins(100, "$.c", varied(60))]),
        (5, vec![shuffled(100, 40, 40..=40)]),
        (10, vec![shuffled(50, 40, 10..=40)]),
        (10, vec![keys(20, 60, 0.2)]),
        (10, each(150, |_| coin(2))),
        (2, each(600, |_| coin(2))),
        (3, each(225, |_| coin(12))),
        (3, each(300, |_| coins(20, "$.c", vec![0.02]))),
        // A few statements are most of the requests.
        (
            5,
            each(100, |at| coins(1 + 300 / (at + 1), "$.c", varied(5))),
        ),
    ] {
        let found = outcomes(times, &statements, &|_, _| None);
        all.iter_mut().zip(found).for_each(|(sum, n)| *sum += n);
    }
    let [pass, inconclusive, fail] = all;
    assert!(fail <= 1 && inconclusive * 10 <= pass, "{all:?}");
}

#[test]
fn what_changed_is_found_beside_chance() {
    let coin = |requests| coins(requests, "$.c", vec![0.5]);
    let quiet = |requests| coins(requests, "$.c", vec![0.0]);
    let beside = |requests, coins: usize| {
        let mut chances = vec![0.5; coins];
        chances.push(0.0);
        self::coins(requests, "$.c", chances)
    };
    let all: Planted<'_> = &|_, _| Some(0);
    let one_place: Planted<'_> = &|statement, request| (statement + request == 0).then_some(5);
    let a_tenth: Planted<'_> = &|_, request| (request % 10 == 0).then_some(0);
    let others: Planted<'_> = &|statement, _| (statement > 0).then_some(0);
    let one_of_others: Planted<'_> = &|statement, request| (statement > request).then_some(0);
    for (statements, planted) in [
        // Where there is never noise, one request is enough.
        (vec![beside(100, 5)], one_place),
        (each(100, |_| beside(2, 5)), one_place),
        (vec![coin(1_000), quiet(100)], one_of_others),
        // Where there is, many are.
        (vec![coin(100)], all),
        (vec![beside(100, 40)], all),
        (vec![coins(1_000, "$.c", vec![0.005])], a_tenth),
        (each(100, |_| coin(2)), all),
        (vec![coin(1_000), quiet(100)], others),
        (
            each(60, |at| if at == 0 { coin(2_000) } else { quiet(2) }),
            others,
        ),
    ] {
        let found = outcomes(5, &statements, planted);
        assert_eq!(found, [0, 0, 5], "{}", statements.len());
    }
}
