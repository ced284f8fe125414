use std::collections::HashMap;
use std::sync::Arc;

use protocol::{Difference, DifferenceKind, Protocol, Terms};
use recording::{Exchange, Kind, Notes, Status, Transaction};

use crate::example::status;
use crate::table::reason;

/// Requests whose bytes or whose meaning were not known to the recording.
const REQUEST_UNKNOWN: [(Notes, &str); 4] = [
    (Notes::ENCRYPTED, "encrypted"),
    (Notes::REQUEST_GAP, "gap in the request"),
    (Notes::REQUEST_CUT, "request over the cap"),
    (Notes::UNKNOWN_STATEMENT, "prepared before capture began"),
];

/// Recorded answers that are not whole. Two runs have answers of their own.
const ANSWER_UNKNOWN: [(Notes, &str); 2] = [
    (Notes::RESPONSE_GAP, "gap in the response"),
    (Notes::VIOLATION, "protocol violation"),
];

/// Why a request was not answered, though not for anything that the target did.
const NOT_THE_TARGET: [&str; 2] = ["interrupted", LEFT];

/// In a run, the client left as the recorded one did; in a recording, the connection ended.
const LEFT: &str = "client left before the answer";
const ENDED: [&str; 3] = [LEFT, "fin", "rst"];

/// In a run, the target said `100 Continue` where the recorded server had answered instead.
const ASKED_FOR: &str = "target asked for a body that was not sent when recorded";

/// Neither answer has an end, as is the way of streams.
pub(super) const BOTH_LEFT: &str = "the client left before the end, on both sides";

/// Of a recording's answer, and of a run's row that was not sent for that.
pub(super) const UNASKED: &str = "response without request";

/// What one side's answer is worth beside OLD's.
pub(super) enum Pair {
    Compared(Vec<Difference>),
    Missing(Difference),
    Consequence(Arc<str>),
    NotComparable(String),
}

fn answered(row: &Exchange) -> bool {
    matches!(row.status, Status::Ok | Status::Error)
}

/// Did the client leave before the answer was whole? Its beginning may be there.
fn left(row: &Exchange) -> bool {
    row.status == Status::Unanswered && ENDED.contains(&&*reason(row))
}

fn code(row: &Exchange) -> Option<&str> {
    let response = row.response.as_ref();
    response.and_then(|response| response.error_code.as_deref())
}

/// Where a client left one side or both: whatever came of NEW's answer says that it is an error, and
/// nothing says that OLD's was one. Who calls a request off and leaves gets that error where it comes in time.
fn new_error(
    old: &Exchange,
    new: &Exchange,
    protocol: Option<&dyn Protocol>,
) -> Option<Difference> {
    let old_fails = old.status == Status::Error || code(old).is_some();
    let new_fails = new.status == Status::Error || code(new).is_some();
    let known = |row: &Exchange| answered(row) || left(row);
    if old_fails || !new_fails || !known(old) || !known(new) {
        return None;
    }
    let called_off =
        |code| protocol.is_some_and(|protocol: &dyn Protocol| protocol.is_called_off(code));
    if left(old) && code(new).is_some_and(called_off) {
        return None;
    }
    let response = old.response.as_ref();
    let begun = response.is_some_and(|response| response.columns.is_some());
    let expected = match (answered(old), begun) {
        (true, _) => status(old),
        (false, true) => "no error, then the client left".to_owned(),
        (false, false) => "not known: the client left before the answer".to_owned(),
    };
    Some(Difference {
        kind: DifferenceKind::NewError,
        place: String::new(),
        expected,
        observed: code(new).map_or("error".to_owned(), |code| format!("error {code}")),
    })
}

/// Why nothing can be asked of the request. A run's rows have the notes of what was recorded.
pub(super) fn not_comparable(
    old: &Exchange,
    old_is_run: bool,
    mid_stream: bool,
) -> Option<&'static str> {
    let noted = |notes: &[(Notes, &'static str)]| {
        let found = notes.iter().find(|(note, _)| old.notes.contains(*note));
        found.map(|(_, name)| *name)
    };
    noted(&REQUEST_UNKNOWN).or_else(|| match old_is_run {
        _ if *reason(old) == *UNASKED => Some(UNASKED),
        true => None,
        // What was set before in the session is not known to the run.
        false if mid_stream => Some("session met mid-stream"),
        false => noted(&ANSWER_UNKNOWN),
    })
}

