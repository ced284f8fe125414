mod chance;

use super::*;

#[test]
fn the_letter_that_differs_is_kept() {
    let [expected, observed] = ["a", "b"].map(|end| format!("{}{end}", "語".repeat(199)));
    let kept = cell(&Difference {
        kind: DifferenceKind::Values,
        place: String::new(),
        expected,
        observed,
    });
    assert!(kept.expected.ends_with('a') && kept.observed.ends_with('b'));
}

/// The only group of a comparison.
fn finished(gathered: Gathered, compared: u64) -> (Group, NoiseGroup) {
    let kind = DifferenceKind::Values;
    let groups = [((Subject::Nameless, kind), gathered)];
    let judged = judged(&groups, |_| compared);
    let [(_, gathered)] = groups;
    gathered.finish(kind, compared, &judged[0])
}

/// An answer for each set of twelve places: so it differs between OLD and NEW, and in all but `real` of
/// these places another one does in the noise run.
fn any_of_twelve(real: &str) -> (Group, NoiseGroup) {
    let mut gathered = Gathered::default();
    for set in 1..4096 {
        let places = (0..12).filter(|place| set >> place & 1 == 1);
        let places: BTreeSet<String> = places.map(|place| format!("$.{place}")).collect();
        for place in &places {
            gathered.tally(0, place, true);
            if place != real {
                gathered.tally(1, place, true);
            }
        }
        gathered.set(places, 1).count += 1;
    }
    finished(gathered, 4095)
}

#[test]
fn what_differs_in_any_of_many_places_is_judged_by_each() {
    let (group, noise) = any_of_twelve("");
    assert_eq!((group.count, noise.count, noise.undecided), (0, 4095, 0));
    let (group, noise) = any_of_twelve("$.7");
    assert_eq!((group.count, noise.count, noise.undecided), (2048, 2047, 0));
    assert_eq!(group.places, BTreeMap::from([("$.7".to_owned(), 2048)]));
}

#[test]
fn what_differs_in_more_places_than_are_judged_is_undecided() {
    let places: BTreeSet<String> = (0..5000).map(|at| format!("$[{at}]")).collect();
    let mut gathered = Gathered::default();
    for place in &places {
        gathered.tally(0, place, true);
        gathered.tally(1, place, true);
    }
    gathered.noisy_requests = 1;
    gathered.set(places, 1).count += 1;
    assert_eq!(gathered.other_places.len(), PLACES + 1);
    let (group, noise) = finished(gathered, 1);
    assert_eq!((group.count, noise.count, noise.undecided), (0, 1, 1));
}
