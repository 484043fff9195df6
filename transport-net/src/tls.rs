//! Whom to trust, and how to be trusted. The cryptography is that of aws-lc-rs.

use std::sync::Arc;

/// The library that the configurations are for, for who makes one of their own.
pub use rustls;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sync_core::error::{Error, ErrorKind, Result};

fn invalid(what: &'static str) -> Error {
    Error::new(ErrorKind::InvalidInput, what).during("set up TLS")
}

/// Whom a client trusts to be the server.
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
    /// Whatever this decides: for the roots of an operating system, client certificates, or rules of one's own.
    Custom(Arc<rustls::ClientConfig>),
}

impl Default for Trust {
    /// The authorities of the web.
    fn default() -> Self {
        Self::Web { extra: Vec::new() }
    }
}

impl Trust {
    /// What a TLS client of whatever kind is configured with.
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
        for certificate in certificates {
            for root in read_certificates(certificate)? {
                roots.add(root).map_err(|e| invalid("not a root certificate").because(e))?;
            }
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| invalid("no version of TLS is usable").because(e))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Arc::new(config))
    }
}

/// PEM with any number of certificates, or one in DER.
fn read_certificates(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    if !bytes.trim_ascii_start().starts_with(b"-----") {
        return Ok(vec![CertificateDer::from(bytes.to_vec())]);
    }
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    let all = all.map_err(|e| invalid("not certificates in PEM").because(e))?;
    if all.is_empty() { Err(invalid("no certificate in the PEM")) } else { Ok(all) }
}

/// What a server needs: its chain of certificates, its own first, and its private key, both as PEM or DER.
///
/// # Errors
/// `InvalidInput` if they cannot be read or do not belong together.
pub fn server_config(chain: &[u8], key: &[u8]) -> Result<Arc<rustls::ServerConfig>> {
    let key = if key.trim_ascii_start().starts_with(b"-----") {
        PrivateKeyDer::from_pem_slice(key)
            .map_err(|e| invalid("not a private key in PEM").because(e))?
    } else {
        PrivateKeyDer::try_from(key.to_vec()).map_err(|e| {
            Error::new(ErrorKind::InvalidInput, format!("not a private key in DER: {e}"))
        })?
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| invalid("no version of TLS is usable").because(e))?
        .with_no_client_auth()
        .with_single_cert(read_certificates(chain)?, key)
        .map_err(|e| invalid("the certificate and the key are of no use").because(e))?;
    Ok(Arc::new(config))
}
