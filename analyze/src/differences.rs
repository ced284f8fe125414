use std::collections::{BTreeMap, BTreeSet, HashMap};

use protocol::{Difference, DifferenceKind, Protocol};
use recording::Exchange;
use serde::{Deserialize, Serialize};

use crate::example::{Cell, Example, cell, example, place};
use crate::learnt::Learnt;
use crate::noise::{Judgement, Place, judge};
use crate::table::{Named, Subject, count};

/// Groups that are judged, and those that are told.
const GROUPS: usize = 5_000;
const GROUPS_TOLD: usize = 500;
/// Places of a group that are judged.
const PLACES: usize = 1_000;
/// Of noise, those told.
const NOISY_PLACES_TOLD: usize = 32;
/// Sets of places in a group that are told apart, and places of one set. Of further requests each place is
/// counted by itself.
const SETS: usize = 32;
const SET_PLACES: usize = 100;
const OTHER_PLACES: &str = "other places";
/// Examples kept for a group: while reading, and shown.
const EXAMPLES_READ: usize = 6;
const EXAMPLES: usize = 3;
/// Differences of one kind in one statement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    #[serde(flatten)]
    pub named: Named,
    pub kind: String,
    /// Requests that differ so between OLD and NEW, noise apart.
    pub count: u64,
    /// Requests that differ so between OLD and the noise run.
    pub noise: u64,
    /// Requests of this statement that were compared.
    pub compared: u64,
    /// Columns and the like, with how many requests differ there.
    pub places: BTreeMap<String, u64>,
    pub first_at: String,
    pub last_at: String,
    pub examples: Vec<Example>,
}

/// What differs, but in the noise run too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NoiseGroup {
    #[serde(flatten)]
    pub named: Named,
    pub kind: String,
    /// Requests that differ so between OLD and NEW, and between OLD and the noise run.
    pub count: u64,
    pub noise: u64,
    /// Of `count`, those at places that differ more often than noise does, which chance may explain.
    pub undecided: u64,
    pub places: BTreeMap<String, u64>,
    pub example: Option<Cell>,
}

/// The differences of a comparison, grouped while it is read.
#[derive(Debug, Default)]
pub(crate) struct Differences {
    groups: HashMap<(Subject, DifferenceKind), Gathered>,
    /// By kind, of groups over the cap.
    untold: BTreeMap<String, u64>,
}

#[derive(Debug, Default)]
struct Gathered {
    named: Named,
    /// Fresh differences by the set of places in which the request differs.
    sets: HashMap<BTreeSet<String>, Set>,
    /// Those of further sets, and how many there are of each place.
    others: Set,
    other_places: HashMap<String, u64>,
    examples: usize,
    /// Requests by place: between OLD and NEW, and between OLD and the noise run.
    places: HashMap<String, [Times; 2]>,
    /// Requests with all of their places in the noise run's differences of the same request.
    same_request: u64,
    noisy_requests: u64,
    noise_example: Option<Cell>,
}

/// How many requests differ at a place.
#[derive(Clone, Copy, Debug, Default)]
struct Times {
    all: u64,
    /// Those that do not differ there in the other pair, though perhaps elsewhere in the same list.
    only: u64,
}

#[derive(Debug, Default)]
struct Set {
    count: u64,
    first_at: String,
    last_at: String,
    examples: Vec<Example>,
}

/// What the groups come to.
#[derive(Debug, Default)]
pub(crate) struct Grouped {
    pub groups: Vec<Group>,
    pub noise: Vec<NoiseGroup>,
    /// Differences in all, by kind.
    pub by_kind: BTreeMap<String, u64>,
    /// Of these, in groups that are not told apart.
    pub untold: BTreeMap<String, u64>,
}

/// Everything that is known of a request that differs somewhere.
pub(crate) struct Differing<'a> {
    pub protocol: Option<&'a dyn Protocol>,
    pub old: &'a Exchange,
    pub new: Option<&'a Exchange>,
    /// Between OLD and NEW, and between OLD and the noise run.
    pub fresh: Vec<Difference>,
    pub noise: Vec<Difference>,
}

