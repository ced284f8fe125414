//! Is the target there, and does it let the recorded users in? Better one error now than one for each
//! session.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use recording::{Batch, Exchange, Kind, Recording, Status, StoreError};

use crate::engine::{self, Sink};
use crate::error::ReplayError;
use crate::options::Options;
use crate::progress::Progress;
use crate::schedule::Pace;

/// Rows that are looked through for logins.
const ROWS: usize = 10_000;
/// Logins that are tried.
const LOGINS: usize = 16;

/// Connects to the target, and logs in as the first users of the recording. That some of them are refused is
/// told, and no error.
pub fn reach(
    recording: &Recording,
    options: &Options,
    stop: &Arc<AtomicBool>,
) -> Result<(), ReplayError> {
    connect(options)?;
    let mut rows = recording.rows()?.to_ask(None).take(ROWS);
    let logins = logins(&mut rows, options)?;
    if logins.is_empty() {
        return Ok(());
    }
    log_in(logins, options, stop)
}

fn connect(options: &Options) -> Result<(), ReplayError> {
    let patience = options
        .target
        .connect_timeout
        .unwrap_or(options.connect_timeout);
    let mut last = ErrorKind::AddrNotAvailable.into();
    for address in &options.target.addresses()? {
        match TcpStream::connect_timeout(address, patience) {
            Ok(_) => return Ok(()),
            Err(error) => last = error,
        }
    }
    Err(ReplayError::Unreachable(last))
}

/// Openings that the recorded server answered well, one of each user and database.
fn logins<E>(
    rows: &mut dyn Iterator<Item = Result<Exchange, E>>,
    options: &Options,
) -> Result<Vec<Exchange>, E> {
    let mut logins = Vec::new();
    let named = options.target.protocol.logs_in();
    let own = &options.target.login;
    // Where nobody logs in, one connection shows whether TLS can be agreed on.
    if !named && !own.tls {
        return Ok(logins);
    }
    let mut known = HashSet::new();
    for row in rows {
        let row = row?;
        let Some(info) = &row.info else { continue };
        let opened = row.kind == Kind::Open && row.status == Status::Ok;
        let opened = opened && (info.user.is_some() || !named);
        let user = own.user.as_ref().or(info.user.as_ref()).cloned();
        let database = own.database.as_ref().or(info.database.as_ref()).cloned();
        if opened && known.insert((user, database)) {
            logins.push(row);
            if logins.len() == LOGINS {
                break;
            }
        }
    }
    Ok(logins)
}

/// As a replay of these rows, which nobody keeps.
fn log_in(
    logins: Vec<Exchange>,
    options: &Options,
    stop: &Arc<AtomicBool>,
) -> Result<(), ReplayError> {
    let options = Options {
        pace: Pace::Asap,
        ..options.clone()
    };
    let rows = logins.into_iter().map(Ok::<_, StoreError>);
    let progress = Arc::new(Progress::default());
    let report = engine::replay(rows, &options, &mut Nobody, &progress, stop)?;
    if report.complaints.is_empty() || stop.load(Ordering::Relaxed) {
        return Ok(());
    }
    let why = report.complaints.join("; ");
    let sessions = report.ledger.account("sessions");
    if sessions.is_none_or(|sessions| sessions.kept == 0) {
        return Err(ReplayError::Login(why));
    }
    let target = &options.target;
    tracing::warn!("{target} does not let all users in; their sessions will be skipped: {why}");
    Ok(())
}

struct Nobody;

impl Sink for Nobody {
    type Error = StoreError;

    fn write(&mut self, _: Batch) -> Result<(), StoreError> {
        Ok(())
    }

    fn tick(&mut self, _: Instant) -> Result<(), StoreError> {
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::tests::fake::{Server, Tape, options};

    fn opened(tape: &mut Tape, session: u64, user: &str) {
        let row = tape.open(session);
        row.request.bytes = user.as_bytes().to_vec();
        row.info.as_mut().unwrap().user = Some(user.into());
    }

    #[test]
    fn each_user_is_tried_once_and_one_who_gets_in_is_enough() {
        let server = Server::start();
        let options = options(server.address);
        let stop = Arc::default();
        let mut tape = Tape::default();
        opened(&mut tape, 1, "nobody");
        opened(&mut tape, 2, "nobody");
        let tried = |tape: &Tape| {
            let mut rows = tape.rows.iter().cloned().map(Ok::<_, StoreError>);
            logins(&mut rows, &options).unwrap()
        };
        let only = tried(&tape);
        assert_eq!(only.len(), 1);
        let refused = log_in(only, &options, &stop).unwrap_err().to_string();
        assert!(
            refused.contains("login refused: go away (refused)"),
            "{refused}"
        );
        // Refused when recorded too.
        opened(&mut tape, 3, "eve");
        tape.rows.last_mut().unwrap().status = Status::Error;
        opened(&mut tape, 4, "ann");
        let both = tried(&tape);
        assert_eq!(both.len(), 2);
        log_in(both, &options, &stop).unwrap();
    }
}
