//! The arguments of `serve`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use twotide::StorageUrl;
use twotide::net::tls;
use twotide::net::tls::rustls::ServerConfig;

use crate::failure::Failure;
use crate::tokens::ServerTokens;
use crate::values::{read_file, storage};

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Where to listen, such as 127.0.0.1:8787 or localhost:8787; without tokens only loopback
    /// addresses are allowed
    #[arg(long, default_value = "127.0.0.1:8787", value_name = "ADDRESS")]
    pub(crate) listen: String,
    /// Answer pages of this origin too, such as https://app.example, or of every origin with *; may
    /// be given several times
    #[arg(long = "allow-origin", value_name = "ORIGIN")]
    pub(crate) origins: Vec<String>,
    /// Answer requests to this host name too; may be given several times. Without tokens only the
    /// names of this machine and IP addresses are answered, with tokens every name unless this is
    /// given
    #[arg(long = "allow-host", value_name = "NAME")]
    pub(crate) hosts: Vec<String>,
    /// Where to keep the data: a SQLite file, or sqlite:PATH, sled:PATH, memory:
    #[arg(long, default_value = "sqlite:server.db", value_name = "STORAGE", value_parser = storage)]
    pub(crate) storage: StorageUrl,
    /// How many seconds /healthz reports that the storage failed permanently before the server
    /// ends; 0 if a supervisor restarts it at once
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    pub(crate) failing_for: u32,
    #[command(flatten)]
    pub(crate) tokens: ServerTokens,
    #[command(flatten)]
    pub(crate) tls: TlsArgs,
}

/// The server's certificate and its key.
#[derive(Debug, Args)]
pub(crate) struct TlsArgs {
    /// Serve with TLS only: a file with the certificate and its issuers, in PEM or DER
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_certificate: Option<PathBuf>,
    /// The certificate's private key, in PEM or DER
    #[arg(long, value_name = "FILE", requires = "tls_certificate")]
    tls_key: Option<PathBuf>,
}

impl TlsArgs {
    /// Returns the TLS configuration; none without TLS.
    pub(crate) fn read(&self) -> Result<Option<Arc<ServerConfig>>, Failure> {
        let (Some(certificate), Some(key)) = (&self.tls_certificate, &self.tls_key) else {
            return Ok(None);
        };
        let (chain, secret) = (read_file(certificate)?, read_file(key)?);
        let about = |file: &Path| {
            let file = file.display().to_string();
            move |e: twotide::Error| Failure::from(e).about(file)
        };
        tls::read_certificates(&chain).map_err(about(certificate))?;
        tls::read_key(&secret).map_err(about(key))?;
        let both = format!("{} and {}", certificate.display(), key.display());
        let config = tls::server_config(&chain, &secret);
        Ok(Some(config.map_err(|e| Failure::from(e).about(both))?))
    }
}
