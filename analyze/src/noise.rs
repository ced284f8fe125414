//! Whether what differs at a noisy place is noise.

use crate::stats;

/// Below that chance, what differs at a place that is noisy too is no noise; below the other, it may be none.
const ALPHA: f64 = 0.001;
const DOUBT: f64 = 0.05;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    Real,
    /// It looks real, but chance may explain it.
    Undecided,
    Noise,
}

/// What the requests that differ at a place are: `all` between OLD and NEW, and between OLD and the noise
/// run; `only` those that do not differ there in the other pair.
///
/// Where there is noise, what differs counts when it differs alone so often that chance does not explain it.
/// `is_noisy`: there is noise at a place of its [family] at least.
pub(crate) fn judge(all: [u64; 2], only: [u64; 2], compared: u64, is_noisy: bool) -> Judgement {
    let chance = match is_more(only, compared) {
        true => stats::sign(only[0], only[1]),
        false => 1.0,
    };
    if !is_noisy && all[1] == 0 || chance < ALPHA {
        Judgement::Real
    } else if chance < DOUBT || is_more(all, compared) {
        Judgement::Undecided
    } else {
        Judgement::Noise
    }
}

/// A place without the number of the line or the element, where it has one: lists of varying length and order
/// have noise at any of these, at some seldom.
pub(crate) fn family(place: &str) -> Option<String> {
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
    numbered.then_some(family)
}

/// Diffy's rule: what differs between new and old counts where it is more than what differs between
/// old and old, by more than 20 % of their sum and more than 0.03 % of the requests.
fn is_more([raw, noise]: [u64; 2], compared: u64) -> bool {
    let more = raw.saturating_sub(noise) as f64;
    more > 0.2 * (raw + noise) as f64 && more > 0.0003 * compared as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_by_rate() {
        use Judgement::{Noise, Real, Undecided};
        for (all, only, compared, found) in [
            ([1, 0], [1, 0], 100, Real),
            ([10, 10], [10, 10], 100, Noise),
            ([14, 10], [14, 10], 100, Noise),
            ([16, 10], [16, 10], 100, Undecided),
            ([16, 1], [16, 1], 100, Real),
            ([16, 1], [16, 1], 100_000, Noise),
            ([0, 3], [0, 3], 100, Noise),
            // A coin that is thrown for each answer.
            ([6, 3], [4, 1], 12, Undecided),
            ([520, 480], [270, 230], 1_000, Noise),
            // Beside noise at another element of the same list in each answer.
            ([12, 12], [12, 0], 12, Real),
            ([5, 5], [5, 0], 5, Undecided),
            ([4, 4], [4, 0], 4, Noise),
            // Where other requests have noise.
            ([44, 30], [14, 0], 44, Real),
        ] {
            let judged = judge(all, only, compared, false);
            assert_eq!(judged, found, "{all:?} {only:?}");
        }
        assert_eq!(judge([2, 0], [2, 0], 200, true), Undecided);
        assert_eq!(judge([10, 0], [10, 0], 200, true), Real);
    }

    #[test]
    fn elements_and_lines_have_families() {
        for (place, found) in [
            ("$.l[10]", Some("$.l[]")),
            ("$.l[3][12], added", Some("$.l[][], added")),
            ("$.l[*].a1", None),
            ("$.a1", None),
            ("line 12, added 10", Some("line , added ")),
            ("column a 1", None),
            ("body", None),
        ] {
            assert_eq!(family(place).as_deref(), found, "{place}");
        }
    }
}
