//! TLS at an endpoint: the certificate and key of `service.tls`, read anew when the files change.
//!
//! TLS 1.2 and 1.3; HTTP/2 and HTTP/1.1 by ALPN. A new certificate serves the connections that come after it; those that
//! are there go on. Files that cannot be used, once the endpoint serves, change nothing.

mod expiry;

use std::fs;
use std::io;
use std::sync::Arc;

use plan::time::Timestamp;
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use spec::Tls;

/// What is negotiated, the preferred first (RFC 7301).
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// A certificate in use, and how to know whether the files still have it.
#[derive(Clone, Debug)]
pub(crate) struct Certificate {
    pub(crate) config: Arc<ServerConfig>,
    /// When the first certificate of the chain ends that does. `None` where that cannot be read.
    pub(crate) expires: Option<Timestamp>,
    files: Tls,
    /// Hash of both files.
    content: blake3::Hash,
}

impl Certificate {
    /// Reads both files.
    ///
    /// # Errors
    ///
    /// Which file cannot be used, and why; nothing of its content.
    pub(crate) fn load(files: &Tls) -> Result<Self, String> {
        let (chain, key) = read(files)?;
        Self::of(files, &chain, &key)
    }

    fn of(files: &Tls, chain: &[u8], key: &[u8]) -> Result<Self, String> {
        let certificate = |error: &dyn std::fmt::Display| {
            format!("service.tls.certfile '{}': {error}", files.certfile)
        };
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(|error| certificate(&error))?;
        let ends = certificates.iter().filter_map(|der| expiry::not_after(der));
        let expires = ends.min();
        let private = PrivateKeyDer::from_pem_slice(key)
            .map_err(|error| format!("service.tls.keyfile '{}': {error}", files.keyfile))?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_no_client_auth()
            .with_single_cert(certificates, private)
            .map_err(|error| certificate(&error))?;
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        Ok(Self {
            config: Arc::new(config),
            expires,
            files: files.clone(),
            content: hash(chain, key),
        })
    }

    /// Where it is, for a person.
    pub(crate) fn file(&self) -> &str {
        &self.files.certfile
    }

    /// Whether it came from these files.
    pub(crate) fn is_from(&self, files: &Tls) -> bool {
        self.files == *files
    }

    /// What the files have now; `None` when that is what they had.
    ///
    /// # Errors
    ///
    /// As [`Self::load`].
    pub(crate) fn renewed(&self) -> Result<Option<Self>, String> {
        let (chain, key) = read(&self.files)?;
        if hash(&chain, &key) == self.content {
            return Ok(None);
        }
        Self::of(&self.files, &chain, &key).map(Some)
    }
}

fn read(files: &Tls) -> Result<(Vec<u8>, Vec<u8>), String> {
    let read = |name: &str, path: &str| {
        fs::read(path).map_err(|error: io::Error| format!("service.tls.{name} '{path}': {error}"))
    };
    Ok((
        read("certfile", &files.certfile)?,
        read("keyfile", &files.keyfile)?,
    ))
}

fn hash(chain: &[u8], key: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(chain.len() as u64).to_le_bytes());
    hasher.update(chain);
    hasher.update(key);
    hasher.finalize()
}
