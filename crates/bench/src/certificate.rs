//! A certificate for `localhost`, made by openssl where it is installed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Files with a chain and its private key (EC, P-256), in PEM.
#[derive(Clone, Debug)]
pub(crate) struct Certificate {
    pub(crate) chain: PathBuf,
    pub(crate) key: PathBuf,
}

impl Certificate {
    /// Makes one in `directory`, or says why it cannot.
    pub(crate) fn make(directory: &Path) -> Result<Self, String> {
        let made = Self {
            chain: directory.join("chain.pem"),
            key: directory.join("key.pem"),
        };
        let output = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"])
            .args(["-pkeyopt", "ec_paramgen_curve:prime256v1"])
            .args(["-subj", "/CN=localhost"])
            .args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
            .arg("-keyout")
            .arg(&made.key)
            .arg("-out")
            .arg(&made.chain)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("openssl cannot be run: {error}"))?;
        if output.status.success() {
            return Ok(made);
        }
        let text = String::from_utf8_lossy(&output.stderr);
        let last = text.lines().last().unwrap_or_default();
        Err(format!("openssl makes no certificate: {last}"))
    }
}
