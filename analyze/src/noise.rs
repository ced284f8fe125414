//! Whether what differs at a noisy place is noise.

use std::collections::{BTreeMap, HashMap};

use protocol::DifferenceKind;

use crate::stats;

/// The chance that of all that differs by noise in a comparison anything is taken for real, or for what may be.
const ALPHA: f64 = 0.001;
const DOUBT: f64 = 0.05;
/// An object of which so many members come and go by noise is a map: any of its members may.
const MAP: usize = 5;
const ANY_MEMBER: &str = ".*, ";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    Real,
    /// It looks real, but chance may explain it.
    Undecided,
    Noise,
}

/// A place in the answers to a statement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    /// The differences of one kind in one statement, by number.
    pub group: usize,
    pub kind: DifferenceKind,
    pub name: &'a str,
    /// Requests that were compared; those that differ there between OLD and the noise run.
    pub compared: u64,
    pub noise: u64,
    /// Those that differ there between OLD and NEW, and between OLD and the noise run, and not in the other pair.
    pub only: [u64; 2],
}

/// Where there is never noise, all that differs is real. Elsewhere what differs counts when NEW differs alone so
/// often that chance does not explain it: if NEW is like OLD, either run is as likely to be the one that differs.
pub(crate) fn judge(places: &[Place<'_>]) -> Vec<Judgement> {
    let noise = Noise::of(places);
    let chances: Vec<Option<f64>> = places.iter().map(|place| noise.chance(place)).collect();
    let [surely, perhaps] = [ALPHA, DOUBT].map(|alpha| beyond_chance(places, &chances, alpha));
    let judged = chances.iter().zip(surely.into_iter().zip(perhaps));
    judged
        .map(|judged| match judged {
            (None, _) | (_, (true, _)) => Judgement::Real,
            (_, (_, true)) => Judgement::Undecided,
            _ => Judgement::Noise,
        })
        .collect()
}

/// Where NEW differs alone so often that by chance any place does in `alpha` of the comparisons at most (Holm's
/// correction): a place by itself, or where no statement tells it by itself, the same name in all of them.
fn beyond_chance(places: &[Place<'_>], chances: &[Option<f64>], alpha: f64) -> Vec<bool> {
    let mut names: BTreeMap<(DifferenceKind, &str), Vec<usize>> = BTreeMap::new();
    let mut alone = Vec::new();
    for (at, (place, chance)) in places.iter().zip(chances).enumerate() {
        if let Some(chance) = chance
            && place.only != [0, 0]
        {
            alone.push((at, *chance));
            let name = (place.kind, place.name);
            names.entry(name).or_default().push(at);
        }
    }
    names.retain(|(_, name), statements| is_name(name) && statements.len() > 1);
    let each = alpha / (alone.len() + names.len()) as f64;
    let holm = |chances: &[f64]| stats::holm(chances, each * chances.len() as f64);

    let mut beyond = vec![false; places.len()];
    let (alone, chances): (Vec<usize>, Vec<f64>) = alone.into_iter().unzip();
    for (at, is_beyond) in alone.into_iter().zip(holm(&chances)) {
        beyond[at] = is_beyond;
    }
    for statements in names.values_mut() {
        statements.retain(|at| !beyond[*at]);
    }
    let together =
        |statements: &Vec<usize>| stats::signs(statements.iter().map(|at| places[*at].only));
    let chances: Vec<f64> = names.values().map(together).collect();
    for (statements, is_beyond) in names.into_values().zip(holm(&chances)) {
        for at in statements {
            beyond[at] = is_beyond && is_more(places[at].only, places[at].compared);
        }
    }
    beyond
}

/// How often noise is met, of the requests of a statement.
#[derive(Default)]
struct Noise<'a> {
    names: HashMap<(DifferenceKind, &'a str), Vec<f64>>,
    families: HashMap<(usize, String), Vec<f64>>,
}

impl<'a> Noise<'a> {
    fn of(places: &[Place<'a>]) -> Noise<'a> {
        let mut noise = Noise::default();
        for place in places.iter().filter(|place| place.noise > 0) {
            let rate = rate(place.noise, place.compared);
            if is_name(place.name) {
                let name = noise.names.entry((place.kind, place.name));
                name.or_default().push(rate);
            }
            if let Some(family) = family(place.name) {
                let rates = noise.families.entry((place.group, family));
                // At another element it may be too seldom to have been met.
                let rates = rates.or_insert_with(|| vec![self::rate(0, place.compared)]);
                rates.push(rate);
            }
        }
        let is_list = |family: &str| !family.contains(ANY_MEMBER);
        noise
            .families
            .retain(|(_, family), rates| is_list(family) || rates.len() > MAP);
        let names = noise.names.values_mut();
        for rates in names.chain(noise.families.values_mut()) {
            rates.sort_by(f64::total_cmp);
            rates.dedup();
        }
        noise
    }

    /// The chance that noise explains what differs; `None` where there is none.
    fn chance(&self, place: &Place<'_>) -> Option<f64> {
        if place.noise > 0 {
            let chance = match is_more(place.only, place.compared) {
                true => stats::sign(place.only[0], place.only[1]),
                false => 1.0,
            };
            return Some(chance);
        }
        // Then it is noise that this statement, or element, has not shown: as elsewhere, whatever explains it best.
        let elsewhere = self.names.get(&(place.kind, place.name));
        let family = family(place.name).and_then(|it| self.families.get(&(place.group, it)));
        let rates = elsewhere.into_iter().chain(family).flatten();
        rates
            .map(|rate| stats::spared(place.only[0], place.compared, *rate))
            .reduce(f64::max)
    }
}

/// The rule of succession (Laplace, 1774): what was always met is not certain.
fn rate(times: u64, of: u64) -> f64 {
    (times + 1) as f64 / (of + 2) as f64
}

/// Whether it is the same thing in another statement: a column, a header, a trailer or a member, and no line or whole
/// answer.
fn is_name(place: &str) -> bool {
    let parts = ["column ", "header ", "trailer "];
    parts.iter().any(|part| place.contains(part)) || place.starts_with('$') && place != "$"
}

/// A place without the number of the line or the element, where it has one, or without the name of a member that
/// is there on one side only: lists of varying length and order, and maps, have noise at any of these, at some
/// seldom.
fn family(place: &str) -> Option<String> {
    let before = match place {
        _ if place.starts_with('$') => '[',
        _ if place.starts_with("line ") => ' ',
        _ => return None,
    };
    let mut family = String::with_capacity(place.len());
    let mut numbered = false;
    for (at, part) in place.split(before).enumerate() {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
        family.extend((at > 0).then_some(before));
        family += if at > 0 { rest } else { part };
        numbered |= at > 0 && rest.len() < part.len();
    }
    if numbered {
        return Some(family);
    }
    let (object, member) = place.rsplit_once('.')?;
    let (_, end) = member.rsplit_once(", ")?;
    ["added", "removed"]
        .contains(&end)
        .then(|| format!("{object}{ANY_MEMBER}{end}"))
}

/// Diffy's rule: what differs between new and old counts where it is more than what differs between
/// old and old, by more than 20 % of their sum and more than 0.03 % of the requests.
fn is_more([raw, noise]: [u64; 2], compared: u64) -> bool {
    let more = raw.saturating_sub(noise) as f64;
    more > 0.2 * (raw + noise) as f64 && more > 0.0003 * compared as f64
}

#[cfg(test)]
mod tests {
    use super::Judgement::{Noise, Real, Undecided};
    use super::*;

    fn place(name: &str, compared: u64, noise: u64, only: [u64; 2]) -> Place<'_> {
        Place {
            group: 0,
            kind: DifferenceKind::Values,
            name,
            compared,
            noise,
            only,
        }
    }

    #[test]
    fn noise_by_rate() {
        for (noise, only, compared, found) in [
            (0, [1, 0], 100, Real),
            (10, [10, 10], 100, Noise),
            (10, [14, 10], 100, Noise),
            (10, [20, 8], 100, Undecided),
            (1, [16, 1], 100, Real),
            (1, [16, 1], 100_000, Noise),
            (3, [0, 3], 100, Noise),
            // A coin that is thrown for each answer.
            (3, [4, 1], 12, Noise),
            (480, [270, 230], 1_000, Noise),
            // Beside noise at another element of the same list in each answer.
            (12, [12, 0], 12, Real),
            (6, [6, 0], 6, Undecided),
            (4, [4, 0], 4, Noise),
            // Where other requests have noise.
            (30, [14, 0], 44, Real),
        ] {
            let judged = judge(&[place("", compared, noise, only)]);
            assert_eq!(judged, [found], "{noise} {only:?}");
        }
    }

    #[test]
    fn the_more_places_the_more_chance_explains() {
        for (places, found) in [(1, Real), (10, Undecided), (1_000, Noise)] {
            let mut all = vec![place("", 100, 50, [12, 0])];
            all.resize(places, place("", 100, 50, [25, 25]));
            assert_eq!(judge(&all)[0], found, "{places}");
        }
    }

    #[test]
    fn elements_of_a_noisy_list_may_have_seldom_noise() {
        for (times, found) in [(1, Noise), (4, Undecided), (10, Real)] {
            let noisy = place("line 1", 200, 100, [50, 50]);
            let judged = judge(&[noisy, place("line 2", 200, 0, [times, 0])]);
            assert_eq!(judged, [Noise, found], "{times}");
        }
    }

    #[test]
    fn where_many_members_come_and_go_any_may() {
        let names = ["a", "b", "c", "d", "e", "f"].map(|name| format!("$.m.{name}, added"));
        for (noisy, times, found) in [(4, 1, Real), (5, 1, Noise), (5, 20, Real)] {
            let mut all: Vec<_> = names.iter().map(|it| place(it, 20, 3, [3, 3])).collect();
            all.truncate(noisy);
            all.push(place("$.m.x, added", 20, 0, [times, 0]));
            assert_eq!(judge(&all).last(), Some(&found), "{noisy} {times}");
        }
    }

    /// Here the place has no noise, but elsewhere it is a coin, or differed once.
    #[test]
    fn a_statement_has_the_noise_of_others_where_it_has_too_few_requests_to_show_it() {
        let elsewhere = [("$.a", 1_000, 500, [250, 250]), ("$.a", 1_000, 1, [0, 1])];
        for (other, compared, only, found) in [
            (0, 2, 2, Noise),
            (0, 100, 1, Real),
            (1, 100, 1, Noise),
            (1, 100, 3, Undecided),
            (1, 100, 6, Real),
        ] {
            let (name, of, noise, both) = elsewhere[other];
            let mut here = place(name, compared, 0, [only, 0]);
            here.group = 1;
            let judged = judge(&[place(name, of, noise, both), here]);
            assert_eq!(judged, [Noise, found], "{compared} {only}");
        }
        // What is no name is another thing in each statement.
        let whole = judge(&[place("", 9, 5, [2, 2]), place("", 2, 0, [1, 0])]);
        assert_eq!(whole, [Noise, Real]);
    }

    #[test]
    fn statements_tell_together_what_none_tells_alone() {
        let noisy = place("$.a", 10_000, 5_000, [2_500, 2_500]);
        for (statements, found) in [(2, Noise), (6, Undecided), (10, Real)] {
            let mut all = vec![noisy];
            all.resize(statements + 1, place("$.a", 2, 0, [2, 0]));
            let judged = judge(&all);
            assert_eq!(judged[0], Noise);
            assert!(judged[1..].iter().all(|it| *it == found), "{judged:?}");
        }
    }

    #[test]
    fn what_has_a_name_is_the_same_in_another_statement() {
        for name in ["column a", "header x-a, added", "trailer x-a", "$.a"] {
            assert!(is_name(name), "{name}");
        }
        for other in ["", "$", "body", "line 1"] {
            assert!(!is_name(other), "{other}");
        }
    }

    #[test]
    fn elements_and_lines_have_families() {
        for (place, found) in [
            ("$.l[10]", Some("$.l[]")),
            ("$.l[3][12], added", Some("$.l[][], added")),
            ("$.l[*].a1", None),
            ("$.a1", None),
            ("$.a.b, removed", Some("$.a.*, removed")),
            ("$.a, type", None),
            ("line 12, added 10", Some("line , added ")),
            ("column a 1", None),
            ("body", None),
        ] {
            assert_eq!(family(place).as_deref(), found, "{place}");
        }
    }
}
