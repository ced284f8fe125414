use recording::Exchange;

use crate::postgres::messages::{Encode, Startup};
use crate::{DriverError, Login};

/// The minor version asked for where none was recorded.
const DEFAULT_MINOR: u16 = 0;

const REPLICA: &str =
    "a replication connection (of a standby, a subscriber, pg_basebackup): these are not replayed";

/// What a session says first, and as whom.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct StartupPacket {
    pub(super) bytes: Vec<u8>,
    pub(super) user: String,
}

/// The recorded start-up packet with its parameters in their order, for the user and the database
/// that `login` names, else the recorded ones.
pub(super) fn startup_packet(
    opening: &Exchange,
    login: &Login,
) -> Result<StartupPacket, DriverError> {
    let recorded = &opening.request.bytes;
    let (minor, parameters) = if recorded.is_empty() {
        (DEFAULT_MINOR, None)
    } else {
        match Startup::parse(recorded) {
            Ok(Startup::Session { minor, parameters }) => (minor, Some(parameters)),
            Ok(Startup::Unsupported { .. }) => {
                return Err(DriverError::Unsupported("protocol version other than 3"));
            }
            _ => return Err(DriverError::Unsupported("damaged start-up packet")),
        }
    };
    let find = |name: &[u8]| parameters.and_then(|parameters| parameters.get(name));
    if find(b"replication").is_some_and(|value| !is_off(value)) {
        return Err(DriverError::Unsupported(REPLICA));
    }
    let info = opening.info.as_deref();
    let info_user = info.and_then(|info| info.user.as_deref());
    let info_database = info.and_then(|info| info.database.as_deref());
    let recorded_user = find(b"user").or(info_user.map(str::as_bytes));
    let user = login
        .user
        .as_deref()
        .map(str::as_bytes)
        .or(recorded_user)
        .ok_or(DriverError::Unsupported(
            "session of an unknown user: name one in the target's URL",
        ))?;
    // A session that names no database gets the one of its user's name.
    let database = login
        .database
        .as_deref()
        .map(str::as_bytes)
        .or(find(b"database"))
        .or(info_database.map(str::as_bytes))
        .or(recorded_user)
        .unwrap_or(user);

    let mut bytes = Vec::new();
    bytes.packet(3 << 16 | u32::from(minor), |out| {
        for (name, value) in [(&b"user"[..], user), (b"database", database)] {
            if find(name).is_none() {
                out.string(name);
                out.string(value);
            }
        }
        for (name, value) in parameters.into_iter().flat_map(|all| all.iter()) {
            out.string(name);
            out.string(match name {
                b"user" => user,
                b"database" => database,
                _ => value,
            });
        }
        out.push(0);
    });
    Ok(StartupPacket {
        bytes,
        user: String::from_utf8_lossy(user).into_owned(),
    })
}

fn is_off(value: &[u8]) -> bool {
    [&b"false"[..], b"off", b"no", b"0"]
        .iter()
        .any(|off| value.eq_ignore_ascii_case(off))
}

#[cfg(test)]
mod tests {
    use super::super::tests::opening;
    use super::*;

    fn packet(recorded: &[u8], login: Login) -> Result<String, DriverError> {
        let packet = startup_packet(&opening(recorded), &login)?;
        let len = u32::from_be_bytes(*packet.bytes.first_chunk().unwrap());
        assert_eq!(len as usize, packet.bytes.len());
        Ok(String::from_utf8(packet.bytes[4..].to_vec()).unwrap())
    }

    fn recorded(body: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.packet(3 << 16 | 2, |out| out.extend_from_slice(body.as_bytes()));
        bytes
    }

    #[test]
    fn parameters_keep_their_order() {
        let bytes = recorded("application_name\0app\0user\0alice\0options\0-c a=1\0\0");
        assert_eq!(
            packet(&bytes, Login::default()).unwrap(),
            "\0\x03\0\x02database\0alice\0application_name\0app\0user\0alice\0options\0-c a=1\0\0"
        );
    }

    #[test]
    fn login_goes_first() {
        let bytes = recorded("user\0alice\0database\0shop\0\0");
        let login = Login {
            user: Some("bob".into()),
            ..Login::default()
        };
        assert_eq!(
            packet(&bytes, login).unwrap(),
            "\0\x03\0\x02user\0bob\0database\0shop\0\0"
        );
        let login = Login {
            database: Some("copy".into()),
            ..Login::default()
        };
        assert_eq!(
            packet(&bytes, login).unwrap(),
            "\0\x03\0\x02user\0alice\0database\0copy\0\0"
        );
    }

    #[test]
    fn a_session_met_on_its_way_needs_a_user() {
        assert!(packet(b"", Login::default()).is_err());
        let login = Login {
            user: Some("bob".into()),
            ..Login::default()
        };
        assert_eq!(
            packet(b"", login).unwrap(),
            "\0\x03\0\0user\0bob\0database\0bob\0\0"
        );
    }

    #[test]
    fn what_is_not_spoken_is_refused() {
        for (bytes, reason) in [
            (recorded("user\0a\0replication\0database\0\0"), REPLICA),
            (
                b"\0\0\0\x08\0\x02\0\0".to_vec(),
                "protocol version other than 3",
            ),
            (b"\0\0\0".to_vec(), "damaged start-up packet"),
        ] {
            assert_eq!(
                packet(&bytes, Login::default()),
                Err(DriverError::Unsupported(reason))
            );
        }
        assert!(packet(&recorded("user\0a\0replication\0off\0\0"), Login::default()).is_ok());
    }
}
