//! Why a recorded row was not sent, or not answered: the names that rows and the ledger use.

use recording::{Exchange, Kind, Notes, Status};

pub(crate) const CONNECT_FAILED: &str = "connection failed";
pub(crate) const ENCRYPTED: &str = "encrypted";
pub(crate) const FAILED_WHEN_RECORDED: &str = "login failed when recorded";
pub(crate) const INCOMPLETE: &str = "request incomplete when recorded";
pub(crate) const INTERRUPTED: &str = "interrupted";
pub(crate) const LEFT: &str = "client left before the answer";
pub(crate) const LOGIN_INCOMPLETE: &str = "login incomplete when recorded";
pub(crate) const LOGIN_REFUSED: &str = "login refused";
pub(crate) const NOT_OPEN: &str = "session not open";
pub(crate) const NOTHING_TO_CANCEL: &str = "nothing to cancel";
pub(crate) const OTHER_PROTOCOL: &str = "another protocol than the target's";
pub(crate) const SESSION_LOST: &str = "session lost";
pub(crate) const TIMED_OUT: &str = "timed out";
pub(crate) const TLS_FAILED: &str = "TLS failed";
pub(crate) const TOO_LARGE: &str = "row too large";
pub(crate) const TRANSACTION_FAILED: &str = "transaction failed";
pub(crate) const UNSUPPORTED: &str = "unsupported";

/// What keeps a row from being sent, whatever the target does.
pub(crate) fn unsendable(row: &Exchange) -> Option<&'static str> {
    let incomplete = [Notes::REQUEST_GAP, Notes::REQUEST_CUT];
    match row.kind {
        Kind::Close | Kind::Cancel | Kind::Prepare => None,
        _ if row.notes.contains(Notes::ENCRYPTED) => Some(ENCRYPTED),
        _ if incomplete.iter().any(|note| row.notes.contains(*note)) => Some(INCOMPLETE),
        // Who it was is known, or is not: the protocol tells.
        Kind::Open if row.notes.contains(Notes::MID_STREAM) => None,
        Kind::Open => match row.status {
            Status::Ok => None,
            Status::Error => Some(FAILED_WHEN_RECORDED),
            Status::Unanswered | Status::Skipped => Some(LOGIN_INCOMPLETE),
        },
        Kind::Request => None,
    }
}

/// Why the rows after a failed opening are skipped.
pub(crate) fn after(opening: &'static str) -> &'static str {
    match opening {
        CONNECT_FAILED => "session lost: connection failed",
        LOGIN_REFUSED => "session lost: login refused",
        TIMED_OUT => "session lost: timed out",
        TLS_FAILED => "session lost: TLS failed",
        UNSUPPORTED => "session lost: login unsupported",
        other => other,
    }
}