pub(super) fn pair(
    old: &Exchange,
    new: &Exchange,
    protocol: Option<&dyn Protocol>,
    terms: &Terms,
) -> Pair {
    if (left(old) || left(new))
        && let Some(difference) = new_error(old, new, protocol)
    {
        return Pair::Compared(vec![difference]);
    }
    match (answered(old), answered(new)) {
        (true, true) => compare_answers(old, new, protocol, terms),
        (false, false) if left(old) && left(new) => Pair::NotComparable(BOTH_LEFT.to_owned()),
        (false, false) => Pair::NotComparable(format!("neither answered: {}", reason(old))),
        (false, true) if *reason(old) == *ASKED_FOR => Pair::Compared(vec![Difference {
            kind: match new.status {
                Status::Error => DifferenceKind::NewError,
                _ => DifferenceKind::Status,
            },
            place: String::new(),
            expected: status(old),
            observed: status(new),
        }]),
        (false, true) => Pair::NotComparable(format!("OLD {}", status(old))),
        (true, false) => {
            let reason = reason(new);
            let consequence =
                *reason == *"transaction failed" || reason.starts_with("session lost");
            match new.status {
                Status::Skipped if consequence => Pair::Consequence(reason),
                Status::Skipped => Pair::NotComparable(format!("NEW {}", status(new))),
                _ if NOT_THE_TARGET.contains(&&*reason) => {
                    Pair::NotComparable(format!("NEW {}", status(new)))
                }
                _ => Pair::Missing(Difference {
                    kind: DifferenceKind::Missing,
                    place: String::new(),
                    expected: status(old),
                    observed: status(new),
                }),
            }
        }
    }
}

/// Where what can't be compared has failed a transaction on one side alone, its end is another too: `apart` keeps why,
/// by session.
pub(super) fn excuse(
    apart: &mut HashMap<u64, String>,
    paired: Pair,
    old: &Exchange,
    new: &Exchange,
) -> Pair {
    use Transaction::{Failed, Idle, Open};
    let [old_after, new_after] = [old, new].map(|row| {
        let response = row.response.as_ref();
        response.map_or(Transaction::Unknown, |response| response.transaction)
    });
    match paired {
        Pair::NotComparable(reason) => {
            if matches!((old_after, new_after), (Open, Failed) | (Failed, Open)) {
                apart.insert(old.session, reason.clone());
            }
            Pair::NotComparable(reason)
        }
        Pair::Compared(differences) if [old_after, new_after] == [Idle; 2] => {
            match apart.remove(&old.session) {
                Some(reason) if !differences.is_empty() => Pair::NotComparable(reason),
                _ => Pair::Compared(differences),
            }
        }
        other => other,
    }
}

fn compare_answers(
    old: &Exchange,
    new: &Exchange,
    protocol: Option<&dyn Protocol>,
    terms: &Terms,
) -> Pair {
    match (old.kind, protocol) {
        (Kind::Request, Some(protocol)) => {
            let differences = protocol.compare(old, new, terms);
            if !differences.is_empty()
                && let Some(reason) = protocol.own_numbers(old, &differences)
            {
                return Pair::NotComparable(reason.to_owned());
            }
            Pair::Compared(differences)
        }
        (Kind::Request, None) => Pair::NotComparable("protocol of the session unknown".to_owned()),
        // What a server says of itself when it greets differs by version and means no harm.
        _ => Pair::Compared(login_difference(old, new).into_iter().collect()),
    }
}

fn login_difference(old: &Exchange, new: &Exchange) -> Option<Difference> {
    let kind = match (old.status, new.status) {
        (Status::Ok, Status::Error) => DifferenceKind::NewError,
        (Status::Error, Status::Ok) => DifferenceKind::VanishedError,
        (Status::Error, Status::Error) if status(old) != status(new) => {
            DifferenceKind::DifferentError
        }
        _ => return None,
    };
    Some(Difference {
        kind,
        place: String::new(),
        expected: status(old),
        observed: status(new),
    })
}
