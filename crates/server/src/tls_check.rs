//! Whether the files of `service.tls` can serve an endpoint: said before a version is accepted, so that an update with
//! a wrong certificate changes nothing.

use std::fs::{self, File};
use std::io::Read;

use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error as TlsError, InconsistentKeys};
use spec::Tls;

/// The largest file read; a chain of certificates has some kilobytes.
const MOST_BYTES: u64 = 1024 * 1024;

/// Checks that both files can be read, that the first certificate can be understood and that the key belongs to it.
///
/// # Errors
/// Which file is wrong, what is wrong with it and what to do. Nothing of a file's content is in the text.
pub(crate) fn check(tls: &Tls) -> Result<(), String> {
    let (certfile, keyfile) = (&tls.certfile, &tls.keyfile);
    let of_certificate = |problem: String| format!("service.tls.certfile '{certfile}' {problem}");
    let of_key = |problem: String| format!("service.tls.keyfile '{keyfile}' {problem}");
    let chain = read(certfile)
        .and_then(|pem| certificates(&pem))
        .map_err(of_certificate)?;
    let key = read(keyfile)
        .and_then(|pem| private_key(&pem))
        .map_err(of_key)?;
    let key = any_supported_type(&key).map_err(|_| {
        of_key(
            "holds a private key of a kind that is not supported. Use an RSA key of 2048 to 8192 bits, an ECDSA key \
             on P-256 or P-384, or an Ed25519 key."
                .to_owned(),
        )
    })?;
    match CertifiedKey::new(chain, key).keys_match() {
        Ok(()) | Err(TlsError::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(()),
        Err(TlsError::InconsistentKeys(_)) => Err(of_key(format!(
            "does not belong to the certificate in '{certfile}'. Give the key with which that certificate was made; \
             in a file with several certificates the endpoint's own comes first."
        ))),
        Err(error) => Err(of_certificate(format!(
            "holds a certificate that cannot be understood: {error}."
        ))),
    }
}

fn read(path: &str) -> Result<Vec<u8>, String> {
    let unreadable = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => "does not exist.".to_owned(),
        _ => format!("cannot be read: {error}."),
    };
    // A pipe would be waited for without end.
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err("is not a file.".to_owned());
    }
    let mut pem = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MOST_BYTES + 1)
        .read_to_end(&mut pem)
        .map_err(unreadable)?;
    if pem.len() as u64 > MOST_BYTES {
        return Err("is larger than 1 MiB, which no certificate or key is.".to_owned());
    }
    Ok(pem)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Result<Vec<_>, PemError> = CertificateDer::pem_slice_iter(pem).collect();
    match chain {
        Ok(chain) if chain.is_empty() => {
            Err("holds no certificate in PEM form (-----BEGIN CERTIFICATE-----).".to_owned())
        }
        Ok(chain) => Ok(chain),
        Err(error) => Err(broken(&error)),
    }
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        PemError::NoItemsFound if is_encrypted(pem) => {
            "holds a private key that is encrypted, and there is nobody to ask for its passphrase. Decrypt it: \
             openssl pkey -in FILE -out DECRYPTED"
                .to_owned()
        }
        PemError::NoItemsFound => {
            "holds no private key in PEM form (-----BEGIN PRIVATE KEY-----).".to_owned()
        }
        error => broken(&error),
    })
}

fn is_encrypted(pem: &[u8]) -> bool {
    let label = b"-----BEGIN ENCRYPTED PRIVATE KEY-----";
    pem.windows(label.len()).any(|window| window == label)
}

/// The library's own words may quote the file.
fn broken(error: &PemError) -> String {
    let problem = match error {
        PemError::MissingSectionEnd { .. } => "an -----END line is missing",
        PemError::IllegalSectionStart { .. } => "a -----BEGIN line is broken",
        PemError::Base64Decode(_) => "what stands between BEGIN and END is not base64",
        _ => "it cannot be understood",
    };
    format!("is not valid PEM: {problem}.")
}

#[cfg(test)]
mod tests;
