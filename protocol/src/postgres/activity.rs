//! Asks `pg_stat_activity` who is connected and what each session executed last:
//! <https://www.postgresql.org/docs/current/monitoring-stats.html#MONITORING-PG-STAT-ACTIVITY-VIEW>

use std::collections::HashMap;
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use recording::{Kind, Response, Timestamp};

use super::decoder::rows;
use super::driver::PostgresDriver;
use super::messages::Encode;
use super::results::{Results, Row};
use super::secrets;
use crate::{
    Driver, DriverError, DriverEvent, Executed, Inquiry, Known, Limits, Login, PROBE_NAME, Told,
};

/// Of one answer; what is beyond it is not told.
const MAX_ANSWER: usize = 32 << 20;
/// Between two clocks: what they may part in a second, and how late a mirrored packet may come.
const SLACK_NS: i64 = 2_000_000;
/// A statement that began longer before the answer is not told the time of by another clock.
const MAX_AGE_NS: i64 = 2_000_000_000;

/// A text is cut at a character within the size's last bytes: what is shorter is whole. Times are in
/// microseconds. Only the client's own backends have a port.
const QUESTION: &str = "\
SELECT pid, usename, datname, application_name, host(client_addr), client_port, \
(extract(epoch FROM query_start) * 1000000)::int8, \
(extract(epoch FROM clock_timestamp()) * 1000000)::int8, \
CASE WHEN octet_length(query) < size - 4 THEN query END \
FROM pg_catalog.pg_stat_activity, (SELECT setting::int8 AS size FROM pg_catalog.pg_settings \
WHERE name = 'track_activity_query_size') AS s \
WHERE client_port > 0 OR query = '<insufficient privilege>'";

#[derive(Debug)]
pub(super) struct Activity {
    driver: PostgresDriver,
    same_clock: bool,
    asked_at: Timestamp,
    /// What was told before, with the microsecond in which each statement began.
    before: HashMap<SocketAddr, (Option<i64>, Known)>,
}

impl Activity {
    pub(super) fn new(login: Login) -> Activity {
        let limits = Limits {
            body: MAX_ANSWER,
            ..Limits::default()
        };
        Activity {
            driver: PostgresDriver::new(login, limits),
            same_clock: false,
            asked_at: Timestamp::default(),
            before: HashMap::new(),
        }
    }

    fn told(&mut self, response: &Response, at: Timestamp) -> Told {
        let results = Results::of(response);
        if response.error_code.is_some() {
            return Told::Refused(results.messages.join("; "));
        }
        let before = mem::take(&mut self.before);
        let mut hidden = 0;
        for row in results.sets.iter().flat_map(|set| &set.rows) {
            let Some(mut line) = Line::read(*row) else {
                continue;
            };
            let Some(client) = line.client else {
                hidden += 1;
                continue;
            };
            line.known.executed = match before.get(&client) {
                // The sooner it was asked after its beginning, the better is that known.
                Some((began, known))
                    if (*began, known.backend) == (line.began, line.known.backend) =>
                {
                    known.executed.clone()
                }
                _ => self.executed(&line, at),
            };
            self.before.insert(client, (line.began, line.known));
        }
        let known = self.before.iter();
        Told::Connections {
            known: known
                .map(|(client, (_, known))| (*client, known.clone()))
                .collect(),
            hidden,
        }
    }

    /// When it began on the clock that asked, for an answer that came at `at`.
    fn executed(&self, line: &Line, at: Timestamp) -> Option<Executed> {
        let (began, text) = (line.began?, line.text.clone()?);
        let began = began.checked_mul(1000)?;
        let (earliest, latest) = if self.same_clock {
            (began, began.checked_add(1000)?)
        } else {
            // The server read its clock between the question and the answer.
            let age = line.now.checked_mul(1000)?.checked_sub(began)?;
            if !(0..MAX_AGE_NS).contains(&age) {
                return None;
            }
            (
                self.asked_at.0.checked_sub(age)?.checked_sub(SLACK_NS)?,
                at.0.checked_sub(age)?.checked_add(SLACK_NS)?,
            )
        };
        Some(Executed {
            text,
            earliest: Timestamp(earliest),
            latest: Timestamp(latest),
        })
    }
}

