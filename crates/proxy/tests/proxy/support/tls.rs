//! Certificates and clients for connections that are encrypted.

use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, ProtocolVersion, RootCertStore, StreamOwned,
    SupportedProtocolVersion,
};
use spec::Tls;
use tempfile::TempDir;

use super::PATIENCE;
use super::client::Answer;
use super::message::{Body, Head};

/// What openssl is told: a certificate that is its own authority and nobody else's.
const REQUEST: &str = "[req]\ndistinguished_name=name\nx509_extensions=extensions\nprompt=no\n\
    [name]\nCN=localhost\n[extensions]\nsubjectAltName=DNS:localhost\nbasicConstraints=critical,CA:FALSE\n";

/// A certificate for `localhost` and its key, in files that an endpoint is told of.
pub(crate) struct Certificates {
    directory: TempDir,
}

impl Certificates {
    /// `None`, having said so, where there is no openssl to make them.
    pub(crate) fn make() -> Option<Self> {
        let made = Self {
            directory: TempDir::new().unwrap(),
        };
        if let Err(error) = made.renew() {
            eprintln!("skipped: openssl cannot be run: {error}");
            return None;
        }
        Some(made)
    }

    /// Puts another certificate in the place of the one that is there, and gives it.
    pub(crate) fn renew(&self) -> io::Result<CertificateDer<'static>> {
        let path = |name: &str| self.directory.path().join(name);
        std::fs::write(path("request"), REQUEST)?;
        let output = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"])
            .args(["-pkeyopt", "ec_paramgen_curve:prime256v1"])
            .args([Path::new("-config"), &path("request")])
            .args([Path::new("-keyout"), &path("new-key")])
            .args([Path::new("-out"), &path("new-chain")])
            .stdin(Stdio::null())
            .output()?;
        assert!(output.status.success(), "{output:?}");
        std::fs::rename(path("new-key"), self.key())?;
        std::fs::rename(path("new-chain"), self.chain())?;
        Ok(self.current())
    }

    /// The certificate that the file has.
    pub(crate) fn current(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_file(self.chain()).unwrap()
    }

    pub(crate) fn chain(&self) -> PathBuf {
        self.directory.path().join("chain.pem")
    }

    fn key(&self) -> PathBuf {
        self.directory.path().join("key.pem")
    }

    pub(crate) fn files(&self) -> Tls {
        Tls {
            keyfile: self.key().to_str().unwrap().to_owned(),
            certfile: self.chain().to_str().unwrap().to_owned(),
        }
    }
}

/// What a client knows and can do: this certificate alone, these versions, these protocols.
pub(crate) fn config(
    trusted: &CertificateDer<'static>,
    versions: &[&'static SupportedProtocolVersion],
    protocols: &[&str],
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let protocols = protocols.iter().map(|name| name.as_bytes().to_vec());
    config.alpn_protocols = protocols.collect();
    Arc::new(config)
}

/// One encrypted connection to an endpoint.
pub(crate) struct TlsClient {
    pub(crate) reader: BufReader<StreamOwned<ClientConnection, TcpStream>>,
}

impl TlsClient {
    /// Connects as any client does that trusts `trusted`.
    pub(crate) fn connect(address: SocketAddr, trusted: &CertificateDer<'static>) -> Self {
        Self::try_connect(address, config(trusted, rustls::ALL_VERSIONS, &[])).unwrap()
    }

    pub(crate) fn try_connect(address: SocketAddr, config: Arc<ClientConfig>) -> io::Result<Self> {
        let name = ServerName::try_from("localhost").unwrap();
        let mut tls = ClientConnection::new(config, name).map_err(io::Error::other)?;
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        while tls.is_handshaking() {
            tls.complete_io(&mut stream)?;
        }
        Ok(Self {
            reader: BufReader::new(StreamOwned::new(tls, stream)),
        })
    }

    fn tls(&self) -> &ClientConnection {
        &self.reader.get_ref().conn
    }

    /// What both sides have agreed on.
    pub(crate) fn protocol(&self) -> Option<&str> {
        let protocol = self.tls().alpn_protocol()?;
        std::str::from_utf8(protocol).ok()
    }

    pub(crate) fn version(&self) -> ProtocolVersion {
        self.tls().protocol_version().unwrap()
    }

    pub(crate) fn send(&mut self, text: &str) {
        let stream = self.reader.get_mut();
        stream.write_all(text.as_bytes()).unwrap();
        stream.flush().unwrap();
    }

    pub(crate) fn get(&mut self, target: &str) -> Answer {
        self.send(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        self.answer()
    }

    pub(crate) fn head(&mut self) -> Head {
        Head::read(&mut self.reader).unwrap().unwrap()
    }

    pub(crate) fn answer(&mut self) -> Answer {
        let head = self.head();
        let status = head.first_line.split(' ').nth(1).unwrap().parse().unwrap();
        // Complete where the connection ends it: only if the other side has said so (`close_notify`).
        let body = Body::read(&mut self.reader, &head, true);
        Answer { status, head, body }
    }

    /// Whether the other side says that it ends the connection, and has nothing else to say.
    pub(crate) fn is_told_of_the_end(&mut self) -> bool {
        matches!(self.reader.read(&mut [0]), Ok(0))
    }
}
