//! Where a recording is replayed to, as a URL says it.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use protocol::{Login, Protocol};
use recording::{Exchange, SessionInfo};
use url::Url;

use crate::error::ReplayError;
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
    insecure: bool,
    pub connect_timeout: Option<Duration>,
    /// The text of the protocol's password file, for logins without a password.
    pub password_file: Option<Arc<str>>,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TargetError {
    #[error("{0:?} is not a URL: {1}")]
    Url(String, url::ParseError),
    #[error("{text:?} is not a URL: begin it with {known}")]
    NoScheme { text: String, known: String },
    #[error("no protocol has the URL scheme {scheme:?}: try {known}")]
    Scheme { scheme: String, known: String },
    #[error("the target's URL names no host: write it as scheme://host")]
    NoHost,
    #[error(
        "the target's URL has a path, and each request has its own: leave it out, and change paths by --rewrite-url"
    )]
    Path,
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
    #[error("{protocol} targets can't have this --{name}: {why}")]
    Option {
        name: String,
        protocol: &'static str,
        why: &'static str,
    },
}

const KNOWN_PARAMETERS: &str = "it knows sslmode, sslrootcert and connect_timeout";
const SSL_MODES: &str = "disable, prefer, require, verify-ca or verify-full";

impl Target {
    /// Reads `scheme://[user[:password]@]host[:port][/database][?parameters]`.
    pub fn parse(text: &str, protocols: &[&'static dyn Protocol]) -> Result<Target, TargetError> {
        let url = Url::parse(text).map_err(|error| match error {
            url::ParseError::RelativeUrlWithoutBase => TargetError::NoScheme {
                text: redacted(text),
                known: known_schemes(protocols),
            },
            error => TargetError::Url(redacted(text), error),
        })?;
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
        let database = decode(url.path().trim_start_matches('/'), "database")?;
        if !(database.is_empty() || protocol.logs_in()) {
            return Err(TargetError::Path);
        }
        let some = |text: String| (!text.is_empty()).then(|| Arc::from(text));
        let mut target = Target {
            protocol,
            host,
            port: url
                .port_or_known_default()
                .unwrap_or_else(|| protocol.default_port()),
            login: Login {
                user: some(decode(url.username(), "user")?),
                database: some(database),
                password: some(decode(url.password().unwrap_or(""), "password")?),
                authority: Some(authority(&url)),
                ..Login::default()
            },
            tls: match protocol.url_tls(url.scheme()) {
                None => TlsMode::default(),
                Some(false) => TlsMode::Disable,
                Some(true) => TlsMode::VerifyFull,
            },
            root_certificates: None,
            insecure: false,
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

    /// Sets an option of the protocol's own.
    pub fn set_option(&mut self, name: &str, value: &str) -> Result<(), TargetError> {
        self.protocol
            .check_option(name, value)
            .map_err(|why| TargetError::Option {
                name: name.to_owned(),
                protocol: self.protocol.name(),
                why,
            })?;
        self.login.options.push((name.into(), value.into()));
        Ok(())
    }

    /// Takes whoever answers for the target, where there is TLS.
    pub fn trust_anyone(&mut self) {
        if matches!(self.tls, TlsMode::VerifyCa | TlsMode::VerifyFull) {
            self.tls = TlsMode::Require;
        }
        self.root_certificates = None;
        self.insecure = true;
    }

    /// Was it told to trust anyone, and is there TLS?
    pub(crate) fn is_unverified(&self) -> bool {
        self.insecure && self.tls != TlsMode::Disable
    }

    /// Why a request is not wanted.
    pub(crate) fn withheld(&self, request: &Exchange) -> Option<&'static str> {
        self.protocol.withheld(request, &self.login.options)
    }

    pub(crate) fn addresses(&self) -> Result<Vec<SocketAddr>, ReplayError> {
        let found = (self.host.as_str(), self.port).to_socket_addrs();
        found
            .map(Iterator::collect)
            .map_err(|source| ReplayError::Resolve {
                host: self.host.clone(),
                source,
            })
    }

    /// The login of a session that was recorded so.
    pub fn login_for(&self, info: Option<&SessionInfo>, tls: bool) -> Login {
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
        let encrypted = self.tls != TlsMode::Disable;
        let fits = |scheme: &&str| {
            self.protocol
                .url_tls(scheme)
                .is_none_or(|tls| tls == encrypted)
        };
        let scheme = self.protocol.url_schemes().iter().copied().find(fits);
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

/// The host, and the port where the URL has one.
fn authority(url: &Url) -> Arc<str> {
    let host = url.host_str().unwrap_or("");
    match url.port() {
        Some(port) => format!("{host}:{port}").into(),
        None => host.into(),
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
    schemes.join(" or ")
}

/// What may be shown of a text that might hold a password.
fn redacted(text: &str) -> String {
    let Some((secret, rest)) = text.rsplit_once('@') else {
        return text.to_owned();
    };
    match secret.split_once("://") {
        Some((scheme, _)) => format!("{scheme}://...@{rest}"),
        None => format!("...@{rest}"),
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::tests::LINES;

    fn parse(text: &str) -> Result<Target, TargetError> {
        Target::parse(text, &[&LINES])
    }

    #[test]
    fn reads_every_part_of_a_url() {
        let url = "line://da%20na:s%2Fecret@[::1]:99/the%2Fbase?sslmode=verify-full&sslrootcert=/r.pem&connect_timeout=3";
        let target = parse(url).unwrap();
        assert_eq!((target.host.as_str(), target.port), ("::1", 99));
        assert_eq!(target.login.user.as_deref(), Some("da na"));
        assert_eq!(target.login.password.as_deref(), Some("s/ecret"));
        assert_eq!(target.login.database.as_deref(), Some("the/base"));
        assert_eq!((target.tls, target.login.tls), (TlsMode::VerifyFull, true));
        assert_eq!(target.root_certificates, Some("/r.pem".into()));
        assert_eq!(target.connect_timeout, Some(Duration::from_secs(3)));
        assert_eq!(target.to_string(), "lines://da na@[::1]:99/the/base");
        assert!(!format!("{target:?}").contains("ecret"));
    }

    #[test]
    fn what_is_not_said_is_left_to_the_recording() {
        let target = parse("lines://db.example").unwrap();
        assert_eq!((target.port, target.tls), (7, TlsMode::Prefer));
        assert_eq!((&target.login.user, &target.login.database), (&None, &None));
    }

    #[test]
    fn says_what_is_wrong() {
        let errors = [
            (
                "mysql://h",
                "no protocol has the URL scheme \"mysql\": try lines://",
            ),
            (
                "lines:///base",
                "the target's URL names no host: write it as scheme://host",
            ),
            (
                "an_na:secret@h/base",
                "\"...@h/base\" is not a URL: begin it with lines://",
            ),
            (
                "lines://h?sslmode=maybe",
                "the target's URL has sslmode=\"maybe\": say disable, prefer, require, verify-ca or verify-full",
            ),
            (
                "lines://h?options=-c",
                "the target's URL has the parameter \"options\", which rehearsal does not know: it knows sslmode, sslrootcert and connect_timeout",
            ),
            (
                "lines://h?application_name=x",
                "the target's URL has the parameter \"application_name\", which rehearsal does not know: sessions keep the name that was recorded",
            ),
            (
                "lines://u:secret@h:x",
                "\"lines://...@h:x\" is not a URL: invalid port number",
            ),
        ];
        for (url, expected) in errors {
            assert_eq!(parse(url).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn https_has_a_port_of_its_own() {
        let parse = |text| Target::parse(text, protocol::registry()).unwrap();
        for (url, port, tls) in [
            ("http://h", 80, TlsMode::Disable),
            ("https://h", 443, TlsMode::VerifyFull),
            ("https://h:8443", 8443, TlsMode::VerifyFull),
        ] {
            let target = parse(url);
            assert_eq!((target.port, target.tls), (port, tls));
            let shown = target.to_string();
            assert_eq!(shown, format!("{}:{port}", url.trim_end_matches(":8443")));
        }
        let mut target = parse("https://h");
        target.trust_anyone();
        assert_eq!(
            (target.tls, target.is_unverified()),
            (TlsMode::Require, true)
        );
        let mut target = parse("http://h");
        target.trust_anyone();
        assert!(!target.is_unverified());
    }

    #[test]
    fn a_path_is_refused_where_requests_have_their_own() {
        let parse = |text| Target::parse(text, protocol::registry());
        let error = parse("http://h/api").unwrap_err();
        assert!(error.to_string().contains("--rewrite-url"), "{error}");
        assert_eq!(parse("http://h/").unwrap().login.database, None);
        let shop = parse("postgresql://h/shop").unwrap().login.database;
        assert_eq!(shop.as_deref(), Some("shop"));
    }

    #[test]
    fn an_option_is_the_protocols_own() {
        let mut target = Target::parse("http://h", protocol::registry()).unwrap();
        target.set_option("allow-writes", "").unwrap();
        let error = target.set_option("set-header", "x").unwrap_err();
        let told = "http targets can't have this --set-header: say 'NAME: VALUE'";
        assert_eq!(error.to_string(), told);
        let error = parse("lines://h").unwrap().set_option("path", "/");
        let told = "lines targets can't have this --path: the protocol has no such option";
        assert_eq!(error.unwrap_err().to_string(), told);
    }

    #[test]
    fn knows_the_captured_server_by_any_of_its_names() {
        let captured: Vec<SocketAddr> = vec!["127.0.0.1:55432".parse().unwrap()];
        let refused = |url: &str, allowed| {
            let target = parse(url).unwrap();
            let resolved = target.addresses().unwrap();
            captured_endpoint(&target, &resolved, &captured, allowed)
        };
        for url in [
            "lines://localhost:55432",
            "lines://[::1]:55432",
            "lines://127.0.0.1:55432",
            "lines://[::ffff:127.0.0.1]:55432",
        ] {
            assert_eq!(refused(url, None), Some(captured[0]), "{url}");
            assert_eq!(refused(url, Some("127.0.0.1:5432")), Some(captured[0]));
            assert_eq!(refused(url, Some("127.0.0.1:55432")), None);
        }
        assert_eq!(refused("lines://127.0.0.1:55433", None), None);
        assert_eq!(refused("lines://192.0.2.1:55432", None), None);
        let named = Some("localhost:55432");
        assert_eq!(refused("lines://localhost:55432", named), None);
    }
}
