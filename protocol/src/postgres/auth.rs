//! Passwords: <https://www.postgresql.org/docs/current/sasl-authentication.html>
//!
//! SCRAM-SHA-256 after RFC 5802 and RFC 7677, without channel binding.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use md5::Md5;
use sha2::{Digest, Sha256};

use crate::Keys;

pub(super) const SCRAM_SHA_256: &[u8] = b"SCRAM-SHA-256";

/// `n`: this client does not support channel binding.
const GS2_HEADER: &str = "n,,";

/// More would let a server keep a client's processor busy for seconds.
const MAX_ITERATIONS: u32 = 1_000_000;

/// What an md5 challenge is answered with.
pub(super) fn md5_response(user: &str, password: &str, salt: [u8; 4]) -> String {
    let inner = hex(&Md5::new()
        .chain_update(password)
        .chain_update(user)
        .finalize());
    let outer = Md5::new().chain_update(inner).chain_update(salt).finalize();
    format!("md5{}", hex(&outer))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The client's half of one SCRAM-SHA-256 exchange.
pub(super) struct Scram {
    password: String,
    keys: Keys,
    nonce: String,
    client_first_bare: String,
    /// Once the challenge is answered.
    server_signature: Option<Hmac<Sha256>>,
}

/// What is wrong with a message of the server's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ScramError {
    #[error("a SCRAM message that can't be read")]
    Malformed,
    #[error("a SCRAM challenge to somebody else's nonce")]
    Nonce,
    #[error("a SCRAM challenge of too many iterations")]
    Iterations,
    #[error("a SCRAM signature without a challenge")]
    Early,
    #[error("a SCRAM signature that does not fit the password: it does not know it")]
    Signature,
}

impl Scram {
    /// `nonce` is printable, without commas, and never used twice.
    pub(super) fn new(password: &str, keys: Keys, nonce: String) -> Scram {
        // PostgreSQL takes the user's name from the start-up packet.
        let client_first_bare = format!("n=,r={nonce}");
        Scram {
            // What SASLprep does not allow is used as it is, like the server does.
            password: stringprep::saslprep(password)
                .map_or_else(|_| password.to_owned(), |prepared| prepared.into_owned()),
            keys,
            nonce,
            client_first_bare,
            server_signature: None,
        }
    }

    pub(super) fn first(&self) -> String {
        format!("{GS2_HEADER}{}", self.client_first_bare)
    }

    /// Answers the server's first message.
    pub(super) fn answer(&mut self, server_first: &[u8]) -> Result<String, ScramError> {
        let server_first = std::str::from_utf8(server_first).map_err(|_| ScramError::Malformed)?;
        let mut attributes = server_first.split(',');
        let mut attribute = |name| {
            attributes
                .next()
                .and_then(|text| text.strip_prefix(name))
                .ok_or(ScramError::Malformed)
        };
        let nonce = attribute("r=")?;
        let salt = BASE64.decode(attribute("s=")?);
        let salt = salt.map_err(|_| ScramError::Malformed)?;
        let iterations: Result<u32, _> = attribute("i=")?.parse();
        let iterations = iterations.map_err(|_| ScramError::Malformed)?;
        if nonce.len() <= self.nonce.len() || !nonce.starts_with(&self.nonce) {
            return Err(ScramError::Nonce);
        }
        if !(1..=MAX_ITERATIONS).contains(&iterations) {
            return Err(ScramError::Iterations);
        }

        let password = self.password.as_bytes();
        let salted = (self.keys).get(password, &salt, iterations, salted_password);
        let client_key = sign(&salted, b"Client Key");
        let stored_key = Sha256::digest(client_key);
        let without_proof = format!("c={},r={nonce}", BASE64.encode(GS2_HEADER));
        let auth_message = format!("{},{server_first},{without_proof}", self.client_first_bare);
        let client_signature = sign(&stored_key, auth_message.as_bytes());
        let proof: Vec<u8> = client_key
            .iter()
            .zip(client_signature)
            .map(|(key, signature)| key ^ signature)
            .collect();
        let server_key = sign(&salted, b"Server Key");
        self.server_signature = Some(keyed(&server_key).chain_update(auth_message));
        Ok(format!("{without_proof},p={}", BASE64.encode(proof)))
    }

    /// Checks the server's last message: does it know the password too?
    pub(super) fn verify(&self, server_final: &[u8]) -> Result<(), ScramError> {
        let expected = self.server_signature.as_ref().ok_or(ScramError::Early)?;
        let signature = server_final
            .strip_prefix(b"v=")
            .and_then(|rest| rest.split(|byte| *byte == b',').next())
            .and_then(|text| BASE64.decode(text).ok())
            .ok_or(ScramError::Malformed)?;
        expected
            .clone()
            .verify_slice(&signature)
            .map_err(|_| ScramError::Signature)
    }
}

