//! TLS to the target, with the meaning that libpq gives to `sslmode`.

use std::io;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use crate::target::Target;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlsMode {
    Disable,
    /// TLS, and on without it where the server refuses.
    #[default]
    Prefer,
    /// TLS with whoever answers; where a root certificate is given, as `VerifyCa`.
    Require,
    /// The server's certificate must come from a known root.
    VerifyCa,
    /// And must be for the host's name.
    VerifyFull,
}

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("failed to read the root certificates in {path}: {reason}")]
    Roots { path: PathBuf, reason: String },
    #[error("no root certificate is known: name a file by sslrootcert")]
    NoRoots,
    #[error("failed to set TLS up: {0}")]
    Setup(String),
}

impl FromStr for TlsMode {
    type Err = ();

    fn from_str(text: &str) -> Result<TlsMode, ()> {
        Ok(match text {
            "disable" => TlsMode::Disable,
            "prefer" => TlsMode::Prefer,
            "require" => TlsMode::Require,
            "verify-ca" => TlsMode::VerifyCa,
            "verify-full" => TlsMode::VerifyFull,
            _ => return Err(()),
        })
    }
}

/// `None` where TLS is not wanted. Without root certificates of its own, those of the system are
/// trusted.
pub(crate) fn config(target: &Target) -> Result<Option<Arc<ClientConfig>>, TlsError> {
    let (mode, roots) = (target.tls, target.root_certificates.as_ref());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let trust = match mode {
        TlsMode::Disable => return Ok(None),
        TlsMode::Prefer | TlsMode::Require if roots.is_none() => None,
        _ => Some(trust(&provider, roots)?),
    };
    let verifier = Verifier {
        trust,
        any_name: mode != TlsMode::VerifyFull,
        provider: Arc::clone(&provider),
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Setup(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    let alpn = target.protocol.alpn().iter();
    config.alpn_protocols = alpn.map(|name| name.to_vec()).collect();
    Ok(Some(Arc::new(config)))
}

/// Why a handshake failed, and what to do where it is the certificate.
pub(crate) fn complaint(error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    let Some(Error::InvalidCertificate(why)) = inner else {
        return error.to_string();
    };
    let why = match why {
        CertificateError::Other(other) if other.to_string() == "CaUsedAsEndEntity" => {
            "it is an authority's own".to_owned()
        }
        CertificateError::Other(other) => other.to_string(),
        CertificateError::UnknownIssuer => "nobody known has signed it".to_owned(),
        other => other.to_string(),
    };
    format!(
        "the target's certificate is not trusted: {why}: name a file to trust by sslrootcert in the target's URL, or trust anyone by --insecure"
    )
}

fn trust(provider: &Arc<CryptoProvider>, path: Option<&PathBuf>) -> Result<Trust, TlsError> {
    let mut roots = RootCertStore::empty();
    let mut pinned = Vec::new();
    match path {
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        Some(path) => {
            let unreadable = |reason: String| TlsError::Roots {
                path: path.clone(),
                reason,
            };
            let found = CertificateDer::pem_file_iter(path)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .map_err(|error| unreadable(error.to_string()))?;
            for certificate in &found {
                roots
                    .add(certificate.clone())
                    .map_err(|error| unreadable(error.to_string()))?;
            }
            pinned = found;
        }
    }
    if roots.is_empty() {
        return Err(TlsError::NoRoots);
    }
    let chains = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|error| TlsError::Setup(error.to_string()))?;
    Ok(Trust { chains, pinned })
}

#[derive(Debug)]
struct Trust {
    chains: Arc<WebPkiServerVerifier>,
    /// A server may show one of these itself: a certificate that it signed, as OpenSSL takes it.
    pinned: Vec<CertificateDer<'static>>,
}

#[derive(Debug)]
struct Verifier {
    /// Absent where any certificate will do.
    trust: Option<Trust>,
    any_name: bool,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(trust) = &self.trust else {
            return Ok(ServerCertVerified::assertion());
        };
        let verified = if trust.pinned.contains(end_entity) {
            ParsedCertificate::try_from(end_entity)
                .and_then(|parsed| verify_server_name(&parsed, server_name))
                .map(|()| ServerCertVerified::assertion())
        } else {
            let chains = &trust.chains;
            chains.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
        };
        match verified {
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.any_name => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_is_not_trusted_is_told_with_what_to_do() {
        #[derive(Debug)]
        struct CaUsedAsEndEntity;
        impl std::fmt::Display for CaUsedAsEndEntity {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{self:?}")
            }
        }
        impl std::error::Error for CaUsedAsEndEntity {}
        let other = rustls::OtherError(Arc::new(CaUsedAsEndEntity));
        for why in [CertificateError::Other(other), CertificateError::Expired] {
            let error = io::Error::other(Error::InvalidCertificate(why));
            let told = complaint(&error);
            assert!(
                told.contains("sslrootcert") && told.contains("--insecure"),
                "{told}"
            );
            assert!(
                !told.contains("OtherError") && !told.contains("Ca"),
                "{told}"
            );
        }
        assert_eq!(complaint(&io::Error::other("reset")), "reset");
    }
}