impl Differences {
    /// Whether anything differs that does not differ in the noise run of the same request.
    pub fn add(&mut self, differing: &Differing<'_>) -> bool {
        let fresh = by_kind(&differing.fresh);
        let noise = by_kind(&differing.noise);
        let none = Places::default();
        let mut any = false;
        for (&kind, places) in &noise {
            let others = fresh.get(&kind).unwrap_or(&none);
            if let Some(group) = self.group(kind, differing) {
                group.noisy_requests += 1;
                let left = left(places, others);
                for place in places.keys() {
                    group.tally(1, place, left.contains(place));
                }
                if group.noise_example.is_none() {
                    let first = differing.noise.iter().find(|one| one.kind == kind);
                    group.noise_example = first.map(cell);
                }
            }
        }
        for (&kind, places) in &fresh {
            let known = noise.get(&kind).unwrap_or(&none);
            any |= places.keys().any(|place| !known.contains_key(place));
            let left = left(places, known);
            match self.group(kind, differing) {
                Some(group) => group.add(places, left, kind, differing),
                None if left.is_empty() => {}
                None => count(&mut self.untold, kind.name(), 1),
            }
        }
        any
    }

    /// `None` where there are too many groups.
    fn group(&mut self, kind: DifferenceKind, differing: &Differing<'_>) -> Option<&mut Gathered> {
        let key = (Subject::of(differing.old), kind);
        if self.groups.len() >= GROUPS && !self.groups.contains_key(&key) {
            return None;
        }
        Some(self.groups.entry(key).or_insert_with(|| Gathered {
            named: key.0.named(differing.old),
            ..Gathered::default()
        }))
    }

    /// Takes together the groups of statements that have the same name by now.
    pub fn rename(&mut self, learnt: &Learnt) {
        let mut all: Vec<_> = self.groups.drain().collect();
        // Of more places or examples than are kept, the same ones go each time.
        all.sort_by_key(|(key, _)| *key);
        for ((subject, kind), gathered) in all {
            let renamed = learnt.renamed(subject, &gathered.named);
            let (subject, named) = renamed.unwrap_or((subject, gathered.named.clone()));
            let group = self.groups.entry((subject, kind)).or_default();
            group.named = named;
            group.absorb(gathered);
        }
    }

    /// `compared` tells how many requests of a subject were compared.
    pub fn finish(self, compared: impl Fn(Subject) -> u64) -> Grouped {
        let mut out = Grouped {
            by_kind: self.untold.clone(),
            untold: self.untold,
            ..Grouped::default()
        };
        let mut all: Vec<_> = self.groups.into_iter().collect();
        all.sort_by_key(|(key, _)| *key);
        let judged = judged(&all, &compared);
        for (((subject, kind), gathered), judged) in all.into_iter().zip(judged) {
            let (group, noise) = gathered.finish(kind, compared(subject), &judged);
            if group.count > 0 {
                count(&mut out.by_kind, kind.name(), group.count);
                out.groups.push(group);
            }
            if noise.count + noise.noise > 0 {
                out.noise.push(noise);
            }
        }
        // What fails altogether comes before what is answered otherwise.
        let failures = [DifferenceKind::NewError, DifferenceKind::Missing].map(|kind| kind.name());
        out.groups.sort_by_key(|group| {
            let fails = failures.contains(&group.kind.as_str());
            (!fails, std::cmp::Reverse(group.count))
        });
        for group in out.groups.drain(GROUPS_TOLD.min(out.groups.len())..) {
            count(&mut out.untold, &group.kind, group.count);
        }
        out.noise
            .sort_by_key(|group| std::cmp::Reverse(group.count.max(group.noise)));
        out
    }
}

impl Set {
    fn absorb(&mut self, other: Set) {
        if self.count == 0 || other.first_at < self.first_at {
            self.first_at = other.first_at;
        }
        self.last_at = std::mem::take(&mut self.last_at).max(other.last_at);
        self.count += other.count;
        self.examples.extend(other.examples);
        self.examples
            .sort_by(|a, b| (&a.at, a.session, a.seq).cmp(&(&b.at, b.session, b.seq)));
        self.examples.truncate(EXAMPLES);
    }
}