impl fmt::Debug for Scram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scram").finish_non_exhaustive()
    }
}

/// `Hi` of RFC 5802, section 2.2: PBKDF2 with one block.
fn salted_password(password: &[u8], salt: &[u8], iterations: u32) -> [u8; 32] {
    let mac = keyed(password);
    let first = mac
        .clone()
        .chain_update(salt)
        .chain_update(1u32.to_be_bytes());
    let mut round: [u8; 32] = first.finalize().into_bytes().into();
    let mut salted = round;
    for _ in 1..iterations {
        round = mac
            .clone()
            .chain_update(round)
            .finalize()
            .into_bytes()
            .into();
        for (sum, byte) in salted.iter_mut().zip(round) {
            *sum ^= byte;
        }
    }
    salted
}

fn sign(key: &[u8], message: &[u8]) -> [u8; 32] {
    keyed(key)
        .chain_update(message)
        .finalize()
        .into_bytes()
        .into()
}

/// A key longer than a block is hashed, a shorter one filled up with zeros (RFC 2104, section 2).
fn keyed(key: &[u8]) -> Hmac<Sha256> {
    let mut block = [0; 64];
    let hashed;
    let key = if key.len() > block.len() {
        hashed = Sha256::digest(key);
        hashed.as_slice()
    } else {
        key
    };
    for (place, byte) in block.iter_mut().zip(key) {
        *place = *byte;
    }
    Hmac::new(&block.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exchange of RFC 7677, section 3.
    fn rfc7677() -> Scram {
        let mut scram = Scram::new("pencil", Keys::default(), "rOprNGfwEbeRWgbNEkqO".to_owned());
        scram.client_first_bare = "n=user,r=rOprNGfwEbeRWgbNEkqO".to_owned();
        scram
    }

    const SERVER_FIRST: &[u8] =
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    #[test]
    fn scram_says_what_the_rfc_says() {
        let mut scram = rfc7677();
        assert_eq!(scram.first(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        assert_eq!(
            scram.answer(SERVER_FIRST).unwrap(),
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        scram
            .verify(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
            .unwrap();
        assert_eq!(
            scram.verify(b"v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="),
            Err(ScramError::Signature)
        );
        assert_eq!(scram.verify(b"e=other-error"), Err(ScramError::Malformed));
    }

    #[test]
    fn scram_refuses_a_wrong_challenge() {
        for (challenge, error) in [
            (&b"r=somebody,s=AAAA,i=4096"[..], ScramError::Nonce),
            (b"r=rOprNGfwEbeRWgbNEkqO,s=AAAA,i=4096", ScramError::Nonce),
            (
                b"r=rOprNGfwEbeRWgbNEkqOx,s=AAAA,i=0",
                ScramError::Iterations,
            ),
            (
                b"r=rOprNGfwEbeRWgbNEkqOx,s=AAAA,i=4000000000",
                ScramError::Iterations,
            ),
            (b"r=rOprNGfwEbeRWgbNEkqOx,s=!,i=1", ScramError::Malformed),
            (b"m=new,r=x,s=AAAA,i=1", ScramError::Malformed),
            (b"\xff", ScramError::Malformed),
            (b"", ScramError::Malformed),
        ] {
            assert_eq!(rfc7677().answer(challenge), Err(error));
        }
        assert_eq!(rfc7677().verify(b"v=AAAA"), Err(ScramError::Early));
    }

    #[test]
    fn passwords_are_prepared() {
        // RFC 4013, section 3: a soft hyphen goes, a Roman numeral is spelled out.
        assert_eq!(
            Scram::new("I\u{ad}X\u{2168}", Keys::default(), String::new()).password,
            "IXIX"
        );
        assert_eq!(
            Scram::new("a\u{7}b", Keys::default(), String::new()).password,
            "a\u{7}b"
        );
    }

    #[test]
    fn long_keys_are_hashed() {
        // RFC 4231, test case 6.
        let mac = sign(
            &[0xaa; 131],
            b"Test Using Larger Than Block-Size Key - Hash Key First",
        );
        assert_eq!(
            hex(&mac),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
    }

    #[test]
    fn md5_is_salted_twice() {
        assert_eq!(
            md5_response("md5_user", "password", [0x2a, 0x3d, 0x8f, 0xe0]),
            "md562af4dd09bbb41884907a838a3233294"
        );
    }

    #[test]
    fn debug_shows_no_password() {
        assert_eq!(format!("{:?}", rfc7677()), "Scram { .. }");
    }
}
