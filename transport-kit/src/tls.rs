//! TLS: the trusted certificates, and those of a server. The cryptography is that of aws-lc-rs.

use std::sync::Arc;

/// The library of the configurations, for callers that make their own.
pub use rustls;

pub use crate::pem::{read_certificates, read_key};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, SignatureScheme};
use sync_core::error::{Error, ErrorKind, Result};

fn invalid(what: &'static str) -> Error {
    Error::new(ErrorKind::InvalidInput, what).during("set up TLS")
}

/// The certificates by which a client trusts a server.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Trust {
    /// The authorities of the web, as Mozilla lists them, and these.
    Web {
        /// More authorities, or single servers, as PEM (any number in one) or DER.
        extra: Vec<Vec<u8>>,
    },
    /// These alone, as PEM or DER.
    Only(Vec<Vec<u8>>),
    /// This configuration: for the roots of an operating system, client certificates, or custom
    /// rules.
    Custom(Arc<rustls::ClientConfig>),
}

impl Default for Trust {
    /// Returns the authorities of the web.
    fn default() -> Self {
        Self::Web { extra: Vec::new() }
    }
}

impl Trust {
    /// Returns the configuration of a TLS client of any kind.
    ///
    /// # Errors
    /// `InvalidInput` if a certificate cannot be read.
    pub fn client_config(&self) -> Result<Arc<rustls::ClientConfig>> {
        let mut roots = rustls::RootCertStore::empty();
        let certificates = match self {
            Self::Custom(config) => return Ok(Arc::clone(config)),
            Self::Web { extra } => {
                roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
                extra
            }
            Self::Only(certificates) => certificates,
        };
        let mut named = Vec::new();
        for certificate in certificates {
            for root in read_certificates(certificate)? {
                named.push(root.clone());
                roots.add(root).map_err(|e| invalid("not a root certificate").because(e))?;
            }
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|e| invalid("no version of TLS is usable").because(e))?;
        if named.is_empty() {
            return Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()));
        }
        let verifier = NamedVerifier::new(roots, named, provider)?;
        let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
        Ok(Arc::new(builder.with_no_client_auth()))
    }
}

/// Verifies as usual, and also accepts a trusted certificate itself although it is marked as an
/// authority's: the self-signed ones that openssl makes by default are.
#[derive(Debug)]
struct NamedVerifier {
    usual: Arc<WebPkiServerVerifier>,
    named: Vec<CertificateDer<'static>>,
}

impl NamedVerifier {
    fn new(
        roots: rustls::RootCertStore,
        named: Vec<CertificateDer<'static>>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self> {
        let usual = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        let usual =
            usual.build().map_err(|e| invalid("no certificate can be verified").because(e))?;
        Ok(Self { usual, named })
    }
}

/// Returns whether everything but the use as a server's certificate was valid, including its time.
fn is_authority_only(error: &rustls::Error) -> bool {
    let rustls::Error::InvalidCertificate(CertificateError::Other(other)) = error else {
        return false;
    };
    matches!(other.0.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
}

impl ServerCertVerifier for NamedVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let usual = &self.usual;
        let verified =
            usual.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            Err(error) if is_authority_only(&error) && self.named.contains(end_entity) => {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.usual.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.usual.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}

/// Returns the configuration of a server from its chain of certificates, with its own first, and
/// its private key, both as PEM or DER.
///
/// # Errors
/// `InvalidInput` if they cannot be read or do not belong together. The errors of
/// [`read_certificates`] and [`read_key`] name the one that cannot be read.
pub fn server_config(chain: &[u8], key: &[u8]) -> Result<Arc<rustls::ServerConfig>> {
    let (chain, key) = (read_certificates(chain)?, read_key(key)?);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| invalid("no version of TLS is usable").because(e))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|e| match e {
            rustls::Error::InconsistentKeys(_) => invalid(
                "the private key does not belong to the certificate, or the server's own certificate is not the first one",
            ),
            e => invalid("the certificate and the key cannot be used").because(e),
        })?;
    Ok(Arc::new(config))
}