impl Gathered {
    fn add(
        &mut self,
        places: &Places<'_>,
        left: BTreeSet<String>,
        kind: DifferenceKind,
        differing: &Differing<'_>,
    ) {
        for place in places.keys() {
            self.tally(0, place, left.contains(place));
        }
        if left.is_empty() {
            self.same_request += 1;
            return;
        }
        let may_show = self.examples < EXAMPLES_READ;
        let shown = may_show.then(|| example(kind, differing, &left));
        let set = self.set(left, 1);
        let at = differing.old.started_at.to_string();
        if set.count == 0 {
            set.first_at.clone_from(&at);
        }
        set.count += 1;
        set.last_at = at;
        if let Some(shown) = shown
            && set.examples.len() < EXAMPLES
        {
            set.examples.push(shown);
            self.examples += 1;
        }
    }

    fn absorb(&mut self, other: Gathered) {
        for (places, set) in other.sets {
            self.set(places, set.count).absorb(set);
        }
        self.others.absorb(other.others);
        for (place, times) in other.other_places {
            self.count_other(place, times);
        }
        for (place, both) in other.places {
            if self.places.len() < PLACES || self.places.contains_key(&place) {
                let mine = self.places.entry(place).or_default();
                for (mine, times) in mine.iter_mut().zip(both) {
                    mine.all += times.all;
                    mine.only += times.only;
                }
            }
        }
        self.examples += other.examples;
        self.same_request += other.same_request;
        self.noisy_requests += other.noisy_requests;
        self.noise_example = self.noise_example.take().or(other.noise_example);
    }

    /// Where `times` requests that differ in these places belong.
    fn set(&mut self, places: BTreeSet<String>, times: u64) -> &mut Set {
        let has_room = self.sets.len() < SETS && places.len() <= SET_PLACES;
        if has_room || self.sets.contains_key(&places) {
            return self.sets.entry(places).or_default();
        }
        for place in places {
            self.count_other(place, times);
        }
        &mut self.others
    }

    fn count_other(&mut self, place: String, times: u64) {
        let has_room = self.other_places.len() < PLACES || self.other_places.contains_key(&place);
        let place = if has_room {
            place
        } else {
            OTHER_PLACES.to_owned()
        };
        *self.other_places.entry(place).or_default() += times;
    }

    /// One request more that differs in this pair of runs, and perhaps in it `only`.
    fn tally(&mut self, pair: usize, place: &str, only: bool) {
        if self.places.len() < PLACES && !self.places.contains_key(place) {
            self.places.insert(place.to_owned(), Default::default());
        }
        if let Some(times) = self.places.get_mut(place) {
            times[pair].all += 1;
            times[pair].only += u64::from(only);
        }
    }