impl Inquiry for Activity {
    fn open(&mut self, same_clock: bool, out: &mut Vec<u8>) -> Result<(), DriverError> {
        self.same_clock = same_clock;
        let mut opening = rows::row(Kind::Open, Timestamp::default(), "startup");
        opening.request.bytes.packet(3 << 16, |body| {
            for (name, value) in [
                ("application_name", PROBE_NAME),
                ("statement_timeout", "2000"),
                ("lock_timeout", "100"),
            ] {
                body.string(name.as_bytes());
                body.string(value.as_bytes());
            }
            body.push(0);
        });
        self.driver.open(&opening, out, &mut Vec::new())
    }

    fn ask(&mut self, at: Timestamp, out: &mut Vec<u8>) -> Result<(), DriverError> {
        self.asked_at = at;
        let mut question = rows::row(Kind::Request, at, "query");
        let bytes = &mut question.request.bytes;
        bytes.message(b'Q', |body| body.string(QUESTION.as_bytes()));
        self.driver.send(&question, out)
    }

    fn receive(
        &mut self,
        bytes: &[u8],
        at: Timestamp,
        out: &mut Vec<u8>,
    ) -> Result<Option<Told>, DriverError> {
        let mut events = Vec::new();
        self.driver.receive(bytes, at, out, &mut events)?;
        Ok(match events.into_iter().next() {
            Some(DriverEvent::Opened(_)) => Some(Told::Ready),
            Some(DriverEvent::Answered(response)) => Some(self.told(&response, at)),
            Some(DriverEvent::Refused { message, .. }) => Some(Told::Refused(message)),
            _ => None,
        })
    }

    fn goodbye(&mut self, out: &mut Vec<u8>) {
        self.driver.goodbye(out);
    }
}

/// A row of the answer.
#[derive(Debug)]
struct Line {
    known: Known,
    /// `None` where the user that asks may not know.
    client: Option<SocketAddr>,
    began: Option<i64>,
    now: i64,
    /// Absent where it is cut, empty, secret or in another encoding.
    text: Option<Arc<str>>,
}

