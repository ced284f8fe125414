//! Segments of paths that are values, though nothing in them tells it: names, slugs.
//!
//! What is found at the same place in many forms is a value: `/users/ann`, `/users/bob` and so on
//! become `/users/{name}`. A word that is common there stays as it is: `/users/me`.

use std::collections::BTreeMap;

use recording::{Exchange, Statement, Status};

use super::template;
use crate::Learner;

/// More different words at one place are values.
const WORDS: usize = 200;
/// A word of at least this share of the requests stays: one of so many.
const COMMON: u64 = 20;
const NAME: &str = "{name}";
/// Of further places nothing is learnt.
const MAX_PLACES: usize = 200_000;

/// The paths of all methods.
#[derive(Debug, Default)]
pub struct Paths {
    root: Place,
    places: usize,
}

/// What follows the same beginning.
#[derive(Debug, Default)]
struct Place {
    requests: u64,
    words: BTreeMap<Box<str>, Place>,
    /// What follows all other words, since they turned out to be values.
    value: Option<Box<Place>>,
}

impl Place {
    fn next(&self, word: &str) -> Option<&Place> {
        self.words.get(word).or(self.value.as_deref())
    }

    /// Once there are too many words, what follows them is one.
    fn settle(&mut self) -> bool {
        if self.words.len() <= WORDS {
            return false;
        }
        let total: u64 = self.words.values().map(|next| next.requests).sum();
        let mut value = self.value.take().unwrap_or_default();
        for (word, next) in std::mem::take(&mut self.words) {
            if is_value(&word) || next.requests * COMMON >= total {
                self.words.insert(word, next);
            } else {
                value.absorb(next);
            }
        }
        self.value = Some(value);
        true
    }

    fn absorb(&mut self, other: Place) {
        self.requests += other.requests;
        for (word, next) in other.words {
            match &mut self.value {
                Some(value) if !self.words.contains_key(&word) => value.absorb(next),
                _ => self.words.entry(word).or_default().absorb(next),
            }
        }
        if let Some(value) = other.value {
            self.value.get_or_insert_default().absorb(*value);
        }
        self.settle();
    }

    /// Further on.
    fn places(&self) -> usize {
        let next = self.words.values().chain(self.value.as_deref());
        next.map(|next| 1 + next.places()).sum()
    }
}

impl Learner for Paths {
    /// Only from what there is: whoever tries names finds nothing.
    fn learn(&mut self, row: &Exchange) -> bool {
        let Some(text) = row.request.statement.as_ref().map(|it| &*it.text) else {
            return false;
        };
        if row.status != Status::Ok || !is_own(text) {
            return false;
        }
        let mut learnt = false;
        let mut place = &mut self.root;
        for word in words(text) {
            let known = place.words.contains_key(word);
            if !known && place.value.is_none() {
                if self.places >= MAX_PLACES {
                    break;
                }
                self.places += 1;
                place.words.insert(word.into(), Place::default());
                learnt |= place.settle();
            }
            let next = match place.words.get_mut(word) {
                Some(next) => next,
                None => place.value.get_or_insert_default().as_mut(),
            };
            next.requests += 1;
            place = next;
        }
        if learnt {
            self.places = self.root.places();
        }
        learnt
    }

    fn general(&self, text: &str) -> Option<Statement> {
        if !is_own(text) {
            return None;
        }
        let mut general = String::with_capacity(text.len());
        let mut place = Some(&self.root);
        let mut changed = false;
        for word in words(text) {
            if !general.is_empty() {
                general.push(if general.contains(' ') { '/' } else { ' ' });
            }
            let is_learnt = place.is_some_and(|it| it.value.is_some())
                && place.is_some_and(|it| !it.words.contains_key(word));
            changed |= is_learnt && word != NAME;
            general.push_str(if is_learnt { NAME } else { word });
            place = place.and_then(|it| it.next(word));
        }
        changed.then(|| {
            general.push_str(text.find('?').and_then(|at| text.get(at..)).unwrap_or(""));
            template::named(general)
        })
    }
}

/// Is it the text of a request with a path?
fn is_own(text: &str) -> bool {
    text.split_once(' ').is_some_and(|(method, rest)| {
        rest.starts_with('/') && method.bytes().all(|byte| byte.is_ascii_uppercase())
    })
}

/// The method, the empty one before the path, and the path's segments.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let (method, rest) = text.split_once(' ').unwrap_or((text, ""));
    let path = rest.split('?').next().unwrap_or_default();
    std::iter::once(method).chain(path.split('/'))
}

