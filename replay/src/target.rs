//! Where a recording is replayed to, as a URL says it.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use protocol::{Login, Protocol};
use recording::SessionInfo;
use url::Url;

use crate::tls::TlsMode;

/// A server to replay against.
#[derive(Clone)]
pub struct Target {
    pub protocol: &'static dyn Protocol,
    /// A name or an address, without brackets.
    pub host: String,
    pub port: u16,
    /// What is set here goes before what was recorded.
    pub login: Login,
    pub tls: TlsMode,
    /// A file of PEM certificates to trust instead of the system's.
    pub root_certificates: Option<PathBuf>,
    pub connect_timeout: Option<Duration>,
    /// The text of the protocol's password file, for logins without a password.
    pub password_file: Option<Arc<str>>,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TargetError {
    #[error("{0:?} is not a URL: {1}")]
    Url(String, url::ParseError),
    #[error("no protocol has the URL scheme {scheme:?}: try {known}")]
    Scheme { scheme: String, known: String },
    #[error("the target's URL names no host")]
    NoHost,
    #[error("the target's URL has the parameter {0:?}, which rehearsal does not know: {1}")]
    Parameter(String, &'static str),
    #[error("the target's URL has {name}={value:?}: say {expected}")]
    Value {
        name: &'static str,
        value: String,
        expected: &'static str,
    },
    #[error("the target's URL has a {0} that is not UTF-8 when decoded")]
    Text(&'static str),
}

const KNOWN_PARAMETERS: &str = "it knows sslmode, sslrootcert and connect_timeout";
const SSL_MODES: &str = "disable, prefer, require, verify-ca or verify-full";

impl Target {
    /// Reads `scheme://[user[:password]@]host[:port][/database][?parameters]`.
    pub fn parse(text: &str, protocols: &[&'static dyn Protocol]) -> Result<Target, TargetError> {
        let url = Url::parse(text).map_err(|error| TargetError::Url(redacted(text), error))?;
        let protocol = protocols
            .iter()
            .copied()
            .find(|protocol| protocol.url_schemes().contains(&url.scheme()))
            .ok_or_else(|| TargetError::Scheme {
                scheme: url.scheme().to_owned(),
                known: known_schemes(protocols),
            })?;
        let host = decode(url.host_str().unwrap_or(""), "host")?;
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        if host.is_empty() {
            return Err(TargetError::NoHost);
        }
        let some = |text: String| (!text.is_empty()).then(|| Arc::from(text));
        let mut target = Target {
            protocol,
            host,
            port: url.port().unwrap_or_else(|| protocol.default_port()),
            login: Login {
                user: some(decode(url.username(), "user")?),
                database: some(decode(url.path().trim_start_matches('/'), "database")?),
                password: some(decode(url.password().unwrap_or(""), "password")?),
                tls: false,
            },
            tls: TlsMode::default(),
            root_certificates: None,
            connect_timeout: None,
            password_file: None,
        };
        for (name, value) in url.query_pairs() {
            target.set(&name, &value)?;
        }
        target.login.tls = target.tls != TlsMode::Disable;
        Ok(target)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), TargetError> {
        let bad = |name, expected| TargetError::Value {
            name,
            value: value.to_owned(),
            expected,
        };
        match name {
            "sslmode" => self.tls = value.parse().map_err(|()| bad("sslmode", SSL_MODES))?,
            "sslrootcert" => self.root_certificates = Some(PathBuf::from(value)),
            "connect_timeout" => {
                let seconds: u64 = value
                    .parse()
                    .map_err(|_| bad("connect_timeout", "whole seconds, 0 for none"))?;
                self.connect_timeout = (seconds > 0).then(|| Duration::from_secs(seconds));
            }
            "application_name" => {
                let why = "sessions keep the name that was recorded";
                return Err(TargetError::Parameter(name.to_owned(), why));
            }
            _ => return Err(TargetError::Parameter(name.to_owned(), KNOWN_PARAMETERS)),
        }
        Ok(())
    }

    pub(crate) fn resolve(&self) -> std::io::Result<Vec<SocketAddr>> {
        Ok((self.host.as_str(), self.port).to_socket_addrs()?.collect())
    }

    /// The login of a session that was recorded so.
    pub(crate) fn login_for(&self, info: Option<&SessionInfo>, tls: bool) -> Login {
        let mut login = self.login.clone();
        login.tls = tls;
        if let (None, Some(text)) = (&login.password, &self.password_file) {
            let asked = Login {
                user: login
                    .user
                    .clone()
                    .or(info.and_then(|info| info.user.clone())),
                database: login
                    .database
                    .clone()
                    .or(info.and_then(|info| info.database.clone())),
                ..Login::default()
            };
            login.password = self
                .protocol
                .password_from_file(text, &self.host, self.port, &asked)
                .map(Arc::from);
        }
        login
    }
}

impl fmt::Display for Target {
    /// The URL without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.protocol.url_schemes().first().copied();
        write!(f, "{}://", scheme.unwrap_or(self.protocol.name()))?;
        if let Some(user) = &self.login.user {
            write!(f, "{user}@")?;
        }
        write!(f, "{}", endpoint(&self.host, self.port))?;
        if let Some(database) = &self.login.database {
            write!(f, "/{database}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self}, {:?})", self.tls)
    }
}

fn endpoint(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// The endpoint among `captured` that the target is, unless `allowed` names it.
pub(crate) fn captured_endpoint(
    target: &Target,
    resolved: &[SocketAddr],
    captured: &[SocketAddr],
    allowed: Option<&str>,
) -> Option<SocketAddr> {
    let found = captured.iter().copied().find(|captured| {
        captured.port() == target.port
            && resolved
                .iter()
                .any(|resolved| same_host(*resolved, *captured))
    })?;
    let named = [found.to_string(), endpoint(&target.host, target.port)];
    let allowed = allowed.is_some_and(|allowed| named.iter().any(|name| name == allowed));
    (!allowed).then_some(found)
}

/// Every address of this machine counts as one host: a server that listens on one of them listens
/// as a rule on the others.
fn same_host(a: SocketAddr, b: SocketAddr) -> bool {
    let (a, b) = (a.ip().to_canonical(), b.ip().to_canonical());
    let here = |ip: std::net::IpAddr| ip.is_loopback() || UdpSocket::bind((ip, 0)).is_ok();
    a == b || (here(a) && here(b))
}

fn known_schemes(protocols: &[&'static dyn Protocol]) -> String {
    let schemes = protocols.iter().filter_map(|p| p.url_schemes().first());
    let schemes: Vec<String> = schemes.map(|scheme| format!("{scheme}://")).collect();
    schemes.join(", ")
}

/// What may be shown of a text that might hold a password.
fn redacted(text: &str) -> String {
    match (text.find("://"), text.rfind('@')) {
        (Some(scheme), Some(at)) if scheme < at => {
            let (scheme, _) = text.split_at(scheme);
            let (_, rest) = text.split_at(at);
            format!("{scheme}://...{rest}")
        }
        _ => text.to_owned(),
    }
}

fn decode(text: &str, what: &'static str) -> Result<String, TargetError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes().iter().copied();
    while let Some(byte) = rest.next() {
        let mut ahead = rest.clone();
        let pair = (byte == b'%').then(|| (ahead.next().and_then(hex), ahead.next().and_then(hex)));
        if let Some((Some(high), Some(low))) = pair {
            bytes.push(high << 4 | low);
            rest = ahead;
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).map_err(|_| TargetError::Text(what))
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}