impl Line {
    fn read(row: Row<'_>) -> Option<Line> {
        let Row::Values(values) = row else {
            return None;
        };
        let mut values = values
            .iter()
            .map(|value| value.and_then(|it| str::from_utf8(it).ok()));
        let mut next = || values.next();
        let words = |text: Option<&str>| text.filter(|it| !it.is_empty()).map(Arc::from);
        let backend = next()?.and_then(|pid| pid.parse().ok());
        let (user, database, application) = (next()?, next()?, next()?);
        let address = next()?.and_then(|it| it.parse::<IpAddr>().ok());
        let port = next()?.and_then(|it| it.parse().ok());
        let began = next()?.and_then(|it| it.parse().ok());
        let now = next()?.and_then(|it| it.parse().ok())?;
        let text = next()?.filter(|it| !secrets::blank(&mut it.as_bytes().to_vec()));
        Some(Line {
            known: Known {
                user: words(user),
                database: words(database),
                application: words(application),
                backend,
                executed: None,
            },
            client: address
                .zip(port)
                .map(|(address, port)| SocketAddr::new(address.to_canonical(), port)),
            began,
            now,
            text: words(text),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    use super::*;
    use crate::postgres::testing::server;

    const CLIENT: &str = "10.0.0.5:4711";

    fn logged_in(same_clock: bool) -> Activity {
        let login = Login {
            user: Some("watch".into()),
            ..Login::default()
        };
        let mut activity = Activity::new(login);
        let mut out = Vec::new();
        activity.open(same_clock, &mut out).unwrap();
        let startup = String::from_utf8_lossy(&out).into_owned();
        assert!(startup.contains("application_name\0rehearsal probe\0"));
        let welcome = [server::authentication(0, b""), server::ready(b'I')].concat();
        let told = activity.receive(&welcome, Timestamp(1), &mut out).unwrap();
        assert_eq!(told, Some(Told::Ready));
        activity
    }

    fn line(address: Option<&str>, began: &str, now: &str, text: Option<&str>) -> Vec<u8> {
        let values = [
            Some("77"),
            Some("ann"),
            Some("shop"),
            Some(""),
            address,
            address.map(|_| "4711"),
            Some(began),
            Some(now),
            text,
        ];
        server::row(&values.map(|value| value.map(str::as_bytes)))
    }

    /// Asked at 1 s, answered at 1.01 s.
    fn ask(activity: &mut Activity, lines: &[Vec<u8>]) -> Told {
        let mut out = Vec::new();
        activity.ask(Timestamp(1_000_000_000), &mut out).unwrap();
        assert!(out.starts_with(b"Q"));
        let end = [server::complete("SELECT 1"), server::ready(b'I')].concat();
        let answer = [lines.concat(), end].concat();
        let told = activity.receive(&answer, Timestamp(1_010_000_000), &mut out);
        told.unwrap().unwrap()
    }

    fn executed(told: Told) -> Option<(String, i64, i64)> {
        let Told::Connections { mut known, hidden } = told else {
            panic!("{told:?}");
        };
        assert_eq!(hidden, 0);
        let known = known.remove(&CLIENT.parse().unwrap()).unwrap();
        assert_eq!(known.user.as_deref(), Some("ann"));
        assert_eq!(known.database.as_deref(), Some("shop"));
        assert_eq!((known.application, known.backend), (None, Some(77)));
        let executed = known.executed?;
        Some((
            executed.text.to_string(),
            executed.earliest.0,
            executed.latest.0,
        ))
    }

    #[test]
    fn times_are_brought_to_the_clock_that_asks() {
        let line = line(Some("10.0.0.5"), "5000000", "5500000", Some("select $1"));
        let told = ask(&mut logged_in(true), std::slice::from_ref(&line));
        let expected = ("select $1".to_owned(), 5_000_000_000, 5_000_001_000);
        assert_eq!(executed(told), Some(expected));
        // Half a second before the question at the soonest, and before its answer at the latest.
        let told = ask(&mut logged_in(false), &[line]);
        let expected = ("select $1".to_owned(), 498_000_000, 512_000_000);
        assert_eq!(executed(told), Some(expected));
    }

    #[test]
    fn what_was_told_before_keeps_its_time() {
        let mut activity = logged_in(false);
        let soon = line(Some("10.0.0.5"), "5000000", "5500000", Some("select $1"));
        let late = line(Some("10.0.0.5"), "5000000", "9500000", Some("select $1"));
        let first = executed(ask(&mut activity, &[soon]));
        assert_eq!(
            executed(ask(&mut activity, std::slice::from_ref(&late))),
            first
        );
        assert_eq!(executed(ask(&mut logged_in(false), &[late])), None);
    }

    #[test]
    fn what_is_not_whole_or_secret_is_not_told() {
        for text in [None, Some(""), Some("alter role ann password 'hush'")] {
            let line = line(Some("10.0.0.5"), "5000000", "5500000", text);
            assert_eq!(executed(ask(&mut logged_in(true), &[line])), None);
        }
    }

    #[test]
    fn what_may_not_be_seen_is_counted() {
        let told = ask(&mut logged_in(true), &[line(None, "1", "2", None)]);
        let expected = Told::Connections {
            known: HashMap::new(),
            hidden: 1,
        };
        assert_eq!(told, expected);
    }

    proptest! {
        #[test]
        fn no_answer_does_harm(
            values in vec(option::of(vec(any::<u8>(), 0..12)), 0..12),
            rest in vec(any::<u8>(), 0..60),
        ) {
            let values: Vec<_> = values.iter().map(Option::as_deref).collect();
            let mut activity = logged_in(false);
            let mut out = Vec::new();
            activity.ask(Timestamp(1), &mut out).unwrap();
            let bytes = [server::row(&values), rest, server::ready(b'I')].concat();
            let _ = activity.receive(&bytes, Timestamp(2), &mut out);
        }
    }

    #[test]
    fn a_refusal_is_told_in_the_servers_words() {
        let mut activity = logged_in(true);
        let mut out = Vec::new();
        activity.ask(Timestamp(1), &mut out).unwrap();
        let answer = [
            server::error("ERROR", "57014", "canceling statement"),
            server::ready(b'I'),
        ];
        let told = activity.receive(&answer.concat(), Timestamp(2), &mut out);
        let expected = Told::Refused("ERROR 57014: canceling statement".to_owned());
        assert_eq!(told.unwrap(), Some(expected));
    }
}
