use super::messages::frontend::Message;
use super::messages::{Messages, Startup};
use crate::Probe;

/// A client's start-up packet is not longer.
const MAX_STARTUP: usize = 10_000;

/// Of a connection met on its way: a first message longer than this tells nothing.
const MAX_FIRST: usize = 64 << 10;

pub(super) fn probe(client: &[u8]) -> Probe {
    match client {
        [] => Probe::More,
        [0, ..] => startup(client),
        [..] => message(client),
    }
}

fn startup(client: &[u8]) -> Probe {
    let Some(len) = client.first_chunk() else {
        return Probe::More;
    };
    if !(8..=MAX_STARTUP).contains(&(u32::from_be_bytes(*len) as usize)) {
        return Probe::No;
    }
    if client.len() < 8 {
        return Probe::More;
    }
    match Startup::parse(client) {
        Ok(Startup::Unsupported { major: 2, .. }) => Probe::Yes,
        Ok(Startup::Unsupported { .. }) | Err(_) => Probe::No,
        Ok(_) => Probe::Yes,
    }
}

/// What a client says once it is logged in.
fn message(client: &[u8]) -> Probe {
    let mut messages = Messages::new(client);
    match messages.next() {
        Some((_, message)) => match Message::parse(message) {
            Ok(Message::Unknown { .. }) | Err(_) => Probe::No,
            Ok(_) => Probe::Yes,
        },
        None => {
            let known = client
                .first()
                .is_some_and(|tag| b"QPBDECSHFdcfpX".contains(tag));
            let len = client.get(1..).and_then(|rest| rest.first_chunk());
            let len = len.map(|len| u32::from_be_bytes(*len) as usize);
            match len {
                _ if !known => Probe::No,
                Some(len) if !(4..=MAX_FIRST).contains(&len) => Probe::No,
                _ => Probe::More,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_postgres_from_others() {
        for (bytes, expected) in [
            (&b""[..], Probe::More),
            (b"\0\0\0\x08", Probe::More),
            (b"\0\0\0\x08\x04\xd2\x16\x2f", Probe::Yes),
            (b"\0\0\0\x30\0\x03\0\0user\0", Probe::Yes),
            (b"\0\0\0\x30\0\x02\0\0", Probe::Yes),
            (b"\0\0\0\x30\0\x09\0\0", Probe::No),
            (b"\0\0\x60\0", Probe::No),
            (b"Q", Probe::More),
            (b"Q\0\0\0\x0dselect 1\0", Probe::Yes),
            (b"S\0\0\0\x04", Probe::Yes),
            (b"Q\0\0\0\x0dselect 1 ", Probe::No),
            (b"GET / HTTP/1.1\r\n", Probe::No),
            (b"POST / HTTP/1.1\r\n", Probe::No),
            (b"\x16\x03\x01\x02\0\x01", Probe::No),
            (b"\x03\0\0\0\x01", Probe::No),
        ] {
            assert_eq!(probe(bytes), expected, "{}", bytes.escape_ascii());
        }
    }
}
