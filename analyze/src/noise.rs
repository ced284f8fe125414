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
pub(crate) fn judge(all: [u64; 2], only: [u64; 2], compared: u64) -> Judgement {
    let chance = match is_more(only, compared) {
        true => stats::sign(only[0], only[1]),
        false => 1.0,
    };
    if all[1] == 0 || chance < ALPHA {
        Judgement::Real
    } else if chance < DOUBT || is_more(all, compared) {
        Judgement::Undecided
    } else {
        Judgement::Noise
    }
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
            assert_eq!(judge(all, only, compared), found, "{all:?} {only:?}");
        }
    }
}