    /// `judged` are the places that were kept; of others nothing is known where there is noise.
    fn finish(self, kind: DifferenceKind, compared: u64, judged: &Judged) -> (Group, NoiseGroup) {
        let mut group = Group {
            named: self.named.clone(),
            kind: kind.name().to_owned(),
            count: 0,
            noise: self.noisy_requests,
            compared,
            places: BTreeMap::new(),
            first_at: String::new(),
            last_at: String::new(),
            examples: Vec::new(),
        };
        let mut noise = NoiseGroup {
            named: self.named,
            kind: kind.name().to_owned(),
            count: self.same_request,
            noise: self.noisy_requests,
            undecided: 0,
            places: BTreeMap::new(),
            example: self.noise_example,
        };
        let noisy = self.places.iter().map(|(place, [_, it])| (place, it.all));
        let mut most: Vec<_> = noisy.filter(|(_, times)| *times > 0).collect();
        most.sort_by_key(|(place, times)| (std::cmp::Reverse(*times), *place));
        for (place, times) in most.into_iter().take(NOISY_PLACES_TOLD) {
            count(&mut noise.places, place, times);
        }
        let unknown = match self.noisy_requests {
            0 => Judgement::Real,
            _ => Judgement::Undecided,
        };
        let sets = self.sets.into_iter().map(|(places, set)| {
            let places = places.into_iter().map(|place| (place, set.count));
            (places.collect::<BTreeMap<_, _>>(), set)
        });
        let others = (self.other_places.into_iter().collect(), self.others);
        for (places, mut set) in sets.chain([others]) {
            let mut undecided = false;
            let mut real = BTreeMap::new();
            for (place, times) in places {
                match judged.get(&place).copied().unwrap_or(unknown) {
                    Judgement::Real => drop(real.insert(place, times)),
                    Judgement::Undecided => undecided = true,
                    Judgement::Noise => {}
                }
            }
            // So many requests at the least.
            let differ = real.values().copied().max().unwrap_or(0).min(set.count);
            noise.count += set.count - differ;
            noise.undecided += if undecided { set.count - differ } else { 0 };
            if differ == 0 {
                continue;
            }
            for (place, times) in &real {
                count(&mut group.places, place, *times);
            }
            set.examples.retain(|example| {
                let mut cells = example.differences.iter();
                let is_real = cells.any(|cell| real.contains_key(&general(cell, kind)));
                is_real || example.more_differences > 0
            });
            for example in &mut set.examples {
                let is_noise = |cell: &Cell| !real.contains_key(&general(cell, kind));
                example.differences.sort_by_key(is_noise);
            }
            group.count += differ;
            if group.first_at.is_empty() || set.first_at < group.first_at {
                group.first_at = set.first_at;
            }
            group.last_at = group.last_at.max(set.last_at);
            group.examples.extend(set.examples);
        }
        group.compared = group.compared.max(group.count);
        group
            .examples
            .sort_by(|a, b| (&a.at, a.session, a.seq).cmp(&(&b.at, b.session, b.seq)));
        group.examples.truncate(EXAMPLES);
        (group, noise)
    }
}

/// What the places of a group are.
type Judged = HashMap<String, Judgement>;

fn judged(
    groups: &[((Subject, DifferenceKind), Gathered)],
    compared: impl Fn(Subject) -> u64,
) -> Vec<Judged> {
    let mut places = Vec::new();
    for (group, ((subject, kind), gathered)) in groups.iter().enumerate() {
        let compared = compared(*subject);
        places.extend(gathered.places.iter().map(|(name, both)| Place {
            group,
            kind: *kind,
            name,
            // Of the rarest statements it is not known.
            compared: both.iter().fold(compared, |n, times| n.max(times.all)),
            noise: both[1].all,
            only: both.map(|times| times.only),
        }));
    }
    let mut judged = vec![Judged::new(); groups.len()];
    for (place, judgement) in places.iter().zip(judge(&places)) {
        judged[place.group].insert(place.name.to_owned(), judgement);
    }
    judged
}

/// By what they are in general, the very places.
type Places<'a> = BTreeMap<String, BTreeSet<&'a str>>;

fn by_kind(differences: &[Difference]) -> BTreeMap<DifferenceKind, Places<'_>> {
    let mut kinds: BTreeMap<DifferenceKind, Places<'_>> = BTreeMap::new();
    for difference in differences {
        let places = kinds.entry(difference.kind).or_default();
        let very = places.entry(place(difference)).or_default();
        very.insert(&difference.place);
    }
    kinds
}

/// Those in general of which a very place is not among the others.
fn left(places: &Places<'_>, others: &Places<'_>) -> BTreeSet<String> {
    let is_left = |place: &str, very: &BTreeSet<&str>| {
        let known = others.get(place);
        known.is_none_or(|known| !very.is_subset(known))
    };
    places
        .iter()
        .filter(|(place, very)| is_left(place, very))
        .map(|(place, _)| place.clone())
        .collect()
}

fn general(cell: &Cell, kind: DifferenceKind) -> String {
    place(&Difference {
        kind,
        place: cell.place.clone(),
        expected: String::new(),
        observed: String::new(),
    })
}

#[cfg(test)]
mod tests;