/// Was it told as a value already?
fn is_value(word: &str) -> bool {
    ["", "{n}", "{uuid}", "{hash}", "{token}"].contains(&word)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http::testing::request;

    fn get(target: &str) -> Exchange {
        request(&format!("GET {target} HTTP/1.1\r\n\r\n"))
    }

    fn learnt(targets: impl IntoIterator<Item = String>) -> (Paths, usize) {
        let mut paths = Paths::default();
        let lessons = targets
            .into_iter()
            .filter(|target| paths.learn(&get(target)))
            .count();
        (paths, lessons)
    }

    /// A word with neither a number nor a hash in it; another one for each below 8,000.
    fn name(n: usize) -> String {
        let letters = [n / 400, n / 20 % 20, n % 20];
        letters
            .map(|at| char::from(b'g' + at as u8))
            .iter()
            .collect()
    }

    #[test]
    fn names_are_learnt_by_their_number() {
        let users = |many| (0..many).map(|n| format!("/users/{}/orders/{n}?page={n}", name(n)));
        let text = "GET /users/ann/orders/{n}?page";
        let (paths, lessons) = learnt(users(WORDS));
        assert_eq!((paths.general(text), lessons), (None, 0));
        let (paths, lessons) = learnt(users(10 * WORDS));
        assert_eq!(lessons, 1);
        let general = paths.general(text).unwrap();
        assert_eq!(&*general.text, "GET /users/{name}/orders/{n}?page");
        assert_eq!(
            general.fingerprint,
            template::statement("GET", b"/users/{name}/orders/1?page").fingerprint
        );
        for text in [
            "GET /users",
            "GET /",
            "POST /users/ann",
            "select ? / a",
            "GET",
        ] {
            assert_eq!(paths.general(text), None, "{text}");
        }
    }

    #[test]
    fn common_words_and_told_values_stay() {
        let targets = (0..5 * WORDS).flat_map(|n| {
            [
                format!("/users/{}", name(n)),
                format!("/users/{n}"),
                "/users/me/settings".to_owned(),
            ]
        });
        let (paths, _) = learnt(targets);
        let general = |text| paths.general(text).map(|it| it.text.to_string());
        assert_eq!(general("GET /users/me/settings"), None);
        assert_eq!(general("GET /users/{n}"), None);
        assert_eq!(
            general("GET /users/new").as_deref(),
            Some("GET /users/{name}")
        );
    }

    #[test]
    fn values_within_values_are_learnt() {
        let targets = (0..6 * WORDS).map(|n| format!("/{}/{}/edit", name(n % 300), name(n / 3)));
        let (paths, _) = learnt(targets);
        let general = paths.general("GET /ann/report/edit").unwrap();
        assert_eq!(&*general.text, "GET /{name}/{name}/edit");
    }

    #[test]
    fn what_was_tried_and_not_found_teaches_nothing() {
        let mut paths = Paths::default();
        for n in 0..5 * WORDS {
            let mut missing = get(&format!("/{}", name(n)));
            missing.status = Status::Error;
            assert!(!paths.learn(&missing));
        }
        assert_eq!(paths.general("GET /admin"), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Of few words and of many at each place, with what is odd in between.
        #[test]
        fn what_is_general_stays_so(
            targets in prop::collection::vec("(/([a-c]|[g-z]{2}|[0-9a-f]{8}|.?)){0,4}(\\?a)?", 1..900),
            any in ".*",
        ) {
            let (paths, _) = learnt(targets.iter().cloned());
            prop_assert_eq!(paths.places, paths.root.places());
            prop_assert_eq!(paths.general(&any).and_then(|it| paths.general(&it.text)), None);
            for target in &targets {
                let text = template::statement("GET", target.as_bytes()).text;
                let general = paths.general(&text).map_or(text.clone(), |it| it.text);
                prop_assert_eq!(paths.general(&general), None);
                prop_assert_eq!(general.matches('/').count(), text.matches('/').count());
            }
        }
    }

    #[test]
    fn places_are_bounded_and_counted() {
        let (paths, _) = learnt((0..5 * WORDS).map(|n| format!("/a/{}/b/c/d", name(n))));
        // The method, the empty word before the path, /a/{name}/b/c/d.
        assert_eq!((paths.places, paths.root.places()), (7, 7));
        let (mut paths, _) = learnt(["/a/b".to_owned()]);
        paths.places = MAX_PLACES;
        assert!(!paths.learn(&get("/a/c")));
        assert_eq!(paths.root.places(), 4);
    }
}
