//! Certificates and private keys in files: PEM with any text around it, or DER.

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ParsedCertificate;
use sync_core::error::{Error, ErrorKind, Result};

const BEGIN: &[u8] = b"-----BEGIN ";

fn invalid(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidInput, what).during("set up TLS")
}

/// Reads PEM with any number of certificates, or one in DER. In PEM anything else is skipped: text,
/// attributes, keys.
///
/// # Errors
/// `InvalidInput`, which names what the input contains instead, if it is known.
pub fn read_certificates(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    let all = match Pem::of(bytes)? {
        Some(pem) => pem.certificates()?,
        None => vec![CertificateDer::from(bytes.to_vec())],
    };
    for (n, certificate) in (1..).zip(&all) {
        if let Err(e) = check(certificate) {
            let what = match PrivateKeyDer::try_from(bytes) {
                Ok(key) if load(&key).is_ok() => format!("{A_KEY} ({EXCHANGED})"),
                _ if all.len() > 1 => format!("certificate {n} of {} is damaged", all.len()),
                _ => "no certificate, neither in PEM nor in DER, or a damaged one".to_owned(),
            };
            return Err(invalid(what).because(e));
        }
    }
    Ok(all)
}

/// Reads a private key in PEM or DER: PKCS#8, PKCS#1 (RSA) or SEC1 (EC), without a passphrase. In
/// PEM the first one is used, and anything else is skipped.
///
/// # Errors
/// `InvalidInput`, which names what the input contains instead, if it is known.
pub fn read_key(bytes: &[u8]) -> Result<PrivateKeyDer<'static>> {
    let key = match Pem::of(bytes)? {
        Some(pem) => pem.key()?,
        None => PrivateKeyDer::try_from(bytes.to_vec()).map_err(|_| {
            invalid(match check(&CertificateDer::from(bytes)).is_ok() {
                true => format!("a certificate and no private key ({EXCHANGED})"),
                false => NO_KEY.to_owned(),
            })
        })?,
    };
    match load(&key) {
        Ok(()) => Ok(key),
        Err(e) => Err(invalid(NO_KEY).because(e)),
    }
}

/// Checks that a key can be used.
fn load(key: &PrivateKeyDer<'_>) -> Result<(), rustls::Error> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.key_provider.load_private_key(key.clone_key()).map(drop)
}

/// Checks that a certificate can be read. Authorities may have certificates of the first version,
/// which servers may not.
fn check(certificate: &CertificateDer<'_>) -> Result<(), rustls::Error> {
    match ParsedCertificate::try_from(certificate) {
        Err(e) if webpki::anchor_from_trusted_cert(certificate).is_err() => Err(e),
        _ => Ok(()),
    }
}

const EXCHANGED: &str = "are the two files exchanged?";
const A_KEY: &str = "a private key and no certificate";
const NO_KEY: &str = "no private key of a server (RSA, ECDSA or Ed25519), neither in PEM nor in DER, or one that is \
                      damaged or locked with a passphrase";
const LOCKED: &str = "the private key is locked with a passphrase, and nothing asks for that here: write it without one, \
                      with `openssl pkey -in FILE -out UNLOCKED`, where only the server may read it";

/// PEM, without what editors add around its lines.
struct Pem(Vec<u8>);

