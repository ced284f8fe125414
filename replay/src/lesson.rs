//! What one response teaches the rest of the run, and the requests that wait for it.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};

use ahash::RandomState;
use lru::LruCache;
use protocol::{Learnt, Mark, Recorded, mark};
use recording::{Exchange, Timestamp};

use crate::target::Target;

// Names for the run's notes.
pub(crate) const WAITED: &str = "requests that waited for a value of the target's";
const NOT_MADE_UP: &str = "values sent as recorded, for the target made up no other";
const TOO_LATE: &str = "values sent as recorded, for the target's took too long";
pub(crate) const AMBIGUOUS: &str = "times that the target made up another value for a recorded one: sessions get their \
                                     own, if they have one";
pub(crate) const FORGOTTEN: &str =
    "values forgotten, for there were too many since they were last sent";

/// Over when its response has come, or none will.
#[derive(Debug, Default)]
pub(crate) struct Lesson {
    over_at: OnceLock<Timestamp>,
    waiting: Mutex<Vec<Waker>>,
}

impl Lesson {
    pub(crate) fn end(&self, at: Timestamp) {
        if self.over_at.set(at).is_ok() {
            let waiting = std::mem::take(&mut *self.lock());
            waiting.into_iter().for_each(Waker::wake);
        }
    }

    pub(crate) fn over_at(&self) -> Option<Timestamp> {
        self.over_at.get().copied()
    }

    /// Ready when it is over.
    pub(crate) fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        if self.over_at().is_none() {
            let mut waiting = self.lock();
            if !waiting.iter().any(|known| known.will_wake(cx.waker())) {
                waiting.push(cx.waker().clone());
            }
        }
        // It may have ended before the waker was there.
        match self.over_at() {
            Some(_) => Poll::Ready(()),
            None => Poll::Pending,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Waker>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A value that a request sends back, and where the run learns what to send instead.
#[derive(Clone, Debug)]
pub(crate) struct Need {
    value: Recorded,
    pub(crate) lesson: Arc<Lesson>,
}

impl Need {
    /// Why the value goes as it was recorded, if it does.
    pub(crate) fn unmet(&self, learnt: &Learnt) -> Option<&'static str> {
        let (name, value) = &self.value;
        match (learnt.target(name, value), self.lesson.over_at()) {
            (Some(_), _) => None,
            (None, Some(_)) => Some(NOT_MADE_UP),
            (None, None) => Some(TOO_LATE),
        }
    }
}

/// Which response made up which value. What a request needs lies before it in time, so that no two
/// requests wait for each other.
#[derive(Debug)]
pub(crate) struct Lessons {
    /// With the recorded time of the response.
    by_value: LruCache<Mark, (Timestamp, Arc<Lesson>), RandomState>,
}

impl Default for Lessons {
    fn default() -> Lessons {
        Lessons {
            by_value: LruCache::unbounded_with_hasher(RandomState::new()),
        }
    }
}

impl Lessons {
    /// Beyond that, no request waits for the values that were not used for longest. About 150 bytes each.
    const MAX: usize = 1 << 20;

    /// What the request must wait for: values that the server had made up before it was recorded.
    pub(crate) fn needs(&mut self, target: &Target, request: &Exchange) -> Vec<Need> {
        if self.by_value.is_empty() {
            return Vec::new();
        }
        let sent = target
            .protocol
            .sent_back(request, &target.login.options)
            .into_iter();
        sent.filter_map(|value| {
            let (made_at, lesson) = self.by_value.get(&mark(&value.0, &value.1))?;
            let lesson = Arc::clone(lesson);
            (*made_at <= request.started_at).then_some(Need { value, lesson })
        })
        .collect()
    }

    /// The first response with a value teaches it, unless it is over and did not.
    pub(crate) fn add(&mut self, target: &Target, recorded: &Exchange) -> Option<Arc<Lesson>> {
        let made_at = recorded.response.as_ref()?.first_byte_at;
        let values = target.protocol.made_up(recorded);
        let lesson = (!values.is_empty()).then(|| Arc::new(Lesson::default()))?;
        for (name, value) in values {
            let mark = mark(&name, &value);
            let known = self.by_value.get(&mark);
            let is_taught = known.is_some_and(|(_, known)| {
                known.over_at().is_none() || target.login.learnt.target(&name, &value).is_some()
            });
            if !is_taught {
                self.by_value.put(mark, (made_at, Arc::clone(&lesson)));
            }
        }
        while self.by_value.len() > Lessons::MAX {
            self.by_value.pop_lru();
        }
        Some(lesson)
    }
}