impl Pem {
    /// Returns the text; none if it is no PEM.
    fn of(bytes: &[u8]) -> Result<Option<Self>> {
        if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
            return Err(invalid("the text is UTF-16: save it as UTF-8"));
        }
        if bytes.trim_ascii().is_empty() {
            return Err(invalid("there is nothing in it"));
        }
        let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let lines = text.split(|b| matches!(b, b'\n' | b'\r')).map(<[u8]>::trim_ascii);
        let lines: Vec<_> = lines.collect();
        let is_pem = lines.iter().any(|line| line.starts_with(BEGIN));
        Ok(is_pem.then(|| Self(lines.join(&b'\n'))))
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>> {
        let mut all = Vec::new();
        for certificate in CertificateDer::pem_slice_iter(&self.0) {
            match certificate {
                Ok(certificate) => all.push(certificate),
                // A key with a passphrase cannot be parsed here, and is not needed.
                Err(_) if self.is_locked() => {}
                Err(e) => return Err(unreadable(&e)),
            }
        }
        if !all.is_empty() {
            return Ok(all);
        }
        let labels = self.labels();
        Err(invalid(match labels.iter().any(|label| label.ends_with("PRIVATE KEY")) {
            true => format!("{A_KEY} ({EXCHANGED})"),
            false => format!("no certificate (BEGIN CERTIFICATE): there is {}", labels.join(", ")),
        }))
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>> {
        PrivateKeyDer::from_pem_slice(&self.0).map_err(|e| match e {
            _ if self.is_locked() => invalid(LOCKED),
            pem::Error::NoItemsFound => {
                let labels = self.labels();
                invalid(match labels.iter().any(|label| label == "CERTIFICATE") {
                    true => format!("a certificate and no private key ({EXCHANGED})"),
                    false => format!("no private key: there is {}", labels.join(", ")),
                })
            }
            e => unreadable(&e),
        })
    }

    /// Returns whether there is a key with a passphrase, as PKCS#8 or in OpenSSL's older format.
    fn is_locked(&self) -> bool {
        let mut lines = self.0.split(|b| *b == b'\n');
        lines.any(|line| {
            line.starts_with(b"-----BEGIN ENCRYPTED") || line == b"Proc-Type: 4,ENCRYPTED"
        })
    }

    /// Returns the labels of the sections.
    fn labels(&self) -> Vec<String> {
        let begins = self.0.split(|b| *b == b'\n').filter_map(|line| line.strip_prefix(BEGIN));
        begins
            .map(|label| String::from_utf8_lossy(label).trim_end_matches('-').to_owned())
            .collect()
    }
}

/// Returns the error for PEM that begins and then cannot be parsed.
fn unreadable(error: &pem::Error) -> Error {
    match error {
        pem::Error::MissingSectionEnd { .. } | pem::Error::IllegalSectionStart { .. } => {
            invalid("PEM without its end, or without line breaks: is a part of the file missing?")
        }
        e => invalid("damaged PEM").with("because", e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCKED_PKCS8: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAh+p5lb3l2bzwICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEELK4XVUhPWt93eCy2YZVc4oEgZA6
aiR1jY/kSsZFLgOyJrKGR5PRtGST0nsTsNc18MUNav3PrDIDAz+VJIYQNE6PVAhY
boUfmMD0ZW+rMWqm+LefbhJ7pj0+cm+AVxtSm8Z6qBqCOx7iOSINn99J7GpFVNHg
D4NRUJeEg3FuVi8pFx1pDEf7hfRgyUkyE57IWqKiWO4IOdRb45x4OSirYpzp7s8=
-----END ENCRYPTED PRIVATE KEY-----
";
    const LOCKED_SEC1: &str = "-----BEGIN EC PRIVATE KEY-----
Proc-Type: 4,ENCRYPTED
DEK-Info: AES-256-CBC,28920E1DD00E054706073A0221421F4A

uq9rX/RFDc15GnD3VInpDncngTqSotVDMIlx9mcTowm25SLPTrK1oIwG2HjnbKgK
pQdI9KxPuc2/mwMqH1mubmv7QR2Ck10wMsltpRLBjP1R6KF4Cp7/mnRTjTNmeti6
44Q0zO+ohmfi6/f8HEAjZCoTbXFKgD0pZbVOcI7Wj1o=
-----END EC PRIVATE KEY-----
";

    /// A certificate and its key, in PEM and in DER.
    struct Pair {
        certificate: String,
        key: String,
        certificate_der: Vec<u8>,
        key_der: Vec<u8>,
    }

    fn pair() -> Pair {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        Pair {
            certificate: made.cert.pem(),
            key: made.signing_key.serialize_pem(),
            certificate_der: made.cert.der().to_vec(),
            key_der: made.signing_key.serialize_der(),
        }
    }

    /// Returns the same PEM as various programs and editors write it.
    fn forms(pem: &str) -> Vec<(&'static str, Vec<u8>)> {
        vec![
            ("plain", pem.into()),
            ("text before it", format!("Certificate:\n    Data:\n  Version: 3\n{pem}").into()),
            ("bag attributes", format!("Bag Attributes\n  localKeyID: 26 34\n{pem}").into()),
            ("a byte-order mark", format!("\u{feff}{pem}").into()),
            ("CRLF", pem.replace('\n', "\r\n").into()),
            ("CR", pem.replace('\n', "\r").into()),
            ("indented", pem.replace('\n', "  \n    ").into()),
            ("no line break at its end", pem.trim_end().into()),
        ]
    }

    #[track_caller]
    fn assert_says<T>(result: Result<T>, says: &str) {
        let Err(error) = result else { panic!("it is taken, and should be refused: {says}") };
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(error.to_string().contains(says), "{error}");
    }

    #[test]
    fn pem_with_any_text_around_it_and_der_are_read() {
        let pair = pair();
        for (how, certificate) in forms(&pair.certificate) {
            let read = read_certificates(&certificate).unwrap_or_else(|e| panic!("{how}: {e}"));
            assert_eq!(read, [CertificateDer::from(pair.certificate_der.clone())], "{how}");
        }
        for (how, key) in forms(&pair.key) {
            let read = read_key(&key).unwrap_or_else(|e| panic!("{how}: {e}"));
            assert_eq!(read.secret_der(), pair.key_der, "{how}");
        }
        assert_eq!(read_certificates(&pair.certificate_der).unwrap().len(), 1);
        assert_eq!(read_key(&pair.key_der).unwrap().secret_der(), pair.key_der);
        let both = format!("{}{}", pair.key, pair.certificate);
        assert_eq!(read_certificates(both.as_bytes()).unwrap().len(), 1);
        read_key(both.as_bytes()).unwrap();
    }

    #[test]
    fn a_key_with_a_passphrase_is_an_error_that_names_it() {
        for locked in [LOCKED_PKCS8, LOCKED_SEC1] {
            for (_, locked) in forms(locked) {
                assert_says(read_key(&locked), "locked with a passphrase");
                assert_says(read_certificates(&locked), "exchanged");
            }
            let with_its_certificate = format!("{locked}{}", pair().certificate);
            assert_eq!(read_certificates(with_its_certificate.as_bytes()).unwrap().len(), 1);
            assert_says(read_key(with_its_certificate.as_bytes()), "locked with a passphrase");
        }
    }

    #[test]
    fn a_key_instead_of_a_certificate_and_the_reverse_are_errors_that_name_them() {
        let pair = pair();
        for bytes in [pair.key.as_bytes(), &pair.key_der] {
            assert_says(read_certificates(bytes), "a private key and no certificate");
        }
        for bytes in [pair.certificate.as_bytes(), &pair.certificate_der] {
            assert_says(read_key(bytes), "a certificate and no private key");
        }
    }

    #[test]
    fn other_input_is_refused_with_its_kind() {
        let pair = pair();
        let label = |to: &str| pair.certificate.replace("CERTIFICATE", to).into_bytes();
        assert_says(read_certificates(&label("CERTIFICATE REQUEST")), "CERTIFICATE REQUEST");
        assert_says(read_key(&label("PUBLIC KEY")), "PUBLIC KEY");
        let half = &pair.certificate.as_bytes()[..pair.certificate.len() / 2];
        assert_says(read_certificates(half), "a part of the file missing");
        assert_says(
            read_certificates(pair.certificate.replace('\n', "").as_bytes()),
            "line breaks",
        );
        let utf_16: Vec<u8> = std::iter::once(0xfeff)
            .chain(pair.key.encode_utf16())
            .flat_map(u16::to_le_bytes)
            .collect();
        for wrong in [&utf_16[..], b"", b" \n", b"hello", &pair.certificate_der[..100]] {
            assert_says(read_certificates(wrong), "set up TLS");
            assert_says(read_key(wrong), "set up TLS");
        }
        assert_says(read_key(&utf_16), "UTF-16");
    }
}
